"""Confidence intervals of shares, and of the difference of two."""

from math import sqrt
from statistics import NormalDist

_Z = NormalDist().inv_cdf(0.975)


def wilson(share: float, samples: int) -> tuple[float, float]:
    """The 95% interval of a binomial share.

    Its ends are the p with (share - p)^2 = z^2 p (1 - p) / samples  (Wilson 1927; recommended for its coverage by
    Brown, Cai and DasGupta 2001, doi:10.1214/ss/1009213286).

    Args:
        share: Share of successes, from 0 to 1.
        samples: Number of samples, at least 1.
    """
    weight = _Z**2 / samples
    middle = (share + weight / 2) / (1 + weight)
    half = sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def paired(only_first: int, only_second: int, samples: int) -> tuple[float, float]:
    """The 95% interval of the difference of two shares of the same samples, the first minus the second.

    With b and c each 1/2 larger and N larger by 2, it is ((b - c) +- z sqrt(b + c - (b - c)^2 / N)) / N  (Agresti and
    Min 2005, doi:10.1002/sim.1781).

    Args:
        only_first, only_second: Numbers of samples that are successes only in the first or the second, b and c.
        samples: Number of samples N, at least 1.
    """
    b, c, total = only_first + 0.5, only_second + 0.5, samples + 2
    half = _Z * sqrt(b + c - (b - c) ** 2 / total)
    return max(-1.0, (b - c - half) / total), min(1.0, (b - c + half) / total)
