from itertools import pairwise

import pytest

from lit_retrieval.training.schedule import warmup_cosine


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    shares = [warmup_cosine(step, 10, 110) for step in range(111)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(shares) == shares[10] == 1
    assert shares[60] == pytest.approx(0.5) and shares[110] == pytest.approx(0)
    assert all(later < earlier for earlier, later in pairwise(shares[10:]))


def test_a_warm_up_never_takes_more_than_half_of_the_training():
    assert warmup_cosine(5, 1000, 10) == 1


def test_without_a_warm_up_training_begins_at_the_peak():
    assert warmup_cosine(0, 0, 10) == 1
