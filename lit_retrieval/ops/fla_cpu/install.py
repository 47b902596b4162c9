"""The table of functions that fla's layers call and of ours that replace them on a CPU.

A function that fla dispatches gets a backend in fla's own registry. Any other is replaced in the module whose layer
calls it, by a function that checks the device first: nothing changes for tensors on a GPU.
"""

import importlib
from collections.abc import Callable
from functools import cache, wraps
from importlib.metadata import version
from types import ModuleType
from typing import Any

from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.arrays import refuse_to_record
from lit_retrieval.ops.fla_cpu import activations, hopper, layers, norms, recurrences

_Table = dict[str, dict[str, Callable[..., Any]]]


def _ours(module: ModuleType, names: str) -> dict[str, Callable[..., Any]]:
    """Those of our functions that have the same names as fla's."""
    return {name: getattr(module, name) for name in names.split()}


# fla's module, the names in it, and our functions.
_REGISTERED: _Table = {
    "fla.modules.activations.ops": _ours(
        activations, "elu_p1_bwd elu_p1_fwd sigmoid_bwd sigmoid_fwd swish_bwd swish_fwd"
    ),
    "fla.modules.causal_conv1d.ops": _ours(layers, "causal_conv1d_bwd causal_conv1d_fwd causal_conv1d_update"),
    "fla.modules.norm.fused_norm_gate": _ours(norms, "layer_norm_gated_bwd layer_norm_gated_fwd"),
    "fla.modules.norm.l2norm": _ours(norms, "l2norm_bwd l2norm_fwd"),
    "fla.modules.norm.layernorm": _ours(norms, "layer_norm_bwd layer_norm_fwd"),
    "fla.modules.rotary.ops": _ours(layers, "rotary_embedding_fwdbwd"),
    "fla.ops.kda": {"chunk_kda": recurrences.kda},
}
_GLA = dict.fromkeys(("chunk_gla", "fused_chunk_gla", "fused_recurrent_gla"), recurrences.gla)
_REBOUND: _Table = {
    "fla.layers.delta_net": dict.fromkeys(("chunk_delta_rule", "fused_recurrent_delta_rule"), recurrences.delta_rule),
    "fla.layers.gated_deltanet": dict.fromkeys(
        ("chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"), recurrences.gated_delta_rule
    ),
    "fla.layers.gla": _GLA,
    "fla.layers.hgrn2": _GLA,
    "fla.layers.kda": {"fused_recurrent_kda": recurrences.kda},
    "fla.layers.linear_attn": dict.fromkeys(
        ("chunk_linear_attn", "fused_chunk_linear_attn", "fused_recurrent_linear_attn"), recurrences.linear_attention
    ),
    "fla.layers.mamba": {"Mamba.slow_forward": layers.mamba_forward},
    "fla.layers.mamba2": {"Mamba2.torch_forward": layers.mamba2_forward},
    "fla.layers.multiscale_retention": dict.fromkeys(
        ("chunk_retention", "fused_chunk_retention", "fused_recurrent_retention"), recurrences.retention
    ),
    "fla.layers.rwkv7": {
        "chunk_rwkv7": recurrences.rwkv7,
        "fused_addcmul_rwkv7": layers.rwkv7_mixtures,
        "fused_k_rwkv7": layers.rwkv7_keys,
        "fused_mul_recurrent_rwkv7": recurrences.rwkv7_steps,
        "gate_output_correction": layers.rwkv7_output,
        "token_shift": layers.token_shift,
    },
    "fla.layers.simple_gla": dict.fromkeys(("chunk_simple_gla", "fused_recurrent_simple_gla"), recurrences.gla),
}

_ON_HOPPER: dict[str, Callable[..., Any]] = {
    "chunk_gated_delta_rule": hopper.chunk_gated_delta_rule,
    "chunk_simple_gla": hopper.chunk_simple_gla,
}


@cache
def install() -> None:
    """Let fla's layers run on CPU tensors; a second call does nothing.

    Raises:
        UserError: If this version of fla lacks one of the names in the table.
    """
    backends = importlib.import_module("fla.backends")

    class CPUBackend(backends.BaseBackend):  # type: ignore[name-defined,misc]
        backend_type = "lit_retrieval_cpu"
        priority = 0  # before all others, which are for other devices

    for module, names in _REGISTERED.items():
        for name, ours in names.items():
            theirs = getattr(*_find(module, name))
            try:
                backends.register(theirs, backend=CPUBackend, verifier=_verify)(_once_differentiable(ours))
            except KeyError:
                raise UserError(_moved(f"{module}.{name} among the functions that it dispatches")) from None
    for module, names in _REBOUND.items():
        for name, ours in names.items():
            owner, attribute = _find(module, name)
            theirs = getattr(owner, attribute)
            setattr(owner, attribute, _for_cpu(ours, _where_allowed(theirs, _ON_HOPPER.get(name))))


def _find(module: str, name: str) -> tuple[Any, str]:
    """The module or class that holds a name, and the name's last part."""
    try:
        owner = importlib.import_module(module)
        *path, attribute = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        getattr(owner, attribute)
    except (ImportError, AttributeError):
        raise UserError(_moved(f"{module}.{name}")) from None
    return owner, attribute


def _moved(what: str) -> str:
    found = version("flash-linear-attention")
    return f"fla must have {what}, got fla {found} without it; pip install flash-linear-attention==0.6.0"


def _once_differentiable(ours: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which, if it is a backward one, refuses second derivatives: fla doesn't save enough for them."""
    if not ours.__name__.endswith("_bwd"):
        return ours

    @wraps(ours)
    def run(*args: Any, **kwargs: Any) -> Any:
        refuse_to_record(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        return ours(*args, **kwargs)

    return run


def _for_cpu(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls ours for CPU tensors and theirs for all others."""

    @wraps(theirs)
    def choose(*args: Any, **kwargs: Any) -> Any:
        return (ours if _is_on_cpu(*args, **kwargs) else theirs)(*args, **kwargs)

    return choose


def _where_allowed(theirs: Callable[..., Any], instead: Callable[..., Any] | None) -> Callable[..., Any]:
    """Their function or, where it refuses the GPU, the other one."""

    @wraps(theirs)
    def choose(*args: Any, **kwargs: Any) -> Any:
        return (instead if instead and hopper.is_refused() else theirs)(*args, **kwargs)

    return choose


def _verify(*args: Any, **kwargs: Any) -> tuple[bool, str]:
    return _is_on_cpu(*args, **kwargs), "the tensors are not on a CPU"


def _is_on_cpu(*args: Any, **kwargs: Any) -> bool:
    """Whether the first tensor is on a CPU; a method's first argument is its layer, whose input comes next."""
    values = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    return next(values).is_cpu
