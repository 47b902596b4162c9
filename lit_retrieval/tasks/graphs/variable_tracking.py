"""Variable tracking, as in RULER: the variables that hold a value."""

import numpy as np
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_numbers
from lit_retrieval.tasks.queries import search_parent
from lit_retrieval.tasks.random import Counts, Stream, draw_below, open_stream, shuffle
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, PARENT, START, Vocabulary

NOISE = FIRST_WORD


class VariableTracking(Task):
    """Assignments among noise, then a value: name all variables that hold it. (RULER, arXiv:2404.06654.)

    An assignment `x2 - x1` sets x2 to what x1 holds; each chain begins with a value, as in `x1 - v5`. The assignments
    of a chain are in order, those of several chains are mixed. A model may name the variables at once (`vanilla`), or
    search for each (`retrieval`); there is no `cot`, since the answers are the hops. A sample of size 14 with 2 chains
    of 1 hop, retrieved tokens in brackets::

        prompt:    <s> _ x4 - v2 x1 - v5 x3 - x1 _ x2 - x4 ? v5
        vanilla:   x1 x3
        retrieval: <StartSearch> - v5 <EndSearch> [x1] x1 <StartSearch> - x1 <EndSearch> [x3] x3

    With one chain, RULER's default, the answers are all variables of the prompt in order, so no link needs to be
    followed. The size of a problem is the number of tokens in its assignments and noise.

    Args:
        num_chains: Number of chains of assignments, each with its own value.
        num_hops: Number of assignments in a chain after the first; a chain has one variable more.
        num_variables: Number of variables in the vocabulary; a problem draws its own without replacement.
        num_values: Number of values in the vocabulary; a problem draws its own without replacement.
    """

    regimes = ("vanilla", "retrieval")

    def __init__(self, num_chains: int = 1, num_hops: int = 4, num_variables: int = 128, num_values: int = 128) -> None:
        numbers = {"num_chains": (num_chains, 1), "num_hops": (num_hops, 1), "num_values": (num_values, num_chains)}
        least = num_chains * (num_hops + 1)
        check_numbers("data.task.init_args", MOST_WORDS, **numbers, num_variables=(num_variables, least))
        self.num_chains = num_chains
        self.num_hops = num_hops
        self.num_variables = num_variables
        self.num_values = num_values
        variables = (f"x{variable}" for variable in range(1, num_variables + 1))
        self.vocabulary = Vocabulary(["_", *variables, *(f"v{value}" for value in range(1, num_values + 1))])
        self.answer_words = np.arange(NOISE + 1, NOISE + 1 + num_variables, dtype=np.int32)
        self.chance = 1 / num_variables

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        width = 3 + int(sizes.max()) + self.shortest_reply(regime)
        rows = blank_rows(len(indices), width, self.num_hops + 1)
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_chains, self.num_variables, self.num_values,
            REGIMES.index(regime), rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the prompt; always the same number."""
        return self.shortest_reply(regime)

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the prompt; always the same number."""
        return (self.num_hops + 1) * (6 if regime == "retrieval" else 1)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first variable to the end of the prompt."""
        return 1 + size

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless the assignments fit into `size` tokens."""
        least = 3 * self.num_chains * (self.num_hops + 1)
        if size < least:
            raise UserError(
                f"size must be {least} or more for num_chains={self.num_chains} and num_hops={self.num_hops}, got "
                f"{size}; set data.sizes, or lower data.task.init_args.num_hops"
            )


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_chains: int, num_variables: int, num_values: int, regime: int,
    rows: Rows,
) -> None:  # fmt: skip
    variables, values, chain_length = np.arange(num_variables), np.arange(num_values), rows.answers.shape[1]
    parents = np.zeros(NOISE + 1 + num_variables + num_values, np.int32)
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream = open_stream(seed, indices[row])
        for variable in range(num_variables):
            variables[variable] = NOISE + 1 + variable
        for value in range(num_values):
            values[value] = NOISE + 1 + num_variables + value
        shuffle(stream, variables, num_chains * chain_length)
        shuffle(stream, values, num_chains)
        at = ask(tokens, author, 0, START)
        at = _write_facts(stream, rows, row, at, sizes[row], variables, values[:num_chains])
        at = ask(tokens, author, at, ASK)
        at = rows.prompt_length[row] = ask(tokens, author, at, values[0])
        source = values[0]
        for step in range(chain_length):
            parents[source] = variables[step]
            if regime == RETRIEVAL:
                at = search_parent(tokens, author, at, source, parents)
            source = rows.answers[row, step] = variables[step]
            at = say(tokens, author, at, source)
        rows.length[row] = at


@njit(cache=True)
def _write_facts(stream: Stream, rows: Rows, row: int, at: int, size: int, variables: Counts, values: Counts) -> int:
    """Write `size` tokens of assignments and noise, in a random order; returns the next position.

    The i-th variable of chain c is `variables[c * chain_length + i]`; distances of those of the first chain, which will
    be asked for, are entered.
    """
    tokens, author, chain_length = rows.tokens[row], rows.author[row], rows.answers.shape[1]
    written, end = np.zeros(len(values), np.int64), at + size + 1
    noise, left = size - 3 * len(values) * chain_length, len(values) * chain_length
    while noise + left > 0:
        drawn = draw_below(stream, noise + left)
        if drawn < noise:
            noise -= 1
            at = ask(tokens, author, at, NOISE)
            continue
        drawn -= noise
        left -= 1
        chain = 0
        while drawn >= chain_length - written[chain]:
            drawn -= chain_length - written[chain]
            chain += 1
        step = written[chain]
        written[chain] += 1
        if chain == 0:
            rows.distances[row, step] = end - at
        first = chain * chain_length
        at = ask(tokens, author, at, variables[first + step])
        at = ask(tokens, author, at, PARENT)
        at = ask(tokens, author, at, variables[first + step - 1] if step > 0 else values[chain])
    return at
