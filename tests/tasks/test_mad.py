"""MAD's six tasks against solvers that read the words alone, and against the laws of MAD's code."""

import re

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read, text_of

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import (
    REGIMES,
    Author,
    MADCompression,
    MADCopying,
    MADMemorization,
    MADRecall,
    Mixture,
    ReadAgain,
    SampleStream,
)

NOISY = {"vocab_size": 32, "noise_vocab_size": 16, "frac_noise": 0.2}
FUZZY = {"k_motif_size": 3, "v_motif_size": 3}
SPACE = r"\s+"
TURN = [Author.PROMPT, Author.MODEL]
COUNTS = [300, pytest.param(10_000, marks=pytest.mark.slow)]


def pairs_of(text):
    """Keys and values of the user's words, as text, in their order; noise and what is in brackets is left out."""
    return re.findall(r"((?:k\d+ )+)((?:v\d+ ?)+)", re.sub(r"n\d+ ", "", text))


def expected_recall(text, regime, form="short"):
    """The transcript that belongs to the user's words and the values after them: a key that returns is answered."""
    known, seen = dict(reversed(pairs_of(text))), []

    def reply(match):
        key, value = match.groups()
        if key not in seen:
            seen.append(key)
            return match.group()
        assert known[key].split() == value.split(), "a key has one value"
        if regime == "vanilla":
            return key + " ".join(f"{{{word}}} {word}" for word in value.split()) + " "
        if regime == "cot":
            return key + "".join(seen[: seen.index(key) + 1]) + " ? ".join(value.split()) + " "
        turns, names = [], key.split()
        for word in value.split():
            query = " ".join(names) if form == "short" else rf"(?<!\S) {rf' {SPACE} '.join(names)} {SPACE}(\S+)"
            turns.append(f"<StartSearch> {query} <EndSearch> [{word}] {word}")
            names.append(word)
        return key + " ? ".join(turns) + " "

    return re.sub(r"((?:k\d+ )+)((?:v\d+ ?)+)", reply, text).strip()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    ("regime", "arguments"),
    [
        *((regime, arguments) for regime in REGIMES for arguments in ({}, NOISY)),
        *((regime, arguments) for regime in REGIMES for arguments in (FUZZY, {**NOISY, **FUZZY})),
        *(("retrieval", {**arguments, "query_form": "full"}) for arguments in (NOISY, FUZZY)),
    ],
)  # fmt: skip
def test_keys_that_return_are_answered(regime, arguments, count):
    task = MADRecall(**arguments)
    plain = task if regime == "vanilla" else task.evaluation
    plain = plain.sample(2, np.arange(count), np.resize([12, 30, 41], count), "vanilla")
    transcripts = task.sample(2, np.arange(count), np.resize([12, 30, 41], count), regime)
    for row in range(count):
        user = " ".join(read(plain, task, row)[0])
        assert text_of(transcripts, task, row) == expected_recall(user, regime, task.query_form)
        words, authors = read(transcripts, task, row)
        answers = task.vocabulary.decode(transcripts.answers_of(row))
        turns = [at for at in range(1, len(words)) if authors[at] == Author.ASKED or authors[at - 1 : at + 1] == TURN]
        assert transcripts.prompt_length[row] == turns[0] and len(answers) == len(turns)
        shown = [words[at - 1 - back] for at, back in zip(turns, transcripts.distances[row], strict=False)]
        assert shown == answers and transcripts.distances[row, : len(turns)].min() > 0


def test_a_recall_has_mads_numbers_of_words_and_pairs():
    """As drawn by MAD's code: 56.0 labels in a sample, 43.6 with noise, 4.4 in the fuzzy test."""
    for arguments, keys, values, labels in (({}, 8, 8, 56.0), (NOISY, 8, 8, 43.6), (FUZZY, 7, 8, 4.4)):
        task = MADRecall(**arguments).evaluation
        transcripts = task.sample(0, np.arange(500), np.full(500, 128), "vanilla")
        words = {word for row in range(500) for word in read(transcripts, task, row)[0][1:]}
        noise = task.noise_vocab_size
        assert [sum(word[0] == kind for word in words) for kind in "kvn"] == [keys, values, noise]
        assert abs((transcripts.answers > 0).sum(1).mean() - labels) < 1
        assert 117 <= transcripts.length.min() <= transcripts.length.max() <= 129
        assert task.k_motif_size > 1 or set(transcripts.length) == {129}


def test_a_share_of_the_pairs_is_noise_but_never_all():
    task = MADRecall(vocab_size=12, noise_vocab_size=4, frac_noise=0.8)
    transcripts = task.sample(0, np.arange(4000), np.full(4000, 12), "vanilla")
    counts = [len(re.findall(r"n\d+ n\d+", " ".join(read(transcripts, task, row)[0]))) for row in range(4000)]
    assert max(counts) == 4 and abs(np.mean(counts) - 4 * 0.8) < 0.05


def lengths_of(task, split):
    transcripts = SampleStream(task, "vanilla", [60], 0, split).take(np.arange(500))
    texts = (" ".join(read(transcripts, task, row)[0]) for row in range(500))
    keys, values = zip(*(pair for text in texts for pair in pairs_of(text)), strict=True)
    assert all(len(set(motif.split())) == len(motif.split()) for motif in (*keys, *values)), "a motif has no word twice"
    return [np.unique([len(motif.split()) for motif in motifs], return_counts=True) for motifs in (keys, values)]


@pytest.mark.parametrize("wrap", [lambda task: task, ReadAgain, lambda task: Mixture([task])])
def test_fuzzy_keys_have_all_lengths_in_training_and_the_longest_in_tests(wrap):
    task = MADRecall(**FUZZY)
    assert wrap(task).evaluation.vocabulary.words == task.vocabulary.words
    if wrap(task) is task:
        (sizes, counts), (_, values) = lengths_of(task, "fit")
        assert sizes.tolist() == [1, 2, 3] and abs(counts / counts.sum() - 1 / 3).max() < 0.08
        assert values.min() > 0.2 * values.sum()
    for split in ("validate", "test", "predict"):
        samples = SampleStream(wrap(task), "vanilla", [60], 0, split).take(np.arange(50))
        texts = (" ".join(read(samples, task, row)[0]).split("<s>")[-1] for row in range(50))
        assert {len(key.split()) for text in texts for key, _ in pairs_of(text)} == {3}


@pytest.mark.parametrize("count", COUNTS)
def test_words_among_blanks_are_copied_in_their_order(count):
    task = MADCopying(num_tokens_to_copy=4)
    transcripts = task.sample(1, np.arange(count), np.resize([10, 30], count), "vanilla")
    for row in range(count):
        words, authors = read(transcripts, task, row)
        given = [at for at, word in enumerate(words) if word[0] == "w"]
        sign = words.index("?")
        assert len(words) == 2 + transcripts.sizes[row] and words[sign - 1] != "_" and len(given) == 4
        assert words[sign + 1 :] == ["_"] * 5 and set(words[1:sign]) <= {"_", *(words[at] for at in given)}
        assert authors == [Author.PROMPT] * (sign + 2) + [Author.ASKED] * 4
        assert task.vocabulary.decode(transcripts.answers[row]) == [words[at] for at in given]
        assert transcripts.distances[row].tolist() == [sign + 1 + place - at for place, at in enumerate(given)]
    assert len(np.unique(transcripts.answers)) == 14


def test_each_blank_falls_before_a_word_drawn_for_it():
    """Gaps are binomial: mean and variance of 26 blanks over 4 words."""
    task = MADCopying(num_tokens_to_copy=4)
    transcripts = task.sample(0, np.arange(5000), np.full(5000, 35), "vanilla")
    is_word = np.isin(transcripts.tokens[:, :31], task.answer_words)
    gaps = np.diff(np.nonzero(is_word)[1].reshape(5000, 4), axis=1) - 1
    assert abs(gaps.mean() - 26 / 4) < 0.1 and abs(gaps.var() - 26 * 3 / 16) < 0.25


@pytest.mark.parametrize("count", COUNTS)
def test_compressed_words_are_asked_for_by_place(count):
    task = MADCompression()
    transcripts = task.sample(1, np.arange(count), np.resize([2, 9, 32], count), "vanilla")
    for row, size in enumerate(transcripts.sizes):
        words, authors = read(transcripts, task, row)
        assert words == ["<s>", *words[1:size], "?", *["_"] * (size - 1)]
        assert authors == [Author.PROMPT] * (size + 1) + [Author.ASKED] * (size - 1)
        assert task.vocabulary.decode(transcripts.answers_of(row)) == words[1:size]
        assert set(transcripts.distances[row, : size - 1]) == {size - 1}
    assert len(np.unique(transcripts.answers[transcripts.answers > 0])) == 15


def values_of(task, split, count, seed=0):
    """The values of each key in the samples of a split."""
    transcripts = SampleStream(task, "vanilla", [8], seed, split).take(np.arange(count))
    found = {}
    for row in range(count):
        words, authors = read(transcripts, task, row)
        assert words[2::2] == ["?"] * 4 and words[-1] == "?" and words[0] == "<s>"
        places = [at for at, by in enumerate(authors) if by == Author.ASKED]
        assert places == [3, 5, 7, 9] and set(authors[:3]) == {Author.PROMPT}
        for key, value in zip(words[1::2], task.vocabulary.decode(transcripts.answers[row]), strict=False):
            found.setdefault(key, set()).add(value)
    return found


@pytest.mark.parametrize("count", COUNTS)
def test_a_memorized_map_is_the_same_in_all_samples_and_splits(count):
    task = MADMemorization(vocab_size=32)
    training, tests = values_of(task, "fit", count), values_of(task, "test", count, seed=1)
    assert training == tests and len(training) == 15 and all(len(values) == 1 for values in training.values())
    assert len(set.union(*training.values())) == 15, "no two keys have the same value"
    assert values_of(MADMemorization(32, map_seed=1), "fit", count) != training


def words_of(text):
    return [(word, Author.MODEL) for word in text.split()]  # signs of other authors are in the text


def test_the_samples_in_the_docstrings_are_well_formed():
    def recalled(prompt, regime):
        return words_of(expected_recall("<s> k5 v1 k2 v4 k5 v1 k2 v4 k2 v4", regime))[len(prompt) :]

    def copied(prompt, regime):
        return words_of(" ".join(f"{{{word}}} _" for word in prompt if word[0] == "w"))

    def memorized(prompt, regime):
        return words_of("{v5} k1 ? {v2} k3 ? {v5} ?" if prompt[1] == "k3" else "")

    for task, expected in (
        (MADRecall, recalled), (MADCopying, copied), (MADCompression, copied), (MADMemorization, memorized)
    ):  # fmt: skip
        check_docstring(task, expected)


@pytest.mark.parametrize(
    ("task", "size"),
    [
        (MADRecall(8), 10), (MADRecall(**FUZZY), 40), (MADCopying(num_tokens_to_copy=3), 8), (MADCompression(), 8),
        (MADMemorization(), 8),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_replies_keep_to_their_bounds(task, size):
    for regime in task.regimes:
        assert check_bounds(task, size, regime, 500).min() <= task.longest_reply(size, regime)


@pytest.mark.parametrize(
    ("task", "size", "message"),
    [
        (MADRecall(), 3, "4 or more"), (MADRecall(**FUZZY), 11, "12 or more"), (MADCopying(), 33, "34 or more"),
        (MADCompression(), 1, "2 or more"), (MADMemorization(), 7, "an even number, 2 or more"),
    ],
)  # fmt: skip
def test_sizes_without_room_are_refused(task, size, message):
    with pytest.raises(UserError, match=f"size must be {message}, got {size}; set data.sizes"):
        task.sample(0, np.arange(1), np.full(1, size), "vanilla")


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (MADRecall, {"vocab_size": 1}, "vocab_size must be 2 or more, got 1"),
        (MADRecall, {"noise_vocab_size": 16}, "vocab_size=16 has 0 keys and 0 values beside the noise"),
        (MADRecall, {"vocab_size": 6, **FUZZY}, "6 has 2 keys and 3 values .* motifs of 3 and 3 different words"),
        (MADRecall, {"frac_noise": 0.2}, "frac_noise=0.2 needs noise words; set data.task.init_args.noise_vocab_size"),
        (MADRecall, {**NOISY, "frac_noise": 1.0}, "frac_noise must be 0 to 0.99, got 1.0; set data.task.init_args"),
        (MADRecall, {"k_motif_size": 0}, "k_motif_size must be 1 or more, got 0"),
        (MADCopying, {"vocab_size": 2}, "vocab_size must be 3 or more, got 2"),
        (MADCompression, {"vocab_size": 2}, "vocab_size must be 3 or more, got 2"),
        (MADMemorization, {"vocab_size": 2}, "vocab_size must be 3 or more, got 2"),
        (MADMemorization, {"map_seed": -1}, "map_seed must be 0 to .*, got -1; set data.task.init_args.map_seed"),
    ],
)  # fmt: skip
def test_what_there_is_no_task_for_is_refused(make, arguments, message):
    with pytest.raises(UserError, match=message):
        make(**arguments)
