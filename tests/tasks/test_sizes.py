import numpy as np
import pytest

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import IsTree, SampleStream, Sizes

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("written", "values", "weights"),
    [
        ([16, 8], [8, 16], [1, 1]),
        ({16: 1, 8: 2.5}, [8, 16], [2.5, 1]),
        ("4..7", [4, 5, 6, 7], [1, 1, 1, 1]),
        ("8..30..8", [8, 16, 24], [1, 1, 1]),
        ("5 .. 5", [5], [1]),
    ],
)
def test_sizes_are_a_list_or_a_range_or_have_weights(written, values, weights):
    sizes = Sizes.parse(written)
    assert sizes.values.tolist() == values and sizes.weights.tolist() == weights


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([], r"sizes must be one size or more, .* got \[\]"),
        ({}, "one size or more"),
        *(
            (weights, "with weights above 0 and a finite sum, got")
            for weights in [{8: 0.0}, {8: 1, 4: -1}, {8: NAN}, {8: 1, 4: NAN}, {4: INF, 8: 1}, {4: 1e308, 8: 1e308}]
        ),
        ([8, 8], r"sizes must be listed once each, got \[8, 8\]; set data.sizes"),
        ([8, 16, 8], "listed once each"),
        ("8..4", "one size or more"),
        ("4-8", "sizes must be a range such as 4..8, .* got '4-8'"),
        ("4..8..0", "must be a range"),
    ],
)
def test_what_is_no_size_is_refused(written, said):
    with pytest.raises(UserError, match=said):
        Sizes.parse(written)


def stream(sizes):
    return SampleStream(IsTree(max_size=16), "vanilla", sizes, 0, "fit")


def test_sizes_are_drawn_by_their_weights_and_belong_to_the_sample():
    sizes = stream({4: 1, 8: 3, 16: 4}).take(np.arange(20_000)).sizes
    shares = np.unique(sizes, return_counts=True)[1] / 20_000
    assert abs(shares - [1 / 8, 3 / 8, 4 / 8]).max() < 0.02
    assert (stream({4: 1, 8: 3, 16: 4}).take(np.arange(100, 200)).sizes == sizes[100:200]).all()


def test_a_size_is_drawn_from_its_first_sample_on():
    first = np.array([0, 1000, 2**62])
    sizes = stream([4, 8, 16]).take(np.arange(4000), first).sizes
    assert set(sizes[:1000]) == {4} and set(sizes[1000:]) == {4, 8}
    assert abs((sizes[1000:] == 8).mean() - 0.5) < 0.05


def test_a_split_that_is_none_is_refused():
    with pytest.raises(UserError, match="split must be fit or validate or test or predict, got 'foo'"):
        SampleStream(IsTree(), "vanilla", [4], 0, "foo")


def test_training_streams_of_other_seeds_draw_other_sizes():
    drawn = [SampleStream(IsTree(), "vanilla", [4, 8], seed, "fit").take(np.arange(64)).sizes for seed in (0, 1)]
    assert (drawn[0] != drawn[1]).any()
