"""MAD's recall in context: plain, fuzzy and noisy."""

from copy import copy
from math import perm
from typing import NamedTuple

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least, check_between, check_choice, check_numbers
from lit_retrieval.tasks.queries import encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, Stream, draw_below, draw_share, open_stream
from lit_retrieval.tasks.recall.pairs import FIRST_KEY, pair_words, query_pieces
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import COT, RETRIEVAL, VANILLA, Rows, ask, ask_beside, blank_rows, say
from lit_retrieval.vocabulary import ASK, MOST_WORDS, PAD, START, Ids, Vocabulary


class _Law(NamedTuple):
    """Numbers of words, and the lengths of keys and values in tokens; those of keys are drawn from the shortest on."""

    num_keys: int
    num_values: int
    num_noise: int
    frac_noise: float
    shortest_key: int
    longest_key: int
    longest_value: int


class _Shown(NamedTuple):
    """The pairs so far, in the order in which their keys were first shown.

    Args:
        words: The tokens of each key, and from `longest_key` on those of its value, PAD behind shorter ones,
            `(pairs, longest_key + longest_value)`.
        places: Where each token of the value was last written, `(pairs, longest_value)`.
    """

    words: Ids
    places: Counts


class MADRecall(Task):
    r"""Random pairs of a key and a value, in which keys return: say the value of each that was shown before.

    MAD's in-context recall (arXiv:2403.17844, appendix B.1). A sample has one random map from keys to values; keys are
    drawn with replacement, and the last one among those shown. A model may answer at once (`vanilla`), write the keys
    in the order in which they were first shown, up to the one in question (`cot`), or search for it (`retrieval`). A
    sample of size 10, retrieved tokens in brackets::

        prompt:    <s> k5 v1 k2 v4 k5
        vanilla:   {v1} v1 k2 {v4} v4 k2 {v4} v4
        cot:       k5 v1 k2 k5 k2 v4 k2 k5 k2 v4
        retrieval: <StartSearch> k5 <EndSearch> [v1] v1 k2 <StartSearch> k2 <EndSearch> [v4] v4
                   k2 <StartSearch> k2 <EndSearch> [v4] v4

    Noisy recall puts pairs of noise words between the pairs (`frac_noise: 0.2`). In fuzzy recall (`k_motif_size: 3`,
    `v_motif_size: 3`) a key or value has from one to this many different words in random order, and every word of a
    value is an answer; in `cot` and `retrieval`, the user asks for each word after the first with a `?`. In these
    regimes, and in evaluation as in MAD, all keys have the largest number of words, so that no key is found within a
    longer one. The size of a problem is its number of tokens in `vanilla` without `<s>` (MAD's seq_len); fuzzy problems
    have at most as many.

    As in MAD's code, at least one pair is not noise, and a vocabulary of 16 has 7 words for fuzzy keys and 8 for their
    values, since one id is MAD's padding, which is left out here. There are two differences. Training asks only for
    repeated values (`data.train_targets: every_token` trains on all next tokens, as MAD does). And the last fuzzy key
    is always one of the keys shown, all equally likely; in MAD it was not in 3% of the test samples, and in training
    its length is drawn first.

    Args:
        vocab_size: Number of keys, values and noise words together.
        k_motif_size: Largest number of words of a key.
        v_motif_size: Largest number of words of a value.
        noise_vocab_size: Number of noise words.
        frac_noise: Share of the pairs that are noise.
        query_form: How a search is written: `short` (`k2`), or `full`, a regular expression word by word
            (`(?<!\S) k2 \s+(\S+)`, or `(?<!\S) k2 \s+ k1 \s+(\S+)`).
    """

    def __init__(
        self,
        vocab_size: int = 16,
        k_motif_size: int = 1,
        v_motif_size: int = 1,
        noise_vocab_size: int = 0,
        frac_noise: float = 0.0,
        query_form: QueryForm = "short",
    ) -> None:
        numbers = {"k_motif_size": (k_motif_size, 1), "v_motif_size": (v_motif_size, 1), "vocab_size": (vocab_size, 2)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers, noise_vocab_size=(noise_vocab_size, 0))
        check_between("frac_noise", frac_noise, 0, 0.99, "data.task.init_args.frac_noise")
        check_choice("query_form", query_form, ("short", "full"))
        if frac_noise > 0 and noise_vocab_size == 0:
            raise UserError(f"frac_noise={frac_noise} needs noise words; set data.task.init_args.noise_vocab_size")
        self.vocab_size = vocab_size
        self.k_motif_size = k_motif_size
        self.v_motif_size = v_motif_size
        self.noise_vocab_size = noise_vocab_size
        self.frac_noise = frac_noise
        self.query_form = query_form
        is_fuzzy = k_motif_size > 1 or v_motif_size > 1
        words = vocab_size - noise_vocab_size - is_fuzzy
        num_keys, num_values = words // 2, words - words // 2
        if num_keys < k_motif_size or num_values < v_motif_size:
            raise UserError(
                f"vocab_size={vocab_size} has {max(0, num_keys)} keys and {max(0, num_values)} values beside the "
                f"noise, too few for motifs of {k_motif_size} and {v_motif_size} different words; raise "
                "data.task.init_args.vocab_size"
            )
        self._law = _Law(num_keys, num_values, noise_vocab_size, frac_noise, 1, k_motif_size, v_motif_size)
        noise = (f"n{word}" for word in range(1, noise_vocab_size + 1))
        first, last = query_pieces(query_form)
        between = r"\s+" if query_form == "full" and is_fuzzy else ""
        pieces = {piece: None for piece in (first, between, last) if piece}
        self.vocabulary = Vocabulary([*pair_words(num_keys, num_values, ()), *noise, *pieces])
        self.answer_words = np.arange(FIRST_KEY + num_keys, FIRST_KEY + words, dtype=np.int32)
        self.chance = 1 / num_values
        lengths = range(k_motif_size, k_motif_size + v_motif_size)  # of a key and the words of its value before one
        queries = ([first, *[between] * (length - 1), last, *[""] * lengths[-1]] for length in lengths)
        self._pieces = np.array([encode_pieces(self.vocabulary, query[: lengths[-1] + 1]) for query in queries])

    @property
    def evaluation(self) -> "MADRecall":
        """The same with keys of the most words alone."""
        task = copy(self)
        task._law = self._law._replace(shortest_key=self.k_motif_size)
        return task

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        law = self._law if regime == "vanilla" else self.evaluation._law
        most_answers = longest * self.v_motif_size // (self.v_motif_size + 1)
        rows = blank_rows(len(indices), 1 + longest + self._reply_tokens(longest, regime), most_answers)
        _write_batch(np.uint64(seed), indices, sizes, law, REGIMES.index(regime), self._pieces, rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after `<s>`, a pair and its key."""
        return size - 3 + self._reply_tokens(size, regime)

    def shortest_reply(self, regime: Regime) -> int:
        """The reply if only the last key was shown before."""
        key = self.k_motif_size
        return {"vanilla": 1, "cot": key + 1, "retrieval": search_length(self._pieces[0, : key + 1]) + 1}[regime]

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first value to the last key."""
        return size + self._reply_tokens(size, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is room for a pair and its key with the value once more."""
        check_at_least("size", size, 2 * (self.k_motif_size + self.v_motif_size), "data.sizes")

    def _reply_tokens(self, size: int, regime: Regime) -> int:
        """The most tokens of all replies and `?` beside the answers; in `cot`, each pair after d may have d keys."""
        pairs, more = size // (self.k_motif_size + 1), self.v_motif_size - 1
        if regime == "cot":
            keys = min(perm(self._law.num_keys, self.k_motif_size), pairs // 2)
            return (pairs - keys) * (keys * self.k_motif_size + more)
        if regime == "retrieval":
            return pairs * (more + self.v_motif_size * search_length(self._pieces[-1]))
        return 0


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, law: _Law, regime: int, pieces: Ids, rows: Rows
) -> None:
    pairs, longest, first_value = sizes.max() // 2, law.longest_key + law.longest_value, FIRST_KEY + law.num_keys
    words = np.empty((pairs, longest), np.int32)
    keys, values = words[:, : law.longest_key], words[:, law.longest_key :]
    shown = _Shown(words, np.empty((pairs, law.longest_value), np.int64))
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream, size = open_stream(seed, indices[row]), sizes[row]
        kept = draw_below(stream, size // longest - 1)  # this pair is not noise
        count = slot = given = queries = 0
        at = ask(tokens, author, 0, START)
        while given + 2 * longest <= size:
            length = law.shortest_key + draw_below(stream, law.longest_key - law.shortest_key + 1)
            if slot != kept and law.frac_noise > 0 and draw_share(stream) < law.frac_noise:
                length += 1 + draw_below(stream, law.longest_value)
                for _ in range(length):
                    at = ask(tokens, author, at, first_value + law.num_values + draw_below(stream, law.num_noise))
            else:
                _draw_motif(stream, keys, count, length, FIRST_KEY, law.num_keys)
                pair = _find(keys, count)
                at = _write_key(tokens, author, at, keys, pair)
                if pair == count:
                    count += 1
                    num_words = 1 + draw_below(stream, law.longest_value)
                    _draw_motif(stream, values, pair, num_words, first_value, law.num_values)
                    for place in range(num_words):
                        shown.places[pair, place] = at
                        at = ask(tokens, author, at, values[pair, place])
                else:
                    num_words = _length(values, pair)
                    at = _answer(tokens, author, rows, row, at, queries, shown, pair, regime, pieces)
                    queries += num_words
                length += num_words
            given += length
            slot += 1
        pair = draw_below(stream, count)
        at = _write_key(tokens, author, at, keys, pair)
        rows.length[row] = _answer(tokens, author, rows, row, at, queries, shown, pair, regime, pieces)


@njit(cache=True)
def _draw_motif(stream: Stream, motifs: Ids, row: int, length: int, first: int, count: int) -> None:
    """Write `length` different words of the `count` from `first` on into a row of `motifs`, and PAD behind them."""
    place = 0
    while place < length:
        motifs[row, place] = first + draw_below(stream, count)
        is_new = True
        for earlier in range(place):
            is_new &= motifs[row, earlier] != motifs[row, place]
        place += is_new
    for rest in range(length, motifs.shape[1]):
        motifs[row, rest] = PAD


@njit(cache=True)
def _length(motifs: Ids, row: int) -> int:
    length = 0
    while length < motifs.shape[1] and motifs[row, length] != PAD:
        length += 1
    return length


@njit(cache=True)
def _find(keys: Ids, count: int) -> int:
    """The first of `keys (pairs, longest_key)` that is the same as the one at `count`."""
    for pair in range(count):
        place = 0
        while place < keys.shape[1] and keys[pair, place] == keys[count, place]:
            place += 1
        if place == keys.shape[1]:
            return pair
    return count


@njit(cache=True)
def _write_key(tokens: Ids, author: Authors, at: int, keys: Ids, pair: int) -> int:
    """Let the user write a key; returns the next position, as `_answer` does."""
    for place in range(_length(keys, pair)):
        at = ask(tokens, author, at, keys[pair, place])
    return at


@njit(cache=True)
def _answer(
    tokens: Ids, author: Authors, rows: Rows, row: int, at: int, query: int, shown: _Shown, pair: int, regime: int,
    pieces: Ids,
) -> int:  # fmt: skip
    """Write the value of a key that was shown before, whose first token is the `query`-th answer of the row."""
    longest_key = shown.words.shape[1] - shown.places.shape[1]
    if query == 0:
        rows.prompt_length[row] = at
    for place in range(_length(shown.words[:, longest_key:], pair)):
        answer = shown.words[pair, longest_key + place]
        if place > 0 and regime != VANILLA:
            at = ask(tokens, author, at, ASK)
        rows.answers[row, query + place], rows.distances[row, query + place] = (
            answer,
            at - 1 - shown.places[pair, place],
        )
        if regime == COT and place == 0:
            for earlier in range(pair + 1):
                for word in range(longest_key):
                    at = say(tokens, author, at, shown.words[earlier, word])
        elif regime == RETRIEVAL:
            names = shown.words[pair, : longest_key + place]
            at = search_with(tokens, author, at, pieces[place, : len(names) + 1], names, answer)
        shown.places[pair, place] = at
        at = ask_beside(tokens, author, at, answer) if regime == VANILLA else say(tokens, author, at, answer)
    return at
