"""Runs Numba kernels on PyTorch tensors: they share the memory and the number of threads."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from lit_retrieval.errors import UserError, one_line

_SMALL = 32768  # elements; below this PyTorch uses one thread too, since to wake another one takes longer than the work

Argument = Tensor | float | int | tuple[Any, ...]


def run_kernel(kernel: Any, *arguments: Argument) -> None:
    """Call a parallel Numba kernel on contiguous float32 CPU tensors; it writes into the last ones.

    Besides tensors it may take tuples of tensors, float32 numbers, integers, and the number of lanes as `ops/lanes.py`
    has it, a tuple of integers. A named tuple arrives as a plain one, which Numba recognizes five times as fast.

    Raises:
        RuntimeError: If autograd records, as it does in a backward with `create_graph=True`.
    """
    tensors = _tensors_in(arguments)
    refuse_to_record(tensors)
    num_threads = min(torch.get_num_threads(), _start_numba_threads())
    is_small = all(tensor.numel() < _SMALL for tensor in tensors)
    numba.set_num_threads(1 if is_small else num_threads)
    kernel(*[_as_numba(argument) for argument in arguments])


def refuse_to_record(tensors: Iterable[Tensor | None]) -> None:
    """Raise a `RuntimeError` if autograd records: a compiled backward would give wrong second derivatives.

    PyTorch's `once_differentiable` isn't enough: `torch.autograd.grad` never runs the node that would raise.
    """
    if any(tensor is not None and tensor.requires_grad for tensor in tensors):
        _refuse_if_recorded()


def refuse_second_derivatives(outputs: Iterable[Tensor]) -> None:
    """Let a backward through `outputs` with `create_graph=True` raise the same error, for kernels of other packages."""
    for output in outputs:
        if output.requires_grad:
            output.register_hook(_refuse_if_recorded)  # type: ignore[no-untyped-call]


def _refuse_if_recorded(grad: Tensor | None = None) -> None:
    if torch.is_grad_enabled():
        raise RuntimeError("compiled kernels have no second derivatives; call backward without create_graph=True")


def _tensors_in(arguments: tuple[Argument, ...]) -> list[Tensor]:
    tensors: list[Tensor] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            tensors.append(argument)
        elif isinstance(argument, tuple) and isinstance(argument[0], Tensor):
            tensors += argument
    return tensors


def _as_numba(argument: Argument) -> Any:
    if isinstance(argument, Tensor):
        return (argument.detach() if argument.requires_grad else argument).numpy()
    if isinstance(argument, tuple) and isinstance(argument[0], Tensor):
        return tuple([_as_numba(tensor) for tensor in argument])
    return np.float32(argument) if isinstance(argument, float) else argument


def runs_on_numba(*tensors: Tensor | None) -> bool:
    """Whether Numba kernels can take these tensors: all that are not None must be float32 on a CPU.

    `torch.compile` can't trace a kernel, so it gets the naive form.
    """
    is_on_cpu = all(tensor is None or (tensor.dtype == torch.float32 and tensor.is_cpu) for tensor in tensors)
    return is_on_cpu and not torch.compiler.is_compiling()


@cache
def _start_numba_threads() -> int:
    # Numba starts its pool with omp_set_num_threads, once for each process. PyTorch uses the same OpenMP library, for
    # which that is its own setting, so the pool is started here, where the old number can be restored.
    num_threads = torch.get_num_threads()
    try:
        num_numba_threads = numba.get_num_threads()
    except ValueError as error:
        raise UserError(f"{one_line(error)}; or unset NUMBA_THREADING_LAYER") from None
    torch.set_num_threads(num_threads)
    return num_numba_threads
