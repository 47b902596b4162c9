"""Rules of where a mixer runs: number formats, devices, compilers, copies and files."""

import io
import warnings
from copy import deepcopy
from functools import partial

import torch

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError, describe_error
from lit_retrieval.errors import UserError
from lit_retrieval.mixers.checks.case import Case


@torch.no_grad()
def _agrees_in(dtype: torch.dtype, case: Case) -> str:
    name, x = str(dtype).removeprefix("torch."), case.draw(2, 20)
    other = case.as_dtype(dtype)
    try:
        y = other.run(x.to(dtype))[0]
    except Exception as error:  # what a mixer does with a format that it can't take is its own affair
        raise NotApplicableError(f"it refuses {name}: {describe_error(error)}") from error
    if y.dtype != dtype:
        raise BrokenRuleError(f"outputs of {name} inputs must be {name}, got {y.dtype}; end forward with .to(x.dtype)")
    coarser = max(dtype, x.dtype, key=lambda one: torch.finfo(one).eps)
    return case.compare(y, case.run(x)[0], f"{name} must agree with {x.dtype} up to rounding", coarser)


agrees_in_float64 = partial(_agrees_in, torch.float64)
agrees_in_bfloat16 = partial(_agrees_in, torch.bfloat16)


@torch.no_grad()
def agrees_on_cuda(case: Case) -> str:
    """A CUDA device gives what the CPU gives."""
    if not torch.cuda.is_available():
        raise NotApplicableError("there is no CUDA device here")
    x = case.draw(2, 130).cpu()
    on_cpu, on_gpu = (case._replace(mixer=deepcopy(case.mixer).to(device)) for device in ("cpu", "cuda"))
    try:
        expected = on_cpu.run(x)[0]
    except UserError as error:  # it runs on a GPU only
        raise NotApplicableError(str(error)) from error
    return on_gpu.compare(on_gpu.run(x.cuda())[0], expected, "CUDA must agree with the CPU")


def agrees_compiled(case: Case) -> str:
    """`torch.compile` changes nothing: neither the tracing of forward, nor that of backward."""
    try:
        return f"aot_eager {_compile(case, 'aot_eager')}"
    except BrokenRuleError:
        raise
    except Exception as error:
        shown = _compile(case, "eager")  # forward alone; raises where that can't be traced either
        raise BrokenRuleError(
            f"torch.compile must trace backward too, with aot_eager it raised {describe_error(error)}; forward alone "
            f"(eager) {shown}"
        ) from error


def _compile(case: Case, backend: str) -> str:
    x = case.draw(2, 3).requires_grad_()  # few tokens, because a loop over them is unrolled
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the compiler leaves to Python
        y, _ = torch.compile(case.mixer, backend=backend)(x)
        y.sum().backward()
    torch.compiler.reset()
    return case.compare(y, case.run(x)[0], f"torch.compile with {backend} must give what plain PyTorch does")


@torch.no_grad()
def can_be_copied(case: Case) -> str:
    """A deep copy gives the same bits."""
    x = case.draw(2, 7)
    if not torch.equal(deepcopy(case.mixer)(x)[0], case.run(x)[0]):
        raise BrokenRuleError("a deepcopy must give the same output; keep all that forward uses in the module")
    return "the same bits"


@torch.no_grad()
def can_be_saved(case: Case) -> str:
    """Saved weights, loaded into a new mixer, give the same bits."""
    if case.make is None:
        raise NotApplicableError("it was not given by its class")
    file = io.BytesIO()
    torch.save(case.mixer.state_dict(), file)
    size = file.tell()
    file.seek(0)
    loaded = case.make().to(case.weight).eval()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    x = case.draw(2, 7)
    if not torch.equal(loaded(x)[0], case.run(x)[0]):
        raise BrokenRuleError(
            "a new mixer with the saved state_dict must give the same output; register what forward uses as a "
            "parameter or a buffer"
        )
    return f"the same bits, {size:,} bytes saved"
