"""Any layer of fla as a mixer."""

import inspect
import sys
import traceback
import warnings
from functools import cache, partial
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lit_retrieval.conformance import describe_error, path_of
from lit_retrieval.errors import UserError
from lit_retrieval.mixers.auxiliary_loss import balance_loss
from lit_retrieval.mixers.fla_weights import first_weights_of_models
from lit_retrieval.mixers.mixer import MixerFactory, count_elements, map_tensors, states_are_wanted, tensors_of
from lit_retrieval.ops import fla_cpu
from lit_retrieval.ops.arrays import refuse_second_derivatives
from lit_retrieval.ops.linear_recurrence import recorded_decays

# With a state, fla's code for these takes only one token at a time; on a CPU our code runs.
_ONE_TOKEN_AT_A_TIME_ON_A_GPU = {"Mamba", "Mamba2"}
# They refuse a cache, or have one from which decoding is not what the whole is: the mixture of memories has samples and
# memories in one axis, and MoBA attends to all tokens instead of the best blocks.
_WITHOUT_USABLE_CACHE = {"DeltaFormerAttention", "MoBA", "MomAttention", "StickBreakingAttention"}
# Ours on a CPU are usable. ABC's leaves out the sum that normalizes the slots; the others want a mask of padding.
_WITHOUT_USABLE_CACHE_ON_A_GPU = {"ABCAttention", "ForgettingAttention", "PaTHAttention"}
_BATCH_SECOND = {"MomentumDeltaNet"}  # two states, stacked before the batch
# In training mode its convolutions run over all memories in a row, so that a token sees later ones.
_ALWAYS_IN_EVALUATION_MODE = {"MomAttention"}
_BALANCED = {"MomAttention"}  # fla's model adds a loss that balances its memories, with this weight
_BALANCE_WEIGHT = 0.01
_NO_MIXERS = {
    "YOCOCrossAttention": "it attends to keys and values that another layer makes",
    "YOCOSharedKVBuilder": "it makes keys and values for other layers, and has no output",
}
_FLA = "fla."  # how the modules of its classes begin
_DECAYING = {
    "ABCAttention", "Comba", "GatedDeltaNet", "GatedDeltaNet2", "GatedLinearAttention", "GatedSlotAttention",
    "HGRN2Attention", "KimiDeltaAttention", "LightNetAttention", "Mamba2", "MultiScaleRetention",
    "PrecondGatedDeltaNet", "PrecondKDA", "RWKV7Attention", "Raven", "RodimusAttention", "SimpleGatedLinearAttention",
    "YOCOGatedRetention",
}  # fmt: skip
_PARTS = ("recurrent_state", "attn_state", "conv_state", "ffn_state")  # the parts of fla's cache and of `FlaState`

Nested: TypeAlias = Any
"""A tensor with the batch first, None, or a tuple of these."""


class FlaState(NamedTuple):
    """An fla layer's state, in the parts of fla's cache, and the number of tokens so far."""

    recurrent: Nested
    attention: Nested
    convolution: Nested
    feed_forward: Nested
    length: int


class PastInputs(NamedTuple):
    """The state of a layer without a usable cache: all of its inputs so far, `(batch, tokens, hidden_size)`."""

    inputs: Tensor


class FlaLayer(nn.Module):
    """A layer of flash-linear-attention as a mixer: any number of tokens, the state as argument and result.

    On a GPU it runs fla's kernels; on a CPU ours, for the layers that `lit_retrieval.ops.fla_cpu` has. In fla, RWKV-7
    mixes the first layer's values into those of later layers; here every RWKV-7 layer is a first layer. A layer without
    a usable cache reads all tokens again in each call, which is right, but slow to decode.

    Args:
        layer: The layer, with or without fla's arguments `past_key_values` and `use_cache`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        fla_cpu.install()
        self.layer: Any = _as_first(layer)
        self._name = _name_in_fla(layer)
        self._has_cache = _takes_cache(layer) and self._name not in _WITHOUT_USABLE_CACHE
        mask = inspect.signature(layer.forward).parameters.get("attention_mask")
        self._needed = {} if mask is None or mask.default is None else {"attention_mask": None}

    def decoding(self, device: torch.device) -> Literal["cache", "prefix"]:
        """How the layer continues after a call on this device: with its cache, or by reading the whole prefix again."""
        is_unusable = device.type == "cuda" and self._name in _WITHOUT_USABLE_CACHE_ON_A_GPU
        return "cache" if self._has_cache and not is_unusable else "prefix"

    @property
    def has_auxiliary_loss(self) -> bool:
        """Whether fla's model adds a loss of this layer to the cross-entropy, as that of MomAttention does."""
        return self._name in _BALANCED

    @staticmethod
    def is_balanced(layer: nn.Module) -> bool:
        """Whether a module is a layer of fla that has such a loss."""
        return _name_in_fla(layer) in _BALANCED

    def forward(self, x: Tensor, state: FlaState | PastInputs | None = None, is_token: Tensor | None = None) -> Any:
        """Mix tokens along time; see `Mixer`. Without gradients, fla writes into the convolutions' state.

        The state is None inside `without_states`. The loss is 0.01 times `balance_loss`, as in fla's model; but fla
        computes it over the tokens of all layers together.
        """
        if is_token is None:
            return self._mix(x, state)
        loss = balance_loss(self.layer.gate(x), self.layer.topk, is_token)
        return *self._mix(x, state), _BALANCE_WEIGHT * loss

    def _mix(self, x: Tensor, state: FlaState | PastInputs | None) -> tuple[Tensor, FlaState | PastInputs | None]:
        """The outputs and the state."""
        if self.decoding(x.device) == "prefix":
            return self._read_again(x, state)
        if state is None and not states_are_wanted():
            return self._call(x), None
        assert state is None or isinstance(state, FlaState)
        is_slow = x.is_cuda and self._name in _ONE_TOKEN_AT_A_TIME_ON_A_GPU
        return self._run(x, state) if state is None or not is_slow else self._in_steps(x, state)

    def _read_again(self, x: Tensor, state: Any) -> tuple[Tensor, PastInputs]:
        """The outputs for the new tokens `x`, from a run over all tokens."""
        if state is not None:
            _warn_of_slow_decoding(path_of(self.layer))
        inputs = x if state is None else torch.cat([state.inputs, x], 1)
        return self._call(inputs)[:, -x.shape[1] :], PastInputs(inputs)

    def _run(self, x: Tensor, state: FlaState | None) -> tuple[Tensor, FlaState]:
        cache = _LayerCache(state, self._name in _BATCH_SECOND)
        y = self._call(x, past_key_values=cache, use_cache=True)
        if not cache.is_updated:
            raise UserError(
                f"{path_of(self.layer)} must call past_key_values.update(recurrent_state=..., layer_idx=..., "
                "offset=...) as fla's layers do; or leave past_key_values out of forward, and return (y, state)"
            )
        new_state = cache.state()
        if x.is_cuda:
            refuse_second_derivatives(tensors_of(new_state))
        return y, new_state

    def _call(self, x: Tensor, **options: Any) -> Tensor:
        """The layer's outputs; raises `UserError` if fla has no kernel for these tensors."""
        is_training = self.layer.training
        self.layer.training = is_training and self._name not in _ALWAYS_IN_EVALUATION_MODE
        try:
            result = self.layer(x, **self._needed, **options)
        except _refusals() as error:
            if reason := _reason_of_fla(error, x):
                raise UserError(f"{path_of(self.layer)} {reason}") from error
            raise
        finally:
            self.layer.training = is_training
        y: Tensor = result[0] if isinstance(result, tuple) else result
        if x.is_cuda:  # our CPU kernels refuse second derivatives; fla's would be wrong
            refuse_second_derivatives([y])
        return y

    def _in_steps(self, x: Tensor, state: FlaState) -> tuple[Tensor, FlaState]:
        """The same, token by token."""
        outputs = []
        for token in x.split(1, 1):  # type: ignore[no-untyped-call]
            y, state = self._run(token, state)
            outputs.append(y)
        return torch.cat(outputs, 1), state

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """`decay`: how much of its state each row keeps at each token, `(1, rows, time)`; no map without a decay.

        A row is a head, or a key or slot of a head if each has its own decay. What a delta rule removes besides is not
        shown. The layer runs on a CPU, where our recurrence records the decay, whatever device it is on.
        """
        if self._name not in _DECAYING:
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
        return count_elements(state)


def _name_in_fla(layer: Any) -> str:
    """The name of the fla class that a layer's class is or derives from; empty without one."""
    base = fla_class(type(layer))
    return "" if base is None else base.__name__


def _reason_of_fla(error: Exception, x: Tensor) -> str | None:
    """The reason why fla refuses the tensors; None if the error has another cause."""
    if "active drivers" in str(error):  # Triton found no GPU to compile one of fla's kernels for
        return "runs on a GPU only; on a CPU use a layer of configs/model" if x.is_cpu else None
    if not is_error_of_fla(error):
        return None
    return f"can't run on {x.dtype} tensors of a {x.device.type}: {describe_error(error)}"


def is_error_of_fla(error: BaseException) -> bool:
    """Whether an error is a refusal of fla, or a kernel that Triton can't compile, in forward or backward."""
    if isinstance(error, UserError | torch.OutOfMemoryError):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, _errors_of_triton()) or (bool(frames) and "/fla/" in frames[-1].filename)


def _errors_of_triton() -> tuple[type[Exception], ...]:
    """The class of Triton's errors, if one of its kernels may have been called."""
    triton = sys.modules.get("triton.errors")
    return () if triton is None else (triton.TritonError,)


def _refusals() -> tuple[type[Exception], ...]:
    """The exceptions by which fla refuses something."""
    return (AssertionError, ImportError, RuntimeError, TypeError, ValueError, *_errors_of_triton())


@cache
def _warn_of_slow_decoding(name: str) -> None:
    warnings.warn(f"{name} has no usable cache: each call reads all tokens again", stacklevel=2)


def _takes_cache(module: nn.Module) -> bool:
    return "past_key_values" in inspect.signature(module.forward).parameters


def _as_float_on_cpu(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", torch.float32 if tensor.is_floating_point() else None)


def _as_first(layer: Any) -> Any:
    """The layer; from RWKV-7 the part that uses another layer's values is removed."""
    if hasattr(layer, "v_lora") and _name_in_fla(layer) == "RWKV7Attention":
        del layer.v_lora
        layer.layer_idx = 0
    return layer


class _LayerCache:
    """fla's cache for one layer: its state is at every index.

    Args:
        state: The state before the first token, or None.
        is_batch_second: Whether the batch is the second dimension of the layer's recurrent states; in ours it is first.
    """

    def __init__(self, state: FlaState | None, is_batch_second: bool) -> None:
        from fla.models.cache_utils import FLALayer

        self._layer = FLALayer()
        self._layer.is_initialized = state is not None
        self.is_updated = False
        self._is_batch_second = is_batch_second
        if state is not None:
            state = state._replace(recurrent=self._turned(state.recurrent))
            self._layer.state = dict(zip(_PARTS, state[:-1], strict=True))
            self._layer._seen_tokens = state.length

    def __len__(self) -> int:
        return 2**31 if self._layer.is_initialized else 0  # fla asks whether there are more layers than its index

    def __getitem__(self, layer_idx: int) -> Any:
        return self._layer.state

    def update(self, *others: Any, layer_idx: int | None = None, **parts: Any) -> Any:
        if others:  # as in transformers, by position
            return others[:2]
        self.is_updated = True
        return self._layer.update(**parts)

    def get_seq_length(self, layer_idx: int | None = None) -> int:
        length: int = self._layer.get_seq_length()
        return length

    def state(self) -> FlaState:
        state = FlaState._make([*(_as_tuples(self._layer.state[name]) for name in _PARTS), self.get_seq_length()])
        return state._replace(recurrent=self._turned(state.recurrent))

    def _turned(self, recurrent: Nested) -> Nested:
        return map_tensors(lambda one: one.transpose(0, 1), recurrent) if self._is_batch_second else recurrent


def _as_tuples(part: Any) -> Nested:
    return tuple(_as_tuples(item) for item in part) if isinstance(part, list | tuple) else part


def make_mixer(factory: MixerFactory, hidden_size: int, layer_idx: int) -> nn.Module:
    """Make a layer's mixer; raises `UserError` if a class of another package refuses its arguments or fails."""
    made = class_of(factory)
    name, base = path_of(made), fla_class(made)
    sizes = {"hidden_size": hidden_size, "layer_idx": layer_idx}
    if base is not None:
        fla_cpu.install()  # some layers look for flash-attn in their constructor
        if not any("layer_idx" in inspect.signature(one).parameters for one in (made, base)):  # Based has no cache
            del sizes["layer_idx"]
    try:
        with first_weights_of_models(base):
            module = factory(**sizes)
    except (
        ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError,
        Warning,  # which fla's MomAttention raises
    ) as error:  # fmt: skip
        if isinstance(error, UserError) or name.startswith("lit_retrieval.") or "allocate memory" in str(error):
            raise
        raise UserError(
            f"{name} refuses its arguments: {describe_error(error)}; it gets hidden_size={hidden_size} and "
            f"layer_idx={layer_idx}, set others under init_args in model.stages"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{name} must make an nn.Module, got a {type(module).__name__}; write a class derived from it")
    if empty := next((key for key, one in module.named_parameters() if one.numel() == 0), None):
        shape = tuple(module.get_parameter(empty).shape)
        raise UserError(
            f"{name} must have numbers in each parameter, got {empty} of shape {shape}; set its sizes under init_args "
            "in model.stages"
        )
    return as_mixer(module)


def class_of(factory: Any) -> Any:
    """The class or function that a factory calls, unwrapped from `functools.partial` and jsonargparse."""
    if not isinstance(factory, partial):
        return factory
    return next((one for one in factory.args if inspect.isclass(one)), None) or class_of(factory.func)


def fla_class(made: Any) -> type | None:
    """The fla class that a class is or derives from; None without one."""
    return next((one for one in getattr(made, "__mro__", ()) if one.__module__.startswith(_FLA)), None)


def as_mixer(module: nn.Module) -> nn.Module:
    """The module itself if it is a mixer; a layer of fla, or one with fla's interface, is wrapped.

    Raises:
        UserError: For a layer of fla that can't be a mixer.
    """
    if reason := _NO_MIXERS.get(_name_in_fla(module)):
        raise UserError(f"{path_of(module)} can't be a mixer: {reason}; use another layer of fla.layers")
    base = fla_class(type(module))
    is_called_as_there = base is not None and type(module).forward is base.forward  # type: ignore[attr-defined]
    return FlaLayer(module) if is_called_as_there or _takes_cache(module) else module
