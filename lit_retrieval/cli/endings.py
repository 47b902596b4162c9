"""Maps errors to one line and an exit status; unknown errors are bugs.

The statuses are in docs/reference/exit_statuses.md: 0, 2 (`USER_ERROR`), 3 (`FiniteLoss`), 75 and 130
(`Preemption`), and these.
"""

import errno
from collections.abc import Iterator

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lit_retrieval.errors import PREEMPTED, FolderInUseError, RunEndedError, UserError, one_line
from lit_retrieval.mixers import is_error_of_fla
from lit_retrieval.parsing import USER_ERROR

OUT_OF_MEMORY = 4
DISK_FULL = 5
LOST = 6

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NO_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")

_AS_BEFORE = "all written checkpoints are valid; free some space and run the same command again"
_NO_GPU = " Set trainer.accelerator cpu, or install a build of PyTorch for the machine's GPU."
_GONE = "has ended or can't be reached"
_RESUMES = "the same command resumes the run, on any number of processes"
_LESS = (
    "lower data.batch_size or data.eval_batch_size, set model.recompute: blocks, or take the samples of a step in K "
    "parts: divide data.batch_size by K, and set trainer.accumulate_grad_batches K"
)


def ending(error: BaseException) -> tuple[str, int] | None:
    """The line to print and the exit status; None for an unexpected error (a bug)."""
    for cause in _causes(error):
        if isinstance(cause, RunEndedError):
            return str(cause), cause.status
        if isinstance(cause, FolderInUseError):
            return f"error: {cause}", PREEMPTED
        if isinstance(cause, UserError | MisconfigurationException | ModuleNotFoundError):
            return f"error: {one_line(cause)}{_NO_GPU if 'gpu backend' in str(cause) else ''}", USER_ERROR
        if isinstance(cause, OSError) and cause.errno in _NO_SPACE:
            return f"error: the disk is full: {one_line(cause)}; {_AS_BEFORE}", DISK_FULL
        if _is_lost(cause):
            return f"error: another process of the run {_GONE}: {one_line(cause)[:200]}; {_RESUMES}", LOST
        if _is_out_of_memory(cause):
            return f"error: out of memory: {one_line(cause)[:200]}; {_LESS}", OUT_OF_MEMORY
        if is_error_of_fla(cause):
            said = f"{type(cause).__name__}: {one_line(cause)[:300]}"
            return f"error: the model's layers can't run on this device: {said}", USER_ERROR
    return None


def is_mistake(error: BaseException) -> bool:
    """Whether an error is a mistake of the user."""
    known = ending(error)
    return known is not None and known[1] == USER_ERROR


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its chain of explicit causes (`raise ... from`).

    An error that was being handled (`__context__`) may have been resolved, so it counts only if it is an `OSError`,
    because loggers and `torch.save` wrap disk errors in their own.
    """
    is_cause = True
    while error is not None:
        if is_cause or isinstance(error, OSError):
            yield error
        is_cause = is_cause and error.__cause__ is not None
        error = error.__cause__ or error.__context__


def _is_lost(error: BaseException) -> bool:
    """Whether the connection to another process was lost: gloo, the store and data loaders raise; NCCL exits."""
    if isinstance(error, torch.distributed.DistNetworkError | torch.distributed.DistStoreError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("gloo/transport" in said or said.startswith("DataLoader timed out"))


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
