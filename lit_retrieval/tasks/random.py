"""Counter-based random numbers for compiled generators: a stream is a function of (seed, index) alone."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from numba import njit

Stream = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]  # indices, sizes, positions or items to shuffle

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True)
def _mix(bits: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@njit(cache=True)
def open_stream(seed: np.uint64, index: int) -> Stream:
    """The random numbers of sample `index` in the sample stream `seed`: a state that the draws below advance."""
    stream = np.empty(1, np.uint64)
    stream[0] = _mix(_mix(np.uint64(seed) + _GAMMA) + np.uint64(index) * _GAMMA)
    return stream


@njit(cache=True)
def draw_bits(stream: Stream) -> np.uint64:
    """64 random bits."""
    stream[0] += _GAMMA
    return _mix(stream[0])


@njit(cache=True)
def draw_coin(stream: Stream) -> int:
    """0 or 1."""
    bit: int = np.int64(draw_bits(stream) >> np.uint64(63))  # type: ignore[assignment]
    return bit


@njit(cache=True)
def draw_below(stream: Stream, stop: int) -> int:
    """A number from 0 to `stop - 1`; with 32 bits the bias is below `stop / 2**32`."""
    high = draw_bits(stream) >> np.uint64(32)
    drawn: int = np.int64((high * np.uint64(stop)) >> np.uint64(32))  # type: ignore[assignment]
    return drawn


@njit(cache=True)
def draw_share(stream: Stream) -> float:
    """A number in [0, 1) from 53 random bits."""
    share: float = np.float64(draw_bits(stream) >> np.uint64(11)) * 2.0**-53
    return share


@njit(cache=True)
def draw_weighted(seed: np.uint64, indices: Counts, weights: npt.NDArray[np.float64], first_samples: Counts) -> Counts:
    """Draw a choice for each sample, by weight, among the choices available to it.

    Args:
        seed: Seed of the choices.
        indices: Indices of the samples, `(batch,)`.
        weights: Weight of each choice, `(choices,)`.
        first_samples: Index of the first sample that may draw each choice, `(choices,)`.
    """
    drawn = np.zeros(len(indices), np.int64)
    for row in range(len(indices)):
        is_open = first_samples <= indices[row]
        rest = draw_share(open_stream(seed, indices[row])) * weights[is_open].sum()
        for choice in np.flatnonzero(is_open):
            drawn[row] = choice
            rest -= weights[choice]
            if rest < 0:
                break
    return drawn


@njit(cache=True)
def shuffle(stream: Stream, items: Counts, count: int) -> None:
    """Put `count` items, drawn without replacement, at the front of `items`, in random order (Fisher and Yates)."""
    for at in range(min(count, len(items) - 1)):
        other = at + draw_below(stream, len(items) - at)
        items[at], items[other] = items[other], items[at]


def derive_seed(seed: int, purpose: str) -> int:
    """Derive an independent seed, 0 to 2**64 - 1, for one purpose such as a split."""
    return int.from_bytes(blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest(), "little")
