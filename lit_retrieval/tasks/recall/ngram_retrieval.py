"""c-gram retrieval: the word after a phrase in a list."""

import numpy as np
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.tasks.queries import encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, Stream, draw_below, open_stream
from lit_retrieval.tasks.recall.pairs import query_pieces
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts, check_range
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

_MOST_TRIES = 50  # a size is refused if it takes more lists than this, on average, until a query is unique


class NGramRetrieval(Task):
    r"""A list of words, then the first words of an n-gram in it: say its last. (arXiv:2402.18510, Definition 4.4.)

    The paper's c-gram retrieval. The queried words occur in the list once. A model may answer at once (`vanilla`),
    count the positions up to their first (`cot`), or search for them (`retrieval`, Theorem 5.2). A sample of size 6
    with 3-grams, retrieved tokens in brackets::

        prompt:    <s> w3 w1 w2 w1 w1 w4 ? w2 w1
        vanilla:   w1
        cot:       1 2 3 w1
        retrieval: <StartSearch> w2 w1 <EndSearch> [w1] w1

    The size of a problem is the length of its list.

    Args:
        max_size: The longest list that the vocabulary has numerals for.
        num_words: Words in the vocabulary for lists; each position draws one.
        ngram_size: Words of an n-gram, the answer included (the paper's c).
        query_form: How a search is written: `short` (`w2 w1`), or `full`, the regular expression of Theorem 5.2 word
            by word (`(?<!\S) w2 \s+ w1 \s+(\S+)`).
    """

    def __init__(
        self, max_size: int = 128, num_words: int = 128, ngram_size: int = 3, query_form: QueryForm = "short"
    ) -> None:
        numbers = {"num_words": (num_words, 2), "ngram_size": (ngram_size, 2), "max_size": (max_size, ngram_size)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        check_choice("query_form", query_form, ("short", "full"))
        self.max_size = max_size
        self.num_words = num_words
        self.ngram_size = ngram_size
        self.query_form = query_form
        pieces = query_pieces(query_form, key_words=ngram_size - 1)
        words, positions = (f"w{word}" for word in range(1, num_words + 1)), map(str, range(1, max_size + 1))
        self.vocabulary = Vocabulary([*words, *positions, *filter(None, dict.fromkeys(pieces))])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + num_words, dtype=np.int32)
        self.chance = 1 / num_words
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        width = 1 + int(sizes.max()) + self.ngram_size + self.longest_reply(int(sizes.max()), regime)
        rows = blank_rows(len(indices), width, num_answers=1)
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_words, self.ngram_size, REGIMES.index(regime), self._pieces, rows
        )
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the question; in `cot` if it is about the last n-gram."""
        return {"vanilla": 1, "cot": size - self.ngram_size + 2, "retrieval": search_length(self._pieces) + 1}[regime]

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the question; in `cot` if it is about the first n-gram."""
        return self.longest_reply(self.ngram_size, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the last word of the first n-gram to the end of the question."""
        return size

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless lists of this length have n-grams, numerals, and usually unique queries."""
        check_range(size, self.ngram_size, self.max_size)
        if size > np.log(_MOST_TRIES) * self.num_words ** (self.ngram_size - 1):
            raise UserError(
                f"size={size} is too large for num_words={self.num_words}: hardly any {self.ngram_size - 1} words in a "
                "row occur only once; raise data.task.init_args.num_words or ngram_size"
            )


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_words: int, ngram_size: int, regime: int, pieces: Ids,
    rows: Rows,
) -> None:  # fmt: skip
    for row in range(len(indices)):
        tokens, author, size = rows.tokens[row], rows.author[row], sizes[row]
        start = 1 + _draw_list(open_stream(seed, indices[row]), tokens[1 : size + 1], num_words, ngram_size)
        at = ask(tokens, author, 0, START)
        for position in range(1, size + 1):
            at = ask(tokens, author, at, tokens[position])
        at = ask(tokens, author, at, ASK)
        query, answer = tokens[start : start + ngram_size - 1], tokens[start + ngram_size - 1]
        for word in query:
            at = ask(tokens, author, at, word)
        rows.prompt_length[row] = at
        rows.answers[row, 0], rows.distances[row, 0] = answer, at - (start + ngram_size)
        if regime == COT:
            for counted in range(1, start + 1):
                at = say(tokens, author, at, FIRST_WORD + num_words - 1 + counted)
        elif regime == RETRIEVAL:
            at = search_with(tokens, author, at, pieces, query, answer)
        rows.length[row] = say(tokens, author, at, answer)


@njit(cache=True)
def _draw_list(stream: Stream, words: Ids, num_words: int, ngram_size: int) -> int:
    """Draw the list `words (size,)` and the start of an n-gram in it, until its first words occur only there."""
    while True:
        for position in range(len(words)):
            words[position] = FIRST_WORD + draw_below(stream, num_words)
        start = draw_below(stream, len(words) - ngram_size + 1)
        if _occurrences(words, words[start : start + ngram_size - 1]) == 1:
            return start


@njit(cache=True)
def _occurrences(words: Ids, phrase: Ids) -> int:
    found = 0
    for position in range(len(words) - len(phrase) + 1):
        offset = 0
        while offset < len(phrase) and words[position + offset] == phrase[offset]:
            offset += 1
        found += offset == len(phrase)
    return found
