"""c-gram retrieval: the word after a phrase in a list."""

from typing import Literal, get_args

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_between, check_choice, check_numbers
from lit_retrieval.tasks.queries import encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, Stream, draw_below, open_stream
from lit_retrieval.tasks.recall.pairs import Counted, piece_words, query_pieces
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts, check_range
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

Question = Literal["after", "before"]
_MOST_TRIES = 50  # a size is refused if it takes more draws than this, on average, until a query is unique


class NGramRetrieval(Task):
    r"""A list of words, then the first words of an n-gram in it: say its last. (arXiv:2402.18510, Definition 4.4.)

    This is the paper's c-gram retrieval. The queried words occur in the list once. A model may answer at once
    (`vanilla`), count the positions up to the first queried word (`cot`), or search for them (`retrieval`, Theorem
    5.2). A sample of size 6 with 3-grams, retrieved tokens in brackets::

        prompt:    <s> w3 w1 w2 w1 w1 w4 ? w2 w1
        vanilla:   w1
        cot:       1 2 3 w1
        retrieval: <StartSearch> w2 w1 <EndSearch> [w1] w1

    Three arguments follow Retrievit (arXiv:2603.02874). The answer may have several words (`answer_size`); a search for
    each uses all words before it: `w2`, then `w2 w1`. The question may be `before` the list:
    `<s> w2 w1 ? w3 w1 w2 w1 w1 w4 ?`; a search then finds the last occurrence (`> w2 w1`), since the first is the
    question. The queried words may occur several times (`copies`), at a random position in each of as many equal parts
    of the list. (Retrievit then only reports which of the answers a model gives.)

    The size of a problem is the length of its list.

    Args:
        max_size: The longest list that the vocabulary has numerals for.
        num_words: Words in the vocabulary for lists; each position draws one.
        ngram_size: Words of an n-gram, the answer included (the paper's c).
        query_form: How a search is written: `short` (`w2 w1`), or `full`, the regular expression of Theorem 5.2 word
            by word (`(?<!\S) w2 \s+ w1 \s+(\S+)`).
        answer_size: Number of words at the end of an n-gram that are the answer.
        question: Position of the queried words, `after` the list or `before` it.
        copies: Number of occurrences of the queried words.
        counts: The occurrence that counts, the `first` or the `newest`.
    """

    def __init__(
        self,
        max_size: int = 128,
        num_words: int = 128,
        ngram_size: int = 3,
        query_form: QueryForm = "short",
        answer_size: int = 1,
        question: Question = "after",
        copies: int = 1,
        counts: Counted = "first",
    ) -> None:
        numbers = {"num_words": (num_words, 2), "ngram_size": (ngram_size, 2), "max_size": (max_size, ngram_size)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers, copies=(copies, 1))
        check_between("answer_size", answer_size, 1, ngram_size - 1, "data.task.init_args.answer_size")
        check_choice("query_form", query_form, get_args(QueryForm))
        check_choice("question", question, get_args(Question))
        check_choice("counts", counts, get_args(Counted))
        if question == "before" and copies > 1 and counts == "first":
            raise UserError(
                "counts must be newest for a question before the list, since a search for the first occurrence of its "
                "words finds the question, got first; set data.task.init_args.counts"
            )
        self.max_size = max_size
        self.num_words = num_words
        self.ngram_size = ngram_size
        self.query_form = query_form
        self.answer_size = answer_size
        self.question = question
        self.copies = copies
        self.counts = counts
        pieces = query_pieces(query_form, "newest" if question == "before" else counts, ngram_size - 1)
        words, positions = (f"w{word}" for word in range(1, num_words + 1)), map(str, range(1, max_size + 1))
        self.vocabulary = Vocabulary([*words, *positions, *piece_words(pieces)])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + num_words, dtype=np.int32)
        self.chance = 1 / num_words
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        width = 2 + int(sizes.max()) + self.ngram_size + self.longest_reply(int(sizes.max()), regime)
        rows = blank_rows(len(indices), width, self.answer_size)
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_words, self.ngram_size, self.copies, self.counts == "newest",
            self.question == "before", REGIMES.index(regime), self._pieces, rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the question; in `cot` if it is about the last n-gram."""
        if regime == "retrieval":
            lengths = range(self.ngram_size - self.answer_size, self.ngram_size)
            return sum(search_length(_pieces_of(self._pieces, length)) + 1 for length in lengths)
        return self.answer_size + (size - self.ngram_size + 1 if regime == "cot" else 0)

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the question; in `cot` if it is about the first n-gram."""
        return self.longest_reply(self.ngram_size, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the last word of the first n-gram to the end of the question."""
        return size

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless lists of this length have n-grams, numerals, and usually unique queries."""
        check_range(size, self.ngram_size * self.copies, self.max_size)
        query_size = self.ngram_size - self.answer_size
        if size > np.log(_MOST_TRIES) * self.num_words**query_size:
            raise UserError(
                f"size={size} is too large for num_words={self.num_words}: hardly any {query_size} words in a "
                "row occur only once; raise data.task.init_args.num_words or ngram_size"
            )


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_words: int, ngram_size: int, copies: int, is_newest: bool,
    is_before: bool, regime: int, pieces: Ids, rows: Rows,
) -> None:  # fmt: skip
    query_size, starts = ngram_size - rows.answers.shape[1], np.empty(copies, np.int64)
    for row in range(len(indices)):
        tokens, author, size = rows.tokens[row], rows.author[row], sizes[row]
        first = 2 + query_size if is_before else 1
        listed = tokens[first : first + size]
        _draw_list(open_stream(seed, indices[row]), listed, num_words, ngram_size, query_size, starts)
        start = starts[-1] if is_newest else starts[0]
        query, at = listed[start : start + query_size], ask(tokens, author, 0, START)
        if is_before:
            at = ask(tokens, author, _ask_all(tokens, author, at, query), ASK)
        at = ask(tokens, author, _ask_all(tokens, author, at, listed), ASK)
        if not is_before:
            at = _ask_all(tokens, author, at, query)
        asked_at = at - 1
        rows.prompt_length[row] = at
        if regime == COT:
            for counted in range(1, start + 2):
                at = say(tokens, author, at, FIRST_WORD + num_words - 1 + counted)
        for answer in range(ngram_size - query_size):
            place = start + query_size + answer
            rows.answers[row, answer], rows.distances[row, answer] = listed[place], asked_at - (first + place)
            if regime == RETRIEVAL:
                phrase = listed[start:place]
                at = search_with(tokens, author, at, _pieces_of(pieces, len(phrase)), phrase, listed[place])
            at = say(tokens, author, at, listed[place])
        rows.length[row] = at


@njit(cache=True)
def _pieces_of(pieces: Ids, num_words: int) -> Ids:
    """The pieces of a query for what follows `num_words` words, of those for more, `(num_words + 1,)`."""
    return np.append(pieces[:num_words], pieces[-1])


@njit(cache=True)
def _ask_all(tokens: Ids, author: Authors, at: int, words: Ids) -> int:
    for word in words:
        at = ask(tokens, author, at, word)
    return at


@njit(cache=True)
def _draw_list(stream: Stream, words: Ids, num_words: int, ngram_size: int, query_size: int, starts: Counts) -> None:
    """Draw the list `words (size,)` and the n-gram's start in each part, until its first words occur only there."""
    part = len(words) // len(starts)
    while True:
        for position in range(len(words)):
            words[position] = FIRST_WORD + draw_below(stream, num_words)
        for copy in range(len(starts)):
            starts[copy] = copy * part + draw_below(stream, part - ngram_size + 1)
        query = words[starts[0] : starts[0] + query_size]
        for start in starts[1:]:
            words[start : start + query_size] = query
        if _occurrences(words, query) == len(starts):
            break


@njit(cache=True)
def _occurrences(words: Ids, phrase: Ids) -> int:
    found = 0
    for position in range(len(words) - len(phrase) + 1):
        offset = 0
        while offset < len(phrase) and words[position + offset] == phrase[offset]:
            offset += 1
        found += offset == len(phrase)
    return found
