"""Runs Numba kernels on PyTorch tensors: they share the memory and the number of threads."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from lit_retrieval.errors import UserError, one_line

_SMALL = 32768  # elements; below this one thread is faster, because waking another takes longer than the work

Argument = Tensor | float | int | tuple[Any, ...]


def run_kernel(kernel: Any, *arguments: Argument) -> None:
    """Call a parallel Numba kernel on contiguous float32 CPU tensors; it writes into the last ones.

    It may also take tuples of tensors, float32 numbers, integers, and a number of lanes (`ops/lanes.py`), a tuple of
    integers. A named tuple is passed as a plain one, because Numba recognizes that five times as fast.

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
    """Raise a `RuntimeError` if autograd records, because a compiled backward would give wrong second derivatives.

    PyTorch's `once_differentiable` isn't enough, because `torch.autograd.grad` never runs the node that would raise.
    """
    if any(tensor is not None and tensor.requires_grad for tensor in tensors):
        _refuse_if_recorded()


def refuse_second_derivatives(outputs: Iterable[Tensor]) -> None:
    """Let a backward with `create_graph=True` through `outputs` of other packages' kernels raise the same error."""
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
    # Numba starts its pool with omp_set_num_threads, once per process. This also sets PyTorch's number of threads,
    # because both use the same OpenMP library. So the pool is started here, and the old number restored.
    num_threads = torch.get_num_threads()
    try:
        num_numba_threads = numba.get_num_threads()
    except ValueError as error:
        raise UserError(f"{one_line(error)}; or unset NUMBA_THREADING_LAYER") from None
    torch.set_num_threads(num_threads)
    return num_numba_threads
