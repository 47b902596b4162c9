"""Any layer of fla as a mixer."""

import inspect
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lit_retrieval.conformance import describe_error, path_of
from lit_retrieval.errors import UserError
from lit_retrieval.mixers.mixer import MixerFactory, tensors_of
from lit_retrieval.ops import fla_cpu
from lit_retrieval.ops.arrays import refuse_second_derivatives
from lit_retrieval.ops.linear_recurrence import recorded_decays

# With a state, fla's code for these takes one token only; their code for a CPU is ours.
_ONE_TOKEN_AT_A_TIME_ON_A_GPU = {"Mamba", "Mamba2"}
_DECAYING = {
    "GatedDeltaNet", "GatedLinearAttention", "HGRN2Attention", "KimiDeltaAttention", "Mamba2", "MultiScaleRetention",
    "RWKV7Attention", "SimpleGatedLinearAttention",
}  # fmt: skip
_PARTS = ("recurrent_state", "attn_state", "conv_state", "ffn_state")  # of fla's cache, as `FlaState` has them

Nested: TypeAlias = Any
"""A tensor with the batch first, None, or a tuple of these."""


class FlaState(NamedTuple):
    """An fla layer's state, in the parts of fla's cache, and the number of tokens so far."""

    recurrent: Nested
    attention: Nested
    convolution: Nested
    feed_forward: Nested
    length: int


class FlaLayer(nn.Module):
    """A layer of flash-linear-attention as a mixer: any number of tokens, the state as argument and result.

    On a GPU it runs fla's kernels; on a CPU ours, for the layers that `lit_retrieval.ops.fla_cpu` has. In fla, RWKV-7
    mixes the first layer's values into those of later layers; here each of its layers is a first layer.

    Args:
        layer: The layer; its `forward` takes `past_key_values` and `use_cache`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        fla_cpu.install()
        self.layer: Any = _as_first(layer)

    def forward(self, x: Tensor, state: FlaState | None = None) -> tuple[Tensor, FlaState]:
        """Mix tokens along time; see `Mixer.forward`. Without gradients fla writes into the convolutions' state."""
        is_slow = x.is_cuda and type(self.layer).__name__ in _ONE_TOKEN_AT_A_TIME_ON_A_GPU
        if state is not None and is_slow:
            return self._in_steps(x, state)
        return self._run(x, state)

    def _run(self, x: Tensor, state: FlaState | None) -> tuple[Tensor, FlaState]:
        cache = _LayerCache(state)
        try:
            y = self.layer(x, past_key_values=cache, use_cache=True)[0]
        except RuntimeError as error:
            if x.is_cpu and "active drivers" in str(error):  # Triton found no GPU to compile one of fla's kernels for
                name = type(self.layer).__name__
                raise UserError(f"fla's {name} runs on a GPU only; on a CPU use a layer of configs/model") from None
            raise
        new_state = cache.state()
        if x.is_cuda:  # on a CPU our kernels refuse; fla's own would give wrong second derivatives
            refuse_second_derivatives((y, *tensors_of(new_state)))
        return y, new_state

    def _in_steps(self, x: Tensor, state: FlaState) -> tuple[Tensor, FlaState]:
        """The same, token by token."""
        outputs = []
        for token in x.split(1, 1):  # type: ignore[no-untyped-call]
            y, state = self._run(token, state)
            outputs.append(y)
        return torch.cat(outputs, 1), state

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """`decay`: how much of its state each row keeps at each token, `(1, rows, time)`; no map without a decay.

        A row is a head, or a key of a head if each key has its own decay. What a delta rule removes besides is not
        shown. The layer runs on a CPU, where our recurrence records the decay, whatever device it is on.
        """
        if type(self.layer).__name__ not in _DECAYING:
            return {}
        weights = {name: _as_float_on_cpu(one) for name, one in (*self.named_parameters(), *self.named_buffers())}
        with recorded_decays() as decays:
            functional_call(self, weights, (_as_float_on_cpu(x),))
        return {"decay": decays[0][0].flatten(1).exp().T[None]}

    @torch.no_grad()
    def state_size(self, length: int) -> int:
        """The number of state elements for one sample after `length` tokens, from a run on zeros."""
        weight = next(self.parameters())
        _, state = self(weight.new_zeros(1, length, self.layer.hidden_size))
        return sum(tensor.numel() for tensor in tensors_of(state))


def _as_float_on_cpu(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", torch.float32 if tensor.is_floating_point() else None)


def _as_first(layer: Any) -> Any:
    """The layer; RWKV-7's without the part that uses another layer's values."""
    if hasattr(layer, "v_lora"):
        del layer.v_lora
        layer.layer_idx = 0
    return layer


class _LayerCache:
    """fla's cache for one layer: its state is at every index."""

    def __init__(self, state: FlaState | None) -> None:
        from fla.models.cache_utils import FLALayer

        self._layer = FLALayer()
        self._layer.is_initialized = state is not None
        if state is not None:
            self._layer.state = dict(zip(_PARTS, state[:-1], strict=True))
            self._layer._seen_tokens = state.length

    def __len__(self) -> int:
        return 2**31 if self._layer.is_initialized else 0  # fla asks whether there are more layers than its index

    def __getitem__(self, layer_idx: int) -> Any:
        return self._layer.state

    def update(self, *, layer_idx: int, **parts: Any) -> Any:
        return self._layer.update(**parts)

    def get_seq_length(self, layer_idx: int | None = None) -> int:
        length: int = self._layer.get_seq_length()
        return length

    def state(self) -> FlaState:
        return FlaState._make([*(_as_tuples(self._layer.state[name]) for name in _PARTS), self.get_seq_length()])


def _as_tuples(part: Any) -> Nested:
    return tuple(_as_tuples(item) for item in part) if isinstance(part, list | tuple) else part


def make_mixer(factory: MixerFactory, hidden_size: int, layer_idx: int) -> nn.Module:
    """The mixer of a layer; raises what a class of another package refuses, or can't do, as `UserError`."""
    made = class_of(factory)
    name = path_of(made)
    try:
        module = factory(hidden_size=hidden_size, layer_idx=layer_idx)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UserError) or name.startswith("lit_retrieval.") or "allocate memory" in str(error):
            raise
        raise UserError(
            f"{name} refuses its arguments: {describe_error(error)}; it gets hidden_size={hidden_size} and "
            f"layer_idx={layer_idx}, set others under init_args in model.stages"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{name} must make an nn.Module, got a {type(module).__name__}; write a class derived from it")
    return as_mixer(module)


def class_of(factory: Any) -> Any:
    """The class or function that a factory calls; `functools.partial` wraps it, and so does jsonargparse."""
    if not isinstance(factory, partial):
        return factory
    return next((one for one in factory.args if inspect.isclass(one)), None) or class_of(factory.func)


def as_mixer(module: nn.Module) -> nn.Module:
    """The module itself, or a layer with fla's interface wrapped into a mixer."""
    takes_cache = "past_key_values" in inspect.signature(module.forward).parameters
    return FlaLayer(module) if takes_cache else module
