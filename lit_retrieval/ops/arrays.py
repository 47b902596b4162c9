"""Hands PyTorch tensors to Numba kernels: the same memory, on as many threads as PyTorch was given."""

from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

_SMALL = 32768  # numbers; below it PyTorch uses one thread, since waking another one takes longer than the work


def run_kernel(kernel: Any, *arguments: Tensor | float | int | tuple[int, ...]) -> None:
    """Call a parallel Numba kernel on contiguous float32 CPU tensors; it writes into the last ones.

    Besides tensors it may take float32 numbers, counts, and tuples, as which `ops/lanes.py` has the number of lanes.
    """
    num_threads = min(torch.get_num_threads(), _start_numba_threads())
    is_small = all(argument.numel() < _SMALL for argument in arguments if isinstance(argument, Tensor))
    numba.set_num_threads(1 if is_small else num_threads)
    kernel(*[_as_numba(argument) for argument in arguments])


def _as_numba(argument: Tensor | float | int | tuple[int, ...]) -> Any:
    if isinstance(argument, Tensor):
        return argument.detach().numpy()
    return np.float32(argument) if isinstance(argument, float) else argument


def runs_on_numba(*tensors: Tensor | None) -> bool:
    """Whether Numba kernels can take these tensors: all of them, where present, float32 on a CPU."""
    return all(tensor is None or (tensor.dtype == torch.float32 and tensor.is_cpu) for tensor in tensors)


@cache
def _start_numba_threads() -> int:
    # Numba starts its pool with omp_set_num_threads, once for each process. PyTorch uses the same OpenMP library and
    # reads that as its own setting, so we start the pool here, where the old number can be put back.
    num_threads = torch.get_num_threads()
    num_numba_threads = numba.get_num_threads()
    torch.set_num_threads(num_threads)
    return num_numba_threads
