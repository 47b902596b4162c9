"""Rules about the interface: inputs, outputs and state of a mixer."""

import torch
from torch import Tensor

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError
from lit_retrieval.mixers.checks.case import Case
from lit_retrieval.mixers.fla_layer import FlaLayer
from lit_retrieval.mixers.mixer import count_elements, leaves


@torch.no_grad()
def returns_output_and_state(case: Case) -> str:
    """`forward(x)` returns a pair, whose first element is a tensor."""
    result = case.mixer(case.draw(2, 5))
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Tensor):
        kinds = [type(one).__name__ for one in result] if isinstance(result, tuple) else type(result).__name__
        raise BrokenRuleError(f"forward must return a tuple (y, state), got {kinds}; write `return y, state`")
    return f"Tensor, {type(result[1]).__name__}"


@torch.no_grad()
def keeps_the_shape(case: Case) -> str:
    """The outputs have the shape and the dtype of the inputs, also for one row and one token."""
    for batch, time in ((3, 7), (1, 7), (3, 1), (1, 1)):
        x = case.draw(batch, time)
        y = case.mixer(x)[0]
        if y.shape != x.shape:
            raise BrokenRuleError(
                f"outputs must be like the input, {_say(x)}, got {_say(y)}; end forward with a projection to "
                "hidden_size, and keep batch and time of 1"
            )
        if y.dtype not in (x.dtype, _dtype_of_products(x)):
            raise BrokenRuleError(
                f"outputs must have the dtype of the input, {_say(x)}, got {_say(y)}; return y.to(x.dtype)"
            )
    return f"(3, 7, {case.hidden_size}) to the same; one row or token too"


@torch.no_grad()
def has_a_state_with_batch_first(case: Case) -> str:
    """A state consists of tensors with the batch first, ints, None and tuples."""
    count = 0
    for batch in (2, 3):
        parts = list(leaves(case.mixer(case.draw(batch, 5))[1]))
        count = len(parts)
        for part in parts:
            if not isinstance(part, Tensor | int | None):
                raise BrokenRuleError(
                    f"a state must be made of tensors, ints, None and tuples of these, got a {type(part).__name__}; "
                    "write a NamedTuple"
                )
            if isinstance(part, Tensor) and part.shape[:1] != (batch,):
                raise BrokenRuleError(
                    f"a state's tensors must have the batch first, got {tuple(part.shape)} for a batch of {batch}; "
                    "transpose them before you return them"
                )
    return f"parts: {count}, batch first"


def says_how_it_decodes(case: Case) -> str:
    """Report how a layer of fla decodes: with its cache, or by reading all tokens again."""
    if not isinstance(case.mixer, FlaLayer):
        raise NotApplicableError("it is no layer of fla")
    how = {
        "cache": "by its own cache",
        "prefix": "by reading all tokens again in each call, since it has no usable cache: slow",
    }
    return how[case.mixer.decoding(case.weight.device)]


@torch.no_grad()
def counts_its_state(case: Case) -> str:
    """`state_size(length)` is the actual number of elements of the state."""
    size = getattr(case.mixer, "state_size", None)
    if not callable(size):
        raise BrokenRuleError(
            "a mixer must have state_size(self, length), the number of state elements of one sample after `length` "
            "tokens; add it"
        )
    counts = []
    for length in (1, 5, 20, 130):
        held, said = count_elements(case.mixer(case.draw(1, length))[1]), size(length)
        if not held and isinstance(said, int) and said > 0:
            raise BrokenRuleError(
                f"forward must return the state: state_size({length}) says {said} elements, got 0; write `return y, "
                "state`, or let state_size return 0 if it has no state"
            )
        if held != said:
            raise BrokenRuleError(
                f"state_size({length}) must be {held}, the elements that the state has after {length} tokens, got "
                f"{said}; correct state_size"
            )
        counts.append(held)
    return "1, 5, 20, 130 tokens: {:,}, {:,}, {:,}, {:,} elements".format(*counts)


def _dtype_of_products(x: Tensor) -> torch.dtype:
    """The dtype that autocast gives to products of `x`; without it, that of `x`."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _say(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
