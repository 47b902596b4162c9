"""Finds arguments of a layer that meet the budgets of parameters and state, by building and running it."""

import inspect
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import product
from math import prod
from typing import Any, NamedTuple, cast

import torch

from comparisons.layers import Layer
from comparisons.protocol import Shape, is_near
from lit_retrieval.errors import UserError, one_line
from lit_retrieval.mixers import Attention, Canon, Mixer, MixerFactory, SwiGLU
from lit_retrieval.mixers.mixer import count_elements
from lit_retrieval.models import SequenceModel, Stage

_POWERS = [1, 2, 4, 8, 16, 32, 64, 128]
# Arguments that set the size of a state, in the order in which smaller values are preferred.
KNOBS = (
    "num_heads", "state_dim", "state_size", "num_slots", "expand_ratio", "feature_dim", "window", "window_size",
)  # fmt: skip
_MOST_TRIED = 256
_LEAST_WIDTH = 1  # of the SwiGLU
REFUSALS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NotImplementedError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip


class Setting(NamedTuple):
    """A model that meets a budget.

    Args:
        init_args: All arguments of the layer.
        width: `intermediate_size` of each SwiGLU.
        parameters: Parameters of all blocks.
        state_bits: Bits of state after `Shape.length` tokens.
        growth: Bits of state that one more token adds; or, on average, each of `Shape.length` more tokens.
        met: Whether the state is within its budget.
    """

    init_args: dict[str, Any]
    width: int
    parameters: int
    state_bits: int
    growth: int
    met: bool


def find_setting(layer: Layer, shape: Shape, state_bits: int) -> Setting:
    """The setting with the largest state within the budget, or else with the smallest state.

    Among settings within 5% of that state, the first in the order of `candidates` is chosen, because a few more bits
    are not worth many small heads. The width of each SwiGLU meets the budget of parameters within 5%.

    Args:
        layer: The layer.
        shape: The shape that all models share.
        state_bits: Maximum bits of state.

    Raises:
        UserError: If no arguments that were tried meet the budget of parameters, or the class refuses all of them.
    """
    made, refusal, least = layer.load(), "", None
    found: list[Setting] = []
    for arguments in candidates(layer, made, shape.hidden_size):
        try:
            setting = measure(layer, made, arguments, shape, state_bits)
        except REFUSALS as error:
            refusal = refusal or str(error)
            continue
        if not is_near(setting.parameters, shape.parameters):
            least = min(setting.parameters, least or setting.parameters)
        else:
            found.append(setting)
    if found:
        best = max(found, key=_order)
        chosen = next(one for one in found if one.met == best.met and is_near(one.state_bits, best.state_bits))
        return _confirm(layer, made, chosen, shape)
    if least is not None:
        raise UserError(
            f"{layer.class_path} must have about {shape.parameters:,} parameters in {shape.repeat} blocks of width "
            f"{shape.hidden_size}, got {least:,} or more; set smaller inner sizes in --init_args"
        )
    raise UserError(f"{layer.class_path} refuses all arguments that were tried: {one_line(refusal)[:300]}")


@torch.no_grad()
def _confirm(layer: Layer, made: Any, setting: Setting, shape: Shape) -> Setting:
    """Add growth that begins later to a setting; raises `UserError` if the state's size is not as declared."""
    model = _build(layer, made, setting.init_args, shape, setting.width)
    late = _bits(model, 2 * shape.length) - setting.state_bits
    for length in (shape.length, 2 * shape.length):
        tokens = model.embedding.new_zeros(1, length, shape.hidden_size)
        try:
            states = model.mix(tokens, None)[1]
        except REFUSALS as error:
            if length > shape.length:  # no test is so long
                return setting
            raise UserError(f"{layer.class_path} can't read {length} tokens: {one_line(str(error))[:300]}") from error
        for mixer, state in zip(model.mixers, states, strict=True):
            held, said = count_elements(state), cast(Mixer, mixer).state_size(length)
            if held != said:
                raise UserError(
                    f"state_size({length}) of {layer.class_path} must be {held}, the elements that its state has after "
                    f"{length} tokens, got {said}; correct state_size"
                )
    return setting._replace(growth=max(setting.growth, -(-late // shape.length)))


def _order(setting: Setting) -> tuple[bool, int]:
    """Sort key: the largest state within the budget is best; if none is within it, the smallest."""
    return setting.met, setting.state_bits if setting.met else -setting.state_bits


def candidates(layer: Layer, made: Any, hidden_size: int) -> Iterator[dict[str, Any]]:
    """The arguments to try: the layer's fixed ones with each combination of the others."""
    parameters = inspect.signature(made).parameters
    knobs = layer.states
    if knobs is None:
        knobs = {
            name: _values(name, hidden_size) for name in KNOBS if name in parameters and name not in layer.init_args
        }
    tied = "head_dim" in parameters and "head_dim" not in layer.init_args and "num_heads" in knobs
    if prod(map(len, knobs.values())) > _MOST_TRIED:
        raise UserError(
            f"{layer.class_path} has too many arguments that may set its state: {', '.join(knobs)}; set some of them "
            "in --init_args"
        )
    for values in product(*knobs.values()):
        chosen = dict(zip(knobs, values, strict=True))
        heads = {"head_dim": hidden_size // chosen["num_heads"]} if tied else {}
        yield {**layer.init_args, **chosen, **heads}


def _values(name: str, hidden_size: int) -> list[int]:
    return [power for power in _POWERS if power <= hidden_size] if name == "num_heads" else _POWERS


def measure(layer: Layer, made: Any, arguments: dict[str, Any], shape: Shape, state_bits: int) -> Setting:
    """Build the model with the width that comes nearest to the budget of parameters, and run it.

    It runs on a CPU, so that all machines find the same setting; on a GPU only if the layer needs one.
    """
    least = _build(layer, made, arguments, shape, _LEAST_WIDTH).num_parameters
    of_width = 3 * shape.hidden_size * shape.repeat  # the parameters of an element between the projections
    width = max(_LEAST_WIDTH, _LEAST_WIDTH + round((shape.parameters - least) / of_width))
    model = _build(layer, made, arguments, shape, width)
    bits, more = _bits(model, shape.length), _bits(model, shape.length + 1)
    return Setting(
        arguments, width, model.num_parameters, bits, more - bits, bits - _attended(layer, model, shape) <= state_bits
    )


def _bits(model: SequenceModel, length: int) -> int:
    try:
        return model.state_bits(length)
    except REFUSALS:
        if not torch.cuda.is_available():
            raise
        return model.to("cuda").state_bits(length)


def _attended(layer: Layer, model: SequenceModel, shape: Shape) -> int:
    """The bits of the attention layers behind the compared ones, which the budget of state does not count."""
    layers = [one for one in model.mixers[2::4] if isinstance(one, Attention)] if layer.with_attention else []
    return 32 * sum(one.state_size(shape.length) for one in layers)


def build(layer: Layer, setting: Setting, shape: Shape, vocab_size: int) -> SequenceModel:
    """The model of a setting, with new weights."""
    return _build(layer, layer.load(), setting.init_args, shape, setting.width, vocab_size)


def _build(
    layer: Layer, made: Any, arguments: dict[str, Any], shape: Shape, width: int, vocab_size: int = 1
) -> SequenceModel:
    factories: list[MixerFactory] = [
        partial(Canon, conv_kernel=shape.conv_kernel), partial(made, **arguments),
        *([partial(Attention, num_heads=1)] if layer.with_attention else []), partial(SwiGLU, intermediate_size=width),
    ]  # fmt: skip
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # a training repeats a layer's warnings
        return SequenceModel(vocab_size, shape.hidden_size, [Stage(factories, shape.repeat)]).eval()


def stages(layer: Layer, setting: Setting, shape: Shape) -> list[dict[str, Any]]:
    """`model.stages` of a setting."""
    part = "lit_retrieval.mixers."
    mixers = [
        {"class_path": f"{part}Canon", "init_args": {"conv_kernel": shape.conv_kernel}},
        {"class_path": layer.class_path, "init_args": setting.init_args},
        *([{"class_path": f"{part}Attention", "init_args": {"num_heads": 1}}] if layer.with_attention else []),
        {"class_path": f"{part}SwiGLU", "init_args": {"intermediate_size": setting.width}},
    ]
    return [{"mixers": mixers, "repeat": shape.repeat}]
