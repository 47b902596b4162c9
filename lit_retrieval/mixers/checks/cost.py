"""The cost of a mixer at two lengths; these rules only report, and are never broken."""

import time

import torch
from torch import Tensor

from lit_retrieval.mixers.checks.case import Case
from lit_retrieval.mixers.mixer import count_elements

_SHORT, _LONG = 128, 512  # tokens
_RUNS = 3


@torch.no_grad()
def of_the_state(case: Case) -> str:
    """State elements at two lengths."""
    short, long = (count_elements(case.run(case.draw(1, length))[1]) for length in (_SHORT, _LONG))
    return f"{short:,} elements, {long:,}: {_growth(short, long)}"


def of_training(case: Case) -> str:
    """Bytes per token that a forward pass keeps for the backward pass."""
    short, long = (_kept_bytes(case, length) / length for length in (_SHORT, _LONG))
    return f"{short:,.0f} bytes a token, {long:,.0f}: {_growth(short, long)}"


@torch.no_grad()
def of_time(case: Case) -> str:
    """Microseconds per token of a forward pass."""
    short, long = (1e6 * _seconds(case, length) / length for length in (_SHORT, _LONG))
    return f"{short:,.1f} us a token, {long:,.1f}: {_growth(short, long)}"


def _growth(short: float, long: float) -> str:
    """Describe how a number grows when the length is multiplied by 4; bounds are wide, because timings are noisy."""
    ratio = long / short if short else 1.0
    return "constant" if ratio < 1.5 else f"grows {ratio:.1f} times"


def _kept_bytes(case: Case, length: int) -> int:
    kept: dict[int, int] = {}  # by storage, since several saved tensors may share one

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = case.draw(1, length).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y, _ = case.run(x)
    weights = {one.untyped_storage().data_ptr() for one in (*case.mixer.parameters(), *case.mixer.buffers())}
    del y
    return sum(size for place, size in kept.items() if place not in weights)


def _seconds(case: Case, length: int) -> float:
    x, times = case.draw(1, length), []
    for _ in range(_RUNS):
        start = time.perf_counter()
        y, _ = case.run(x)
        float(y.sum())  # waits for a GPU
        times.append(time.perf_counter() - start)
    return min(times)
