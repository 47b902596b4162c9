"""Our samples have the law of the reference generators' definitions, computed here from the definitions.

docs/peers.md says where a definition, or the code of a generator, is wrong or leaves something open.
"""

from itertools import permutations
from math import comb, sqrt

import numpy as np
import pytest

from lit_retrieval.tasks import (
    MQAR,
    Author,
    IsTree,
    MADCopying,
    MADMemorization,
    MADRecall,
    ModularArithmetic,
    StateTracking,
    StringTransduction,
)
from lit_retrieval.tasks.recall.pairs import FIRST_KEY
from lit_retrieval.vocabulary import FIRST_WORD

pytestmark = pytest.mark.peer
COUNT = 20_000


def draw(task, size, count=COUNT):
    return task.sample(0, np.arange(count), np.full(count, size), "vanilla")


def assert_law(drawn, shares):
    """Pearson's chi-squared of outcomes 0, 1, ... is within six standard deviations of its mean; no other outcomes."""
    counts, expected = np.bincount(drawn, minlength=len(shares)), np.array(shares) * len(drawn)
    assert len(counts) == len(shares) and abs(sum(shares) - 1) < 1e-9 and not counts[expected == 0].any()
    possible = expected > 0
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = possible.sum() - 1
    assert statistic < freedom + 6 * sqrt(2 * freedom), (statistic, freedom)


def power_law(num_slots, num_pairs, power_a):
    """Zoology: the slot of each pair, drawn one after the other without replacement, with its probability."""
    weights = np.arange(1, num_slots + 1) ** (power_a - 1)
    found = {}
    for slots in permutations(range(num_slots), num_pairs):
        left, share = weights.sum(), 1.0
        for slot in slots:
            share *= weights[slot] / left
            left -= weights[slot]
        found[slots] = share
    return found


def slots_of_pairs(transcripts, num_pairs):
    """The slot at which each pair is asked for, `(samples, pairs)`."""
    rows, at = np.nonzero(transcripts.author[:, 1:] == Author.ASKED)
    keys = transcripts.tokens[rows, at].reshape(-1, num_pairs)
    order = (keys[:, None] == transcripts.tokens[:, 1 : 2 * num_pairs : 2][:, :, None]).argmax(2)
    return np.take_along_axis((at.reshape(-1, num_pairs) - 2 * num_pairs - 1) // 2, order, 1)


@pytest.mark.parametrize("power_a", [0.01, 0.5, 1.0, 3.0])
def test_zoologys_queries_have_the_places_of_its_power_law(power_a):
    task, law = MQAR(vocab_size=16, num_kv_pairs=3, power_a=power_a), power_law(6, 3, power_a)
    places = slots_of_pairs(draw(task, 18), 3)
    number = {slots: outcome for outcome, slots in enumerate(law)}
    assert_law(np.array([number[tuple(slots)] for slots in places.tolist()]), list(law.values()))


def test_zoologys_queries_come_in_the_order_of_the_pairs_more_often_than_not():
    """So a model that says the j-th value at the j-th query, without reading a key, beats a guess among the values."""
    law = power_law(6, 3, 0.01)
    expected = sum(share * np.mean(np.argsort(slots) == np.arange(3)) for slots, share in law.items())
    order = np.argsort(slots_of_pairs(draw(MQAR(vocab_size=16, num_kv_pairs=3), 18), 3), 1)
    assert np.mean(order == np.arange(3)) == pytest.approx(expected, abs=0.01) and expected > 0.4
    order = np.argsort(slots_of_pairs(draw(MQAR(num_kv_pairs=4), 64), 4), 1)
    assert np.mean(order == np.arange(4)) == pytest.approx(0.28, abs=0.01), "as the docstring says"


def test_zoologys_pairs_are_distinct_keys_and_values_alike():
    tokens = draw(MQAR(vocab_size=10, num_kv_pairs=2), 8).tokens - FIRST_WORD
    for first, second in (tokens[:, [1, 3]].T - tokens[:, 1::2].min(), tokens[:, [2, 4]].T - tokens[:, 2:5:2].min()):
        assert_law(first * 5 + second, [(one != other) / 20 for one in range(5) for other in range(5)])


def test_zoologys_fillers_are_any_words():
    transcripts = draw(MQAR(vocab_size=10, num_kv_pairs=2), 40)
    fillers = (transcripts.author == Author.ASKED)[:, 1:]  # the words that are beside the answers
    words = transcripts.tokens[:, 1:][fillers]
    assert_law(words - FIRST_KEY, [1 / 10] * 10)
    assert abs(np.corrcoef(words[:-1], words[1:])[0, 1]) < 6 / sqrt(len(words))


def distinct_keys(num_draws, num_keys):
    """The shares of samples with so many distinct keys among the draws, from 0 on."""
    shares = np.eye(num_keys + 1)[0]
    for _ in range(num_draws):
        known = shares * np.arange(num_keys + 1) / num_keys
        shares = known + np.append(0, (shares * (1 - np.arange(num_keys + 1) / num_keys))[:-1])
    return shares


def test_mads_recall_has_as_many_repeated_keys():
    """MAD: keys drawn with replacement, one pair fewer than half the tokens, then one more of those shown."""
    answers = (draw(MADRecall(vocab_size=16), 24).answers != 0).sum(1)
    assert_law(11 - (answers - 1), distinct_keys(11, 8))


def test_mads_noise_is_a_share_of_all_pairs_but_one():
    """MAD draws the one among one pair too many, so that 1 of 12 samples has none; ours always has one."""
    task = MADRecall(vocab_size=20, noise_vocab_size=4, frac_noise=0.3)
    transcripts = draw(task, 24)
    noise = [task.vocabulary.words.index(f"n{one}") for one in range(1, 5)]
    pairs = np.isin(transcripts.tokens, noise).sum(1) // 2
    assert_law(pairs, [comb(10, some) * 0.3**some * 0.7 ** (10 - some) for some in range(11)])


def test_mads_blanks_fall_before_each_word_alike():
    """MAD: each blank is inserted before one of the words, drawn alike, so that none comes after the last."""
    task = MADCopying(num_tokens_to_copy=4)
    transcripts = draw(task, 19)
    is_word = np.isin(transcripts.tokens[:, 1:15], task.answer_words)
    places = np.nonzero(is_word)[1].reshape(COUNT, 4)
    gaps = np.diff(places, axis=1, prepend=-1) - 1
    assert (places[:, -1] == 13).all()
    for gap in gaps.T:
        assert_law(gap, [comb(10, some) * 3 ** (10 - some) / 4**10 for some in range(11)])


def test_mads_map_has_no_value_twice_and_its_keys_come_alike():
    transcripts = draw(MADMemorization(vocab_size=21), 8, 5000)
    keys = transcripts.tokens[:, 1:9:2] - FIRST_WORD
    pairs = set(zip(keys.ravel().tolist(), transcripts.answers[:, :4].ravel().tolist(), strict=True))
    assert len(pairs) == len({value for _, value in pairs}) == 10
    assert_law(keys.ravel() - keys.min(), [1 / 10] * 10)


def final(task, size):
    return draw(task, size).answers[:, 0] - task.answer_words[0]


def test_the_hierarchys_cycle_has_the_law_of_a_walk():
    shares = np.eye(5)[0]
    for _ in range(7):
        shares = (shares + np.roll(shares, 1) + np.roll(shares, -1)) / 3
    assert_law(final(StateTracking("cycle5", "final"), 7), shares)


@pytest.mark.parametrize("automaton", ["parity", "even_pairs"])
def test_the_hierarchys_binary_strings_are_of_both_classes_alike(automaton):
    assert_law(final(StateTracking(automaton, "final"), 7), [1 / 2, 1 / 2])


def test_the_hierarchys_flat_expressions_have_the_law_of_their_values():
    """Digits and the operators +, -, * drawn alike; the state is the sum of finished terms, and the term so far."""
    shares = {(0, term): 1 / 5 for term in range(5)}
    for _ in range(4):
        later = dict.fromkeys(((total, term) for total in range(5) for term in range(5)), 0.0)
        for (total, term), share in shares.items():
            for digit in range(5):
                for state in (((total + term) % 5, digit), ((total + term) % 5, -digit % 5), (total, term * digit % 5)):
                    later[state] += share / 15
        shares = later
    values = [sum(share for (total, term), share in shares.items() if (total + term) % 5 == one) for one in range(5)]
    assert_law(final(ModularArithmetic("flat"), 9), values)


def test_the_hierarchys_brackets_are_split_alike():
    """Of `length` tokens 1 to `length - 4` are at the left of the outermost operator, alike."""
    task = ModularArithmetic("brackets")
    tokens = draw(task, 13).tokens
    digits = ((tokens >= FIRST_WORD) & (tokens < FIRST_WORD + 5)).sum(1)
    assert_law(digits, digits_law(13)[: digits.max() + 1])


def digits_law(length):
    """The shares of expressions with 0, 1, ... digits, up to `length`."""
    if length < 5:
        return np.array([0.0, 1.0])
    total = np.zeros(length + 1)
    for left in range(1, length - 3):
        both = np.convolve(digits_law(left), digits_law(length - 3 - left))
        total[: len(both)] += both / (length - 4)
    return total


def test_the_hierarchys_stacks_have_the_law_of_their_heights():
    """A stack of 1 to 6 words alike, then pops with 1/3, which leave an empty stack empty, and pushes."""
    heights = np.zeros(8)
    for first in range(1, 7):
        shares = np.eye(8)[first]
        for _ in range(7 - first):
            popped = np.append(shares[1:], 0)
            popped[0] += shares[0]
            shares = popped / 3 + 2 / 3 * np.append(0, shares[:-1])
        heights += shares / 6
    answers = (draw(StringTransduction("stack_manipulation"), 7).answers != 0).sum(1)
    assert_law(answers - 1, heights)


def test_the_hierarchys_sums_have_the_law_of_their_numbers():
    """Of 7 tokens 1 to 5 are the first number alike; both are drawn alike from 1 on."""
    shares = np.zeros(64)
    for length in range(1, 6):
        most, other = 2**length, 2 ** (6 - length)
        for one in range(1, most):
            for two in range(1, other):
                shares[one + two] += 1 / 5 / (most - 1) / (other - 1)
    task = StringTransduction("binary_addition")
    bits = draw(task, 7).answers == task.answer_words[1]
    assert_law((bits * 2 ** np.arange(bits.shape[1])).sum(1), shares[: np.flatnonzero(shares)[-1] + 1])


def test_the_hierarchys_missing_word_is_at_any_place():
    task = StringTransduction("missing_duplicate")
    transcripts = draw(task, 4)
    gap = task.vocabulary.words.index("_")
    missing = (transcripts.tokens[:, 1:9] == gap).argmax(1)
    assert_law(missing * 2 + transcripts.answers[:, 0] - task.answer_words[0], [1 / 16] * 16)


def test_the_papers_hubs_have_the_law_of_fair_coins():
    """14 vertices join one of two hubs; the largest degree is the larger number, if it is above the 2 of the others."""
    transcripts = draw(IsTree(max_size=16), 16, 5000)
    vertices = transcripts.tokens[:, 1:46].reshape(5000, 15, 3)[:, :, ::2].reshape(5000, 30)
    degrees = (vertices[:, :, None] == np.unique(vertices)).sum(1)
    larger = [comb(14, side) / 2**14 * (1 if side == 7 else 2) * (side >= 7) for side in range(15)]
    assert_law(degrees.max(1), larger)
    assert_law(transcripts.answers[:, 0] - transcripts.answers.min(), [1 / 2, 1 / 2])
