"""The state of a finite automaton after a word, or the product of elements of a group."""

from typing import Literal, get_args

import numpy as np
from numba import njit

from lit_retrieval.automata import Automaton, Outputs, Table, make_automaton
from lit_retrieval.ranges import check_at_least, check_choice
from lit_retrieval.tasks.random import Counts, draw_below, open_stream
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import COT, Rows, ask, ask_beside, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, START, Vocabulary

Supervision = Literal["dense", "final"]


class StateTracking(Task):
    r"""A word of random symbols, and the state that an automaton is in after it. (arXiv:2404.08819, 2411.12537.)

    With a group, the symbols are its elements, and the state is the product of those so far: parity, addition modulo N
    (`zN`), permutations (`sN`, `aN`). In `vanilla` the model is asked for the state beside each symbol (`dense`), or
    once after the word (`final`); in `cot` it writes all states after the word. There is nothing to search for, so it
    has no `retrieval`. A sample of parity, of size 3, with `final` supervision::

        prompt:  <s> x1 x0 x1 ?
        vanilla: =0
        cot:     q1 q1 q0 =0

    With `dense` supervision it is, in `vanilla`::

        <s> x1 {=1} x0 {=1} x1 {=0} ?

    The size of a problem is the number of its symbols. Of the regular tasks of the Chomsky hierarchy
    (arXiv:2207.02098), parity check is `parity`, even pairs `even_pairs` and cycle navigation `cycle5`, all with
    `final` supervision; modular arithmetic is `ModularArithmetic`.

    Args:
        automaton: `parity`, `zN`, `sN` or `aN`; `cycleN`, a walk on a circle of N places by x0 (stay), x1 (forward) and
            x2 (backward); `even_pairs`, a word of bits and the question whether the number of unequal neighbors is even
            (`=0`) or odd (`=1`); or a table of the next states by state and symbol, beginning with the initial state:
            `{even: {0: even, 1: odd}, odd: {0: odd, 1: even}}`.
        supervision: Where the states of `vanilla` are asked for: `dense`, after each symbol, or `final`.
        outputs: The answer in each state of a table, if not the state itself: `{even: accept, odd: reject}` asks
            whether a word is in a regular language (`=accept`).
    """

    regimes = ("vanilla", "cot")

    def __init__(
        self, automaton: str | Table = "s3", supervision: Supervision = "dense", outputs: Outputs | None = None
    ) -> None:
        check_choice("supervision", supervision, get_args(Supervision))
        self.automaton = automaton
        self.supervision = supervision
        self.outputs = outputs
        self._automaton = make_automaton(automaton, outputs)
        (states, symbols), asked = self._automaton.transitions.shape, self._automaton.num_outputs
        names = range(asked) if outputs is None else dict.fromkeys(map(str, outputs.values()))
        kinds = {"x": range(symbols), "q": range(states), "=": names}
        self.vocabulary = Vocabulary(f"{kind}{one}" for kind, names in kinds.items() for one in names)
        self._first_step, self._first_answer = FIRST_WORD + symbols, FIRST_WORD + symbols + states
        self.answer_words = np.arange(self._first_answer, self._first_answer + asked, dtype=np.int32)
        self.chance = 1 / asked

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest, is_dense = int(sizes.max()), self._is_dense(regime)
        width = 2 + longest + (0 if is_dense else self.longest_reply(longest, regime))
        rows = blank_rows(len(indices), width, longest if is_dense else 1)
        _write_batch(
            np.uint64(seed), indices, sizes, self._automaton, self._first_step, self._first_answer,
            REGIMES.index(regime), is_dense, rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The symbols after the first one and the `?`; the answer; or a state for each symbol and the answer."""
        return size if self._is_dense(regime) else size + 1 if regime == "cot" else 1

    def shortest_reply(self, regime: Regime) -> int:
        """The longest reply of size 1."""
        return self.longest_reply(1, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` below 1."""
        check_at_least("size", size, 1, "data.sizes")

    def _is_dense(self, regime: Regime) -> bool:
        return regime == "vanilla" and self.supervision == "dense"


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, automaton: Automaton, first_step: int, first_answer: int,
    regime: int, is_dense: bool, rows: Rows,
) -> None:  # fmt: skip
    longest, (table, outputs) = sizes.max(), automaton
    states = np.empty(longest, np.int64)
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream, size, state = open_stream(seed, indices[row]), sizes[row], 0
        at = ask(tokens, author, 0, START)
        for place in range(size):
            symbol = draw_below(stream, table.shape[1])
            state = states[place] = table[state, symbol]
            if is_dense and place > 0:
                at = ask_beside(tokens, author, at, FIRST_WORD + symbol)
            else:
                at = ask(tokens, author, at, FIRST_WORD + symbol)
            if is_dense:
                rows.answers[row, place] = first_answer + outputs[state]
        if is_dense:
            rows.prompt_length[row] = 2
            rows.length[row] = ask_beside(tokens, author, at, ASK)
            continue
        at = rows.prompt_length[row] = ask(tokens, author, at, ASK)
        if regime == COT:
            for place in range(size):
                at = say(tokens, author, at, first_step + states[place])
        rows.answers[row, 0] = first_answer + outputs[state]
        rows.length[row] = say(tokens, author, at, first_answer + outputs[state])
