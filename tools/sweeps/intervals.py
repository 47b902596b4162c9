"""Confidence intervals of shares."""

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
