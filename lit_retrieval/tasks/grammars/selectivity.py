"""Strings of a random grammar, with gaps to read over."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.ranges import check_at_least, check_between, check_choice, check_memory, check_numbers
from lit_retrieval.tasks.grammars.grammar import Grammar, draw_grammar
from lit_retrieval.tasks.random import Counts, Stream, draw_below, draw_share, open_stream
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Rows, ask, ask_beside, blank_rows
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

Filler = Literal["blank", "noise", "symbols"]
Asked = Literal["state", "next"]
_NUM_NOISE = 16
_BLANK, _NOISE, _SYMBOLS = range(3)


class Selectivity(Task):
    """Strings of a random grammar with gaps between the symbols: say its state. (arXiv:2601.12598, SelectivBench.)

    Which symbols may follow a symbol depends on the grammar's state, and each symbol has several states. `#` ends a
    string, and another string follows. A gap must be ignored: it consists of `_`, of noise words (`n7`), or of symbols
    that may not come there. For each symbol the model is asked for the state, such as `=2.1` for state 1 of x2, beside
    the token after its gap. The symbols determine the states, so a score of 1 is possible; with the default grammar,
    about the last six symbols suffice. A sample of size 4, with 3 symbols of 2 states, and gaps of 1 or 2 words::

        prompt:  <s> x0 n12
        vanilla: {=0.0} x1 n3 {=1.0} # n15 n1 {=#} x2 n0 {=2.1} ?

    All answers are beside words of the user, and the only regime is `vanilla`: writing the states would be the answer,
    and they are not in the prompt to search for. With `asked: next` the model is asked for the next symbol in place of
    the state. Several symbols may follow, equally likely, so no model can be right more often than
    `best_accuracy(size)`.

    The size of a problem is its number of symbols, including `#`; 200 in the paper. The paper's tasks, as in its
    released code, are:

    | task | arguments |
    |---|---|
    | 1, complexity | `num_symbols` and `depth` 20 to 40, `max_gap: 1`, `filler: blank` |
    | 2, gaps and noise | the defaults |
    | 3, symbols that may not come | `max_gap: 1`, `gap_share: 0.1`, `gap_start: 50`, `filler: symbols` |
    | 4, longer gaps | as 2, tested with `min_gap` and `max_gap` 10, 20, 50 and 100 |

    In the paper a symbol is a vector, and noise of up to 0.2 is added to each of its elements; noise words in the gaps
    replace this here. Its labels are at all positions of a gap, and its score averages over them; here each symbol has
    one label, after its gap. Its gap lengths are rounded, so the shortest and the longest are half as likely as others;
    here all lengths are equally likely.

    Args:
        num_symbols: Number of symbols in the grammar, without `#`.
        depth: Number of states of each symbol (its ambiguity); 1 for no ambiguity.
        min_gap, max_gap: Smallest and largest number of words in a gap.
        gap_share: The share of symbols that have a gap.
        gap_start: Symbols before the first gap.
        filler: Content of a gap: `blank` (`_`), `noise` (16 words) or `symbols` (those that may not come next).
        asked: The answer: the `state`, or the `next` symbol.
        grammar_seed: Random seed of the grammar.
    """

    regimes = ("vanilla",)

    def __init__(
        self,
        num_symbols: int = 40,
        depth: int = 40,
        min_gap: int = 1,
        max_gap: int = 10,
        gap_share: float = 1.0,
        gap_start: int = 0,
        filler: Filler = "noise",
        asked: Asked = "state",
        grammar_seed: int = 0,
    ) -> None:
        section = "data.task.init_args"
        check_numbers(section, 1000, num_symbols=(num_symbols, 2), depth=(depth, 1))
        limits = {"min_gap": (min_gap, 0), "max_gap": (max_gap, min_gap), "gap_start": (gap_start, 0)}
        check_numbers(section, MOST_WORDS, **limits)
        check_between("grammar_seed", grammar_seed, 0, 2**64 - 1, f"{section}.grammar_seed")
        check_between("gap_share", gap_share, 0, 1, f"{section}.gap_share")
        check_choice("filler", filler, get_args(Filler))
        check_choice("asked", asked, get_args(Asked))
        check_memory("the grammar", 24 * num_symbols * num_symbols * depth, f"{section}.num_symbols")
        self.num_symbols = num_symbols
        self.depth = depth
        self.min_gap = min_gap
        self.max_gap = max_gap
        self.gap_share = gap_share
        self.gap_start = gap_start
        self.filler = filler
        self.asked = asked
        self.grammar_seed = grammar_seed
        self.grammar = draw_grammar(grammar_seed, num_symbols, depth)
        symbols = [*(f"x{symbol}" for symbol in range(num_symbols)), "#"]
        fillers = {"blank": ["_"], "noise": [f"n{word}" for word in range(_NUM_NOISE)], "symbols": []}[filler]
        states = [f"={symbol}.{state}" for symbol in range(num_symbols) for state in range(depth)]
        answers = [] if asked == "next" else [*states, "=#"]
        self.vocabulary = Vocabulary([*symbols, *fillers, *answers])
        first_filler = FIRST_WORD + len(symbols)
        first_answer = first_filler + len(fillers) if answers else FIRST_WORD
        num_answers = len(answers or symbols)
        self.answer_words = np.arange(first_answer, first_answer + num_answers, dtype=np.int32)
        self.chance = 1 / (depth if asked == "state" else num_answers)
        self._gaps = _Gaps(min_gap, max_gap, gap_share, gap_start, get_args(Filler).index(filler), first_filler)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest, is_next = int(sizes.max()), self.asked == "next"
        rows = blank_rows(len(indices), 2 + longest * (1 + self.max_gap), longest - is_next)
        first_answer = FIRST_WORD if is_next else int(self.answer_words[0])
        _write_batch(np.uint64(seed), indices, sizes, self.grammar, self._gaps, is_next, first_answer, rows)
        return rows.transcripts(sizes)

    def best_accuracy(self, size: int) -> float:
        """The expected share of right answers of a model that knows the grammar and its state."""
        return 1.0 if self.asked == "state" else self.grammar.best_accuracy(size)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The symbols after the first one, with the longest gaps, and `?` after the last of these."""
        later = (size - 1) * (1 + self.max_gap)
        return later - self.max_gap if self.asked == "next" else later + 1

    def shortest_reply(self, regime: Regime) -> int:
        """What follows the first symbol and its gap."""
        return 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` below 1 symbol, or below the 2 of which the second is asked for."""
        check_at_least("size", size, 2 if self.asked == "next" else 1, "data.sizes")


class _Gaps(NamedTuple):
    """The arguments of the same names, the filler by its number, and the id of the first word for gaps."""

    fewest: int
    most: int
    share: float
    start: int
    filler: int
    first_word: int


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, grammar: Grammar, gaps: _Gaps, is_next: bool, first_answer: int,
    rows: Rows,
) -> None:  # fmt: skip
    start = len(grammar.after) - 1
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream, state, at = open_stream(seed, indices[row]), start, ask(tokens, author, 0, START)
        for place in range(sizes[row]):
            symbol = grammar.choices[state, draw_below(stream, grammar.num_choices[state])]
            if place == 0:
                at = ask(tokens, author, at, FIRST_WORD + symbol)
            else:
                at = _ask_for(
                    rows, row, at, place - 1, FIRST_WORD + symbol, first_answer + (symbol if is_next else state)
                )
            state = grammar.after[state, symbol]
            if not (is_next and place == sizes[row] - 1):
                at = _write_gap(tokens, author, at, stream, place, state, grammar, gaps)
        if not is_next:
            at = _ask_for(rows, row, at, sizes[row] - 1, ASK, first_answer + state)
        rows.length[row] = at


@njit(cache=True)
def _ask_for(rows: Rows, row: int, at: int, number: int, word: int, answer: int) -> int:
    """Write a word of the user beside which an answer is asked for; returns the next position."""
    if number == 0:
        rows.prompt_length[row] = at
    rows.answers[row, number] = answer
    return ask_beside(rows.tokens[row], rows.author[row], at, word)


@njit(cache=True)
def _write_gap(
    tokens: Ids, author: Authors, at: int, stream: Stream, place: int, state: int, grammar: Grammar, gaps: _Gaps
) -> int:
    """Write the gap after the symbol at `place`, if it has one; returns the next position."""
    if place < gaps.start or draw_share(stream) >= gaps.share:
        return at
    num_symbols = grammar.after.shape[1]
    for _ in range(gaps.fewest + draw_below(stream, gaps.most - gaps.fewest + 1)):
        if gaps.filler == _BLANK:
            word = gaps.first_word
        elif gaps.filler == _NOISE:
            word = gaps.first_word + draw_below(stream, _NUM_NOISE)
        elif grammar.num_choices[state] == num_symbols:  # all symbols may come
            return at
        else:
            symbol = draw_below(stream, num_symbols)
            while grammar.after[state, symbol] >= 0:
                symbol = draw_below(stream, num_symbols)
            word = FIRST_WORD + symbol
        at = ask(tokens, author, at, word)
    return at
