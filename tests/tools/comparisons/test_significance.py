import random
from itertools import product
from math import comb

import numpy as np
import pytest
from comparisons.significance import are_apart, differences, holm, sign_test


@pytest.mark.parametrize("seed", range(6))
def test_holm_rejects_what_its_definition_does(seed):
    """Holm: reject those smaller than the first in order that fails; here by trying every number of rejections."""
    draw = random.Random(seed)
    p_values = [draw.choice([draw.random(), draw.random() / 100, 0.01, 0.0125]) for _ in range(5)]
    order, count = sorted(p_values), 0
    while count < 5 and all(order[rank] * (5 - rank) <= 0.05 for rank in range(count + 1)):
        count += 1
    rejected = holm(p_values)
    assert sorted(p for p, is_rejected in zip(p_values, rejected, strict=True) if is_rejected) == order[:count]


@pytest.mark.parametrize(("one", "other"), [([3, 1, 2, 0, 2], [1, 1, 1, 1, 0]), ([0, 0], [0, 0]), ([9] * 6, [8] * 6)])
def test_the_sign_test_counts_all_signs(one, other):
    """Against all 2^n assignments of signs to the samples that differ."""
    signs = np.sign(np.array(one) - np.array(other))
    signs = signs[signs != 0]
    extreme = [abs(sum(flipped)) >= abs(signs.sum()) for flipped in product([-1, 1], repeat=len(signs))]
    assert sign_test(np.array(one), np.array(other)) == pytest.approx(np.mean(extreme))


def test_many_samples_have_the_binomial_tail():
    one = np.array([1] * 700 + [0] * 300)
    expected = 2 * sum(comb(1000, number) for number in range(301)) / 2**1000
    assert sign_test(one, 1 - one) == pytest.approx(expected, rel=1e-9)


def test_layers_differ_only_if_the_difference_is_past_the_correction():
    """6 of 10 against 5 of 10 in each seed: the seeds agree, but so would those of equal layers."""
    six, five = (np.array([1] * right + [0] * (10 - right)) for right in (6, 5))
    assert are_apart([six, six], [five, five])
    assert differences({"a": {"x": [six, six], "y": [five, five]}}) == {"a": set()}
    many = {"a": {"x": [np.tile(six, 100)] * 2, "y": [np.tile(five, 100)] * 2}}
    assert differences(many) == {"a": {("x", "y"), ("y", "x")}}


def test_layers_differ_only_if_all_seeds_agree():
    good, bad = np.ones(100, np.int64), np.zeros(100, np.int64)
    cells = {"a": {"x": [good, good], "y": [bad, bad], "z": [good, bad], "same": [good, good]}}
    found = differences(cells)["a"]
    assert ("x", "y") in found and ("y", "x") in found and ("same", "y") in found
    assert not any("z" in pair for pair in found) and ("x", "same") not in found
