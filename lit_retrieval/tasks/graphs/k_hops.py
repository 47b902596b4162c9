"""K hops: follow links one after another."""

from typing import Literal, get_args

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.tasks.queries import search_word
from lit_retrieval.tasks.random import Counts, Stream, draw_below, open_stream, shuffle
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

Mapping = Literal["permutation", "cycle", "function"]


class KHops(Task):
    """Links from place to place, then a number of hops and a start: where do they lead?

    Pointer chasing: k-fold composition of a function that is given as pairs in random order (arXiv:2402.08164,
    2402.09268). Each of several questions, about distinct starts, follows the answer to the one before. A model may
    answer at once (`vanilla`), write the links that it follows (`cot`), or search for each (`retrieval`). A sample of
    size 6, retrieved tokens in brackets::

        prompt:    <s> n2> n3 n1> n2 n3> n1 ? 2 n1>
        vanilla:   n3
        cot:       n1> n2> n3
        retrieval: <StartSearch> n1> <EndSearch> [n2] <StartSearch> n2> <EndSearch> [n3] n3

    The size of a problem is the number of tokens in its links, twice the number of links. Problems are scored
    separately by their number of hops.

    Args:
        num_places: Number of places in the vocabulary; a problem draws its own without replacement.
        max_hops: The largest number of hops.
        min_hops: The smallest number of hops; a problem draws one between the two.
        num_queries: Number of questions, one after another, with the same number of hops. Except for a function, their
            answers are distinct, so each earlier answer rules out a place.
        mapping: The links: a random `permutation`; one `cycle` through all places, in which fewer hops than places
            never return to the start; or a random `function`, whose links may meet.
    """

    def __init__(
        self,
        num_places: int = 128,
        max_hops: int = 4,
        min_hops: int = 1,
        num_queries: int = 1,
        mapping: Mapping = "permutation",
    ) -> None:
        numbers = {"num_places": (num_places, 2), "min_hops": (min_hops, 1), "num_queries": (num_queries, 1)}
        check_numbers("data.task.init_args", MOST_WORDS, max_hops=(max_hops, min_hops), **numbers)
        check_choice("mapping", mapping, get_args(Mapping))
        self.num_places = num_places
        self.max_hops = max_hops
        self.min_hops = min_hops
        self.num_queries = num_queries
        self.mapping = mapping
        places = [f"n{place}" for place in range(1, num_places + 1)]
        numerals = map(str, range(1, max_hops + 1))
        self.vocabulary = Vocabulary([*(f"{place}>" for place in places), *places, *numerals])
        self.answer_words = np.arange(FIRST_WORD + num_places, FIRST_WORD + 2 * num_places, dtype=np.int32)
        self.chance = 1 / num_places
        self.kinds = tuple(f"{hops}_hops" for hops in range(min_hops, max_hops + 1)) if max_hops > min_hops else ()

    @property
    def chances(self) -> tuple[float, ...]:
        """The same for any number of hops."""
        return (self.chance,) * max(1, len(self.kinds))

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        width = 4 + int(sizes.max()) + self.longest_reply(int(sizes.max()), regime)
        rows, kinds = blank_rows(len(indices), width, self.num_queries), np.zeros(len(indices), np.int64)
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_places, self.min_hops, self.max_hops,
            get_args(Mapping).index(self.mapping), REGIMES.index(regime), kinds, rows,
        )  # fmt: skip
        return rows.transcripts(sizes, kinds)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the first question, later ones included, with the most hops."""
        return self._reply_tokens(self.max_hops, regime)

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the first question, later ones included, with the fewest hops."""
        return self._reply_tokens(self.min_hops, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first link to the last question."""
        return 1 + size + self.longest_reply(size, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless `size` tokens are enough links for the questions, with enough places."""
        smallest = 2 * max(2, self.num_queries)
        if size % 2 or not smallest <= size <= 2 * self.num_places:
            raise UserError(
                f"size must be an even number, {smallest} to {2 * self.num_places} for num_queries={self.num_queries} "
                f"and num_places={self.num_places}, got {size}; set data.sizes or data.task.init_args.num_places"
            )

    def _reply_tokens(self, hops: int, regime: Regime) -> int:
        return self.num_queries * (2 + {"vanilla": 0, "cot": hops, "retrieval": 4 * hops}[regime]) - 1


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_places: int, min_hops: int, max_hops: int, mapping: int,
    regime: int, kinds: Counts, rows: Rows,
) -> None:  # fmt: skip
    places, queried, numeral = np.arange(num_places), np.arange(num_places), FIRST_WORD + 2 * num_places - 1
    for row in range(len(indices)):
        tokens, author, num_links = rows.tokens[row], rows.author[row], sizes[row] // 2
        stream = open_stream(seed, indices[row])
        for place in range(num_places):
            places[place] = queried[place] = place
        shuffle(stream, places, num_links)
        follows = _draw_links(stream, num_links, mapping)
        at = ask(tokens, author, 0, START)
        for link in range(num_links):
            at = ask(tokens, author, at, FIRST_WORD + places[link])
            at = ask(tokens, author, at, FIRST_WORD + num_places + places[follows[link]])
        kinds[row] = draw_below(stream, max_hops - min_hops + 1)
        hops = min_hops + kinds[row]
        at = ask(tokens, author, at, ASK)
        at = ask(tokens, author, at, numeral + hops)
        shuffle(stream, queried[:num_links], rows.answers.shape[1])
        rows.prompt_length[row] = at + 1
        for query in range(rows.answers.shape[1]):
            link, asked = queried[query], at
            at = ask(tokens, author, at, tokens[1 + 2 * link])
            link, at = _follow(tokens, author, at, follows, link, hops, regime)
            rows.answers[row, query], rows.distances[row, query] = tokens[2 + 2 * link], asked - (2 + 2 * link)
            at = say(tokens, author, at, tokens[2 + 2 * link])
        rows.length[row] = at


@njit(cache=True)
def _draw_links(stream: Stream, count: int, mapping: int) -> Counts:
    """The link after each link: a permutation, one cycle (Sattolo 1986) or a function, `(count,)`."""
    follows = np.arange(count)
    if mapping == 0:
        shuffle(stream, follows, count)
    elif mapping == 1:
        for link in range(count - 1):
            other = link + 1 + draw_below(stream, count - link - 1)
            follows[link], follows[other] = follows[other], follows[link]
    else:
        for link in range(count):
            follows[link] = draw_below(stream, count)
    return follows


@njit(cache=True)
def _follow(
    tokens: Ids, author: Authors, at: int, follows: Counts, link: int, hops: int, regime: int
) -> tuple[int, int]:
    """Write the hops in a regime; returns the last link that is followed, and the next position."""
    for hop in range(hops):
        if hop > 0:
            link = follows[link]
        if regime == COT:
            at = say(tokens, author, at, tokens[1 + 2 * link])
        elif regime == RETRIEVAL:
            at = search_word(tokens, author, at, tokens[1 + 2 * link], tokens[2 + 2 * link])
    return link, at
