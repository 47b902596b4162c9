"""Tasks from a string to a string, beyond what a finite automaton can do."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.tasks.queries import POSITION_PIECES, encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, Stream, draw_below, draw_coin, open_stream
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts, check_range
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

Function = Literal[
    "reverse", "duplicate", "odds_first", "bucket_sort", "missing_duplicate", "stack_manipulation", "binary_addition"
]
_FUNCTIONS = get_args(Function)
_REVERSE, _DUPLICATE, _ODDS_FIRST, _BUCKET_SORT, _MISSING, _STACK, _ADDITION = range(len(_FUNCTIONS))
_NONE = 0  # in place of a position: no word of the string has it


class StringTransduction(Task):
    r"""A string of random words: write a function of it. (Deletang et al. 2022, arXiv:2207.02098, appendix A.)

    These are the context-free and context-sensitive tasks of the Chomsky hierarchy whose output is a string. Every word
    of the output is an answer, which the model then reads; the authors' models answer at blanks, as with `Imported`. A
    model may write the output at once (`vanilla`), write the position in the prompt before each word (`cot`), or search
    for each position (`retrieval`). A sample of `reverse` of size 3, retrieved tokens in brackets::

        prompt:    <s> x1 x0 x0 ?
        vanilla:   x0 x0 x1
        cot:       3 x0 2 x0 1 x1
        retrieval: <StartSearch> @ 3 <EndSearch> [x0] x0 <StartSearch> @ 2 <EndSearch> [x0] x0
                   <StartSearch> @ 1 <EndSearch> [x1] x1

    | function | a prompt, and its output in `vanilla` |
    |---|---|
    | `reverse` | `x1 x0 x0 ? x0 x0 x1` |
    | `duplicate` | `x1 x0 x0 ? x1 x0 x0 x1 x0 x0` |
    | `odds_first` | `x1 x0 x0 ? x1 x0 x0`: the words at odd positions, then those at even ones, from position 1 |
    | `bucket_sort` | `x1 x0 x0 ? x0 x0 x1`: equal words in the order of the prompt |
    | `missing_duplicate` | `x1 x0 x0 x1 _ x0 ? x0`: a string twice, and the word that is missing in one of the copies |
    | `stack_manipulation` | `x1 x0 pop +x0 ? x0 x1 .`: the stack after the actions, from its top |
    | `binary_addition` | `x1 x0 + x1 ? x0 x1 .`: the sum of two numbers above 0, the lowest bit first |

    `pop` of an empty stack does nothing. A sum has no zeros after its highest bit; each of its bits belongs to up to
    two positions, and none in the last carry.

    The size of a problem is the length of its string. For `missing_duplicate` this is the length of one copy (half of
    the paper's length); the last two functions include the actions or the `+`. The paper's released code for odds first
    writes the even positions first. Binary multiplication and square roots are left out, since papers on recurrences do
    not report them. So is xLSTM's majority, a count without a string; `Counting` is similar.

    Args:
        function: The function of the string to write.
        max_size: The longest string that the vocabulary has numerals for.
        vocab_size: Words in the vocabulary for strings: 2 in the paper, 5 in its bucket sort.
        query_form: How a search is written: `short` (`@ 3`), or `full`, a regular expression word by word
            (`^(?:\S+\s+){ 3 }(\S+)`).
    """

    def __init__(
        self,
        function: Function = "reverse",
        max_size: int = 256,
        vocab_size: int = 2,
        query_form: QueryForm = "short",
    ) -> None:
        check_choice("function", function, _FUNCTIONS)
        check_choice("query_form", query_form, ("short", "full"))
        self._smallest = 3 if function == "binary_addition" else 1
        limits = {"max_size": (max_size, self._smallest), "vocab_size": (vocab_size, 2)}
        check_numbers("data.task.init_args", MOST_WORDS, **limits)
        if function == "binary_addition" and vocab_size != 2:
            raise UserError(
                f"binary_addition needs the words x0 and x1 alone, got vocab_size={vocab_size}; set "
                "data.task.init_args.vocab_size to 2"
            )
        self.function = function
        self.max_size = max_size
        self.vocab_size = vocab_size
        self.query_form = query_form
        words, pieces = [f"x{word}" for word in range(vocab_size)], POSITION_PIECES[query_form]
        signs = {
            "missing_duplicate": ["_"],
            "stack_manipulation": [".", "pop", *(f"+{word}" for word in words)],
            "binary_addition": [".", "+"],
        }.get(function, [])
        numerals = map(str, range(1, 1 + (2 if function == "missing_duplicate" else 1) * max_size))
        full = (piece for piece in pieces if query_form == "full")
        self.vocabulary = Vocabulary([*words, *signs, *numerals, *full])
        self._ids = _WordIds(vocab_size, FIRST_WORD + vocab_size, FIRST_WORD + vocab_size + len(signs) - 1)
        num_answers = vocab_size + ("." in signs)
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + num_answers, dtype=np.int32)
        self.chance = 1 / num_answers
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        prompt = 2 + (2 if self.function == "missing_duplicate" else 1) * longest
        rows = blank_rows(len(indices), prompt + self.longest_reply(longest, regime), self._most(longest)[0])
        _write_batch(
            np.uint64(seed), indices, sizes, _FUNCTIONS.index(self.function), self._ids, REGIMES.index(regime),
            self._pieces, rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the prompt; if nothing is popped, and if a sum has as many bits as it can."""
        return self._tokens(*self._most(size), regime)

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the prompt for one word, for an empty stack, or for 1 + 1."""
        least = {"stack_manipulation": (1, 0), "binary_addition": (3, 2)}
        return self._tokens(*least.get(self.function, self._most(1)), regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first word to the end of the prompt; a sum is not in the prompt."""
        return {"binary_addition": 0, "missing_duplicate": 2 * size}.get(self.function, size)

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is a string of this length, and numerals for its positions."""
        check_range(size, self._smallest, self.max_size)

    def _most(self, size: int) -> tuple[int, int]:
        """The most words of an output, and the most positions that they have."""
        most = {
            "duplicate": (2 * size, 2 * size),
            "missing_duplicate": (1, 1),
            "stack_manipulation": (size + 1, size),
            "binary_addition": (size, size - 1),
        }
        return most.get(self.function, (size, size))

    def _tokens(self, num_words: int, num_positions: int, regime: Regime) -> int:
        """The tokens of a reply."""
        return num_words + num_positions * {"vanilla": 0, "cot": 1, "retrieval": search_length(self._pieces)}[regime]


class _WordIds(NamedTuple):
    """The number of words for strings, the id of the first sign, and the id before that of the numeral 1."""

    num_words: int
    first_sign: int
    numeral: int


class _Output(NamedTuple):
    """The words of an output, `(answers,)`, and where they are in the row, `(answers, 2)`; _NONE for nowhere."""

    words: Ids
    sources: Counts


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, function: int, ids: _WordIds, regime: int, pieces: Ids, rows: Rows
) -> None:
    most = rows.answers.shape[1]
    output = _Output(np.empty(most, np.int32), np.zeros((most, 2), np.int64))
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream = open_stream(seed, indices[row])
        at = ask(tokens, author, 0, START)
        if function == _ADDITION:
            at, count = _write_addition(tokens, author, at, stream, sizes[row], ids.first_sign, output)
        elif function == _STACK:
            at, count = _write_stack(tokens, author, at, stream, sizes[row], ids, output)
        elif function == _MISSING:
            at, count = _write_missing(tokens, author, at, stream, sizes[row], ids, output)
        else:
            at = _write_words(tokens, author, at, stream, sizes[row], ids.num_words)
            count = _arrange(tokens, sizes[row], function, ids.num_words, output)
        at = rows.prompt_length[row] = ask(tokens, author, at, ASK)
        rows.answers[row, :count] = output.words[:count]
        for place in range(count):
            if function != _ADDITION and output.sources[place, 0] != _NONE:
                rows.distances[row, place] = rows.prompt_length[row] - 1 - output.sources[place, 0]
            for source in output.sources[place]:
                if source == _NONE:
                    continue
                if regime == COT:
                    at = say(tokens, author, at, ids.numeral + source)
                elif regime == RETRIEVAL:
                    name = np.array([ids.numeral + source], np.int32)
                    at = search_with(tokens, author, at, pieces, name, tokens[source])
            at = say(tokens, author, at, output.words[place])
        rows.length[row] = at


@njit(cache=True)
def _write_words(tokens: Ids, author: Authors, at: int, stream: Stream, size: int, num_words: int) -> int:
    """Write random words; returns the next position."""
    for _ in range(size):
        at = ask(tokens, author, at, FIRST_WORD + draw_below(stream, num_words))
    return at


@njit(cache=True)
def _arrange(tokens: Ids, size: int, function: int, num_words: int, output: _Output) -> int:
    """Let the output be the words at 1 to `size` in another order; returns their number."""
    count = 2 * size if function == _DUPLICATE else size
    odds, free = (size + 1) // 2, np.zeros(num_words + 1, np.int64)
    if function == _BUCKET_SORT:
        for at in range(1, size + 1):
            free[tokens[at] - FIRST_WORD + 1] += 1
        for word in range(num_words):
            free[word + 1] += free[word]
    for at in range(1, count + 1):
        place, source = at - 1, at
        if function == _REVERSE:
            place = size - at
        elif function == _DUPLICATE:
            source = 1 + (at - 1) % size
        elif function == _ODDS_FIRST:
            place = (at - 1) // 2 + (odds if at % 2 == 0 else 0)
        else:
            word = tokens[at] - FIRST_WORD
            place = free[word]
            free[word] += 1
        output.words[place], output.sources[place, 0] = tokens[source], source
    return count


@njit(cache=True)
def _write_missing(
    tokens: Ids, author: Authors, at: int, stream: Stream, size: int, ids: _WordIds, output: _Output
) -> tuple[int, int]:
    """Write a string twice, a word of it once; returns the next position and the number of words of the output."""
    at = _write_words(tokens, author, at, stream, size, ids.num_words)
    for place in range(1, size + 1):
        at = ask(tokens, author, at, tokens[place])
    missing = draw_below(stream, 2 * size)
    source = 1 + (missing + size) % (2 * size)
    output.words[0], output.sources[0, 0] = tokens[source], source
    tokens[1 + missing] = ids.first_sign
    return at, 1


@njit(cache=True)
def _write_stack(
    tokens: Ids, author: Authors, at: int, stream: Stream, size: int, ids: _WordIds, output: _Output
) -> tuple[int, int]:
    """Write a stack of 1 to `size - 1` words, the top last, and actions; returns the same as `_write_missing`."""
    end, pop, push = ids.first_sign, ids.first_sign + 1, ids.first_sign + 2
    height = 1 + draw_below(stream, max(1, size - 1))
    at = _write_words(tokens, author, at, stream, height, ids.num_words)
    stack, words = np.arange(1, size + 1), tokens[1 : size + 1].copy()  # positions, and the words that are there
    for place in range(height + 1, size + 1):
        action = draw_below(stream, 1 + ids.num_words)
        if action > 0:
            stack[height], words[height] = place, FIRST_WORD + action - 1
            height += 1
        elif height > 0:
            height -= 1
        at = ask(tokens, author, at, push + action - 1 if action > 0 else pop)
    for place in range(height):
        output.words[place], output.sources[place, 0] = words[height - 1 - place], stack[height - 1 - place]
    output.words[height], output.sources[height, 0] = end, _NONE
    return at, height + 1


@njit(cache=True)
def _write_addition(
    tokens: Ids, author: Authors, at: int, stream: Stream, size: int, first_sign: int, output: _Output
) -> tuple[int, int]:
    """Write two numbers above 0 with `size - 1` bits together; returns the same as `_write_missing`."""
    first = 1 + draw_below(stream, size - 2)
    second = size - 1 - first
    _draw_number(tokens, stream, 1, first)
    tokens[first + 1] = first_sign + 1
    _draw_number(tokens, stream, first + 2, second)
    for _ in range(size):
        at = ask(tokens, author, at, tokens[at])
    carry, count = 0, 0
    for place in range(max(first, second) + 1):
        total = carry
        for number in range(2):
            source = (1, first + 2)[number] + place if place < (first, second)[number] else _NONE
            total += tokens[source] - FIRST_WORD if source != _NONE else 0
            output.sources[place, number] = source
        carry = total // 2
        output.words[place] = FIRST_WORD + total % 2
        if total % 2:
            count = place + 1
    output.words[count] = first_sign
    output.sources[count] = _NONE
    return at, count + 1


@njit(cache=True)
def _draw_number(tokens: Ids, stream: Stream, start: int, size: int) -> None:
    """Draw the bits of a number, any but 0 alike, from position `start`."""
    is_zero = True
    while is_zero:
        for at in range(start, start + size):
            bit = draw_coin(stream)
            tokens[at] = FIRST_WORD + bit
            is_zero = is_zero and bit == 0
