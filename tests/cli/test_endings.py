"""What an error means to whoever started the run, whatever it is wrapped in."""

import errno

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lit_retrieval.cli.endings import DISK_FULL, LOST, OUT_OF_MEMORY, ending
from lit_retrieval.errors import PREEMPTED, RunEndedError, UserError
from lit_retrieval.parsing import USER_ERROR

FULL = OSError(errno.ENOSPC, "No space left on device", "events.out")
KNOWN = [
    (UserError("sizes must be one size or more"), USER_ERROR),
    (RunEndedError("stopped by SIGTERM", PREEMPTED), PREEMPTED),
    (FULL, DISK_FULL),
    (torch.OutOfMemoryError("CUDA out of memory"), OUT_OF_MEMORY),
    (MemoryError(), OUT_OF_MEMORY),
    (
        RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.2]:27861"),
        LOST,
    ),
    (torch.distributed.DistStoreError("Timed out after 1801 seconds waiting for clients. 1/2 clients joined."), LOST),
]


def caught(raise_it):
    try:
        raise_it()
    except Exception as error:
        return error


def raised_from(cause):
    def raise_it():
        raise RuntimeError("wrapped") from cause

    return caught(raise_it)


def raised_while_handling(handled):
    def raise_it():
        try:
            raise handled
        except Exception:
            {}["key"]

    return caught(raise_it)


@pytest.mark.parametrize(("error", "status"), KNOWN, ids=lambda value: type(value).__name__)
def test_what_is_known_has_its_status_bare_and_as_a_cause(error, status):
    for wrapped in (error, raised_from(error), raised_from(raised_from(error))):
        line, found = ending(wrapped)
        assert found == status and "\n" not in line and str(error) in line


@pytest.mark.parametrize(("error", "status"), KNOWN, ids=lambda value: type(value).__name__)
def test_a_bug_while_a_mistake_is_handled_is_a_bug_and_a_full_disk_is_still_full(error, status):
    for wrapped in (raised_while_handling(error), raised_from(raised_while_handling(error))):
        if error is FULL:
            assert ending(wrapped)[1] == DISK_FULL
        else:
            assert ending(wrapped) is None


def test_a_gpu_that_is_not_there_is_told_what_to_write():
    line, status = ending(MisconfigurationException("No supported gpu backend found!"))
    assert "trainer.accelerator cpu" in line and status == USER_ERROR


def test_what_a_disk_says_is_found_under_two_loggers():
    assert ending(raised_while_handling(raised_while_handling(FULL)))[1] == DISK_FULL


def test_a_disk_that_is_not_full_is_a_bug():
    assert ending(OSError(errno.EIO, "Input/output error")) is None


@pytest.mark.parametrize(("path", "is_of_fla"), [("/a/fla/ops/common/chunk_o.py", True), ("/a/b/chunk_o.py", False)])
def test_what_fla_refuses_in_a_backward_is_one_line(path, is_of_fla):
    class Refusing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            exec(compile("raise RuntimeError('upgrade\\nTriton')", path, "exec"))

    found = ending(caught(Refusing.apply(torch.ones(1, requires_grad=True)).backward))
    assert (found is not None) == is_of_fla
    if is_of_fla:
        assert found[1] == USER_ERROR and "RuntimeError: upgrade Triton" in found[0]
