"""Which layers differ: a sign test over the same samples, with Holm's correction over all pairs."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations
from math import log

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
LEVEL = 0.05


def sign_test(one: Counts, other: Counts) -> float:
    """The two-sided p-value of the sign test, that neither layer tends to have more right answers on a sample.

    Samples on which both have the same number of right answers do not count. Under the hypothesis, the first layer is
    better on a binomial number of the others, with probability 1/2. (With one answer per sample this is McNemar's exact
    test, doi:10.1007/BF02295996.)

    Args:
        one: Right answers of each sample, `(samples,)`.
        other: The same for the other layer, on the same samples.
    """
    more, fewer = int((one > other).sum()), int((one < other).sum())
    total, few = more + fewer, min(more, fewer)
    if more == fewer:
        return 1.0
    logs = _log_factorials(total)
    number = np.arange(few + 1)
    tail = np.exp(logs[total] - logs[number] - logs[total - number] - total * log(2)).sum()
    return min(1.0, 2 * float(tail))


@cache
def _log_factorials(last: int) -> npt.NDArray[np.float64]:
    """The logarithms of 0! to last!, `(last + 1,)`."""
    return np.concatenate([[0.0], np.log(np.arange(1, last + 1)).cumsum()])


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which hypotheses are rejected; the probability to reject any true one is at most `level`.

    The smallest p-value must be at most level / m, the next level / (m - 1), and so on, up to the first that is larger
    (Holm 1979, A simple sequentially rejective multiple test procedure).
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    rejected = [False] * len(p_values)
    for rank, place in enumerate(order):
        if p_values[place] > level / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected


def differences(cells: Mapping[str, Mapping[str, list[Counts]]]) -> dict[str, set[tuple[str, str]]]:
    """The pairs of layers that differ in each cell, each pair in both orders.

    A pair differs if two things hold. The sign test of the right answers of each sample, summed over seeds, is
    significant after Holm's correction over all pairs of all cells. And every seed of the one has a higher accuracy
    than every seed of the other.

    Args:
        cells: Right answers by cell, layer and seed, each `(samples,)`, of the same samples.
    """
    p_values = sign_tests(cells)
    found: dict[str, set[tuple[str, str]]] = {cell: set() for cell in cells}
    for (cell, one, other), is_rejected in zip(p_values, holm(list(p_values.values())), strict=True):
        if is_rejected and are_apart(cells[cell][one], cells[cell][other]):
            found[cell] |= {(one, other), (other, one)}
    return found


def sign_tests(cells: Mapping[str, Mapping[str, list[Counts]]]) -> dict[tuple[str, str, str], float]:
    """The p-value of each pair of layers in each cell, of the right answers summed over seeds; see `differences`."""
    p_values = {}
    for cell, layers in cells.items():
        sums = {name: np.sum(seeds, 0) for name, seeds in layers.items()}
        for one, other in combinations(layers, 2):
            p_values[cell, one, other] = sign_test(sums[one], sums[other])
    return p_values


def are_apart(one: list[Counts], other: list[Counts]) -> bool:
    """Whether all seeds of one layer are above all seeds of the other."""
    totals = [[int(seed.sum()) for seed in seeds] for seeds in (one, other)]
    return min(totals[0]) > max(totals[1]) or min(totals[1]) > max(totals[0])
