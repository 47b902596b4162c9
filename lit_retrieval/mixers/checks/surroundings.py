"""Rules about the environment of a mixer: dtypes, devices, compilers, copies and files."""

import io
import random
import warnings
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError, describe_error
from lit_retrieval.errors import UserError
from lit_retrieval.mixers.checks.case import Case
from lit_retrieval.mixers.mixer import evaluating, without_states


@torch.no_grad()
def _agrees_in(dtype: torch.dtype, case: Case) -> str:
    name, x = str(dtype).removeprefix("torch."), case.draw(2, 20)
    other = case.as_dtype(dtype)
    try:
        y = other.run(x.to(dtype))[0]
    except Exception as error:  # a mixer may raise anything for a dtype that it does not support
        raise NotApplicableError(f"it refuses {name}: {describe_error(error)}") from error
    if y.dtype != dtype:
        raise BrokenRuleError(f"outputs of {name} inputs must be {name}, got {y.dtype}; end forward with .to(x.dtype)")
    coarser = max(dtype, x.dtype, key=lambda one: torch.finfo(one).eps)
    return case.compare(y, case.run(x)[0], f"{name} must agree with {x.dtype} up to rounding", coarser)


agrees_in_float64 = partial(_agrees_in, torch.float64)
agrees_in_bfloat16 = partial(_agrees_in, torch.bfloat16)


@torch.no_grad()
def agrees_on_cuda(case: Case) -> str:
    """A CUDA device gives the same as the CPU."""
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
    """`torch.compile` changes neither forward nor backward."""
    try:
        return f"aot_eager {_compile(case, 'aot_eager')}"
    except BrokenRuleError:
        raise
    except Exception as error:
        shown = _compile(case, "eager")  # forward only; raises if it can't be traced either
        raise BrokenRuleError(
            f"torch.compile must trace backward too, with aot_eager it raised {describe_error(error)}; forward alone "
            f"(eager) {shown}"
        ) from error


def _compile(case: Case, backend: str) -> str:
    x = case.draw(2, 3).requires_grad_()  # few tokens, because a loop over them is unrolled
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about parts that the compiler leaves to Python
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
    """A mixer saved after two calls in training mode, and loaded into a new mixer, gives the same."""
    if made := sorted(case.mixer.state_dict().keys() - case.saved):
        raise BrokenRuleError(
            f"forward must not add to the state_dict, or a checkpoint can't be loaded, got {made[0]}; create all "
            "parameters in __init__"
        )
    try:
        trained, copied = case._replace(mixer=deepcopy(case.mixer)), deepcopy(case.mixer)
    except Exception as error:
        raise NotApplicableError(f"it can't be copied: {describe_error(error)}") from error
    x = case.draw(2, 7)
    with evaluating(trained.mixer), without_states():
        trained.mixer.train()
        for _ in range(2):
            trained.mixer(x)
    weights = trained.mixer.state_dict()
    if case.make:  # not at the start of a run, where a copy is loaded
        copied, file = case.make().to(case.weight.device).eval(), io.BytesIO()
        torch.save(weights, file)
        file.seek(0)
        weights = torch.load(file, weights_only=True)
    copied.load_state_dict(weights)
    shown = case.compare(
        copied(x)[0], trained.run(x)[0],
        "a new mixer with the saved state_dict must give the same output, also after training; register what forward "
        "uses as a parameter or a buffer",
    )  # fmt: skip
    return f"{shown}; saved: {len(weights)} tensors"


def starts_from_the_seed(case: Case) -> str:
    """Two mixers that are built after the same random seed have the same parameters and buffers."""
    if not case.make:
        raise NotApplicableError("there is only one mixer")
    built = []
    with isolate_rng():
        for _ in range(2):
            random.seed(0)
            np.random.seed(0)  # Lightning's `seed_everything` seeds these three
            torch.manual_seed(0)
            built.append(case.make().state_dict())
    first, second = built
    different = [name for name, one in first.items() if not torch.equal(one.nan_to_num(), second[name].nan_to_num())]
    if different:
        raise BrokenRuleError(
            f"the initial {different[0]} must depend only on the random seed, and differs in two mixers of one seed; "
            "draw with PyTorch's own functions in __init__, without a generator of another seed"
        )
    return f"{len(first)} tensors"


@torch.no_grad()
def trains_after_decoding(case: Case) -> str:
    """A mixer can be trained after it has decoded more tokens than before: it caches no inference-mode tensors."""
    with torch.inference_mode():
        case.mixer(case.draw(2, 150), None)
    with case.training(), torch.enable_grad():
        try:
            case.mixer(case.draw(2, 7).requires_grad_())
        except RuntimeError as error:
            if "nference tensor" not in str(error):
                raise
            raise BrokenRuleError(
                "it must train after it has decoded in torch.inference_mode; make what it keeps for later calls, such "
                "as a table, in __init__ or under torch.inference_mode(False)"
            ) from error
    return "it trains after it has decoded"
