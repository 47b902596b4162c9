"""Initial weights that fla gives some layers only inside its models; here a layer alone gets them too."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

_LEAST, _MOST = 0.001, 0.1  # the share that a gate forgets per token, initially


@contextmanager
def first_weights_of_models(made: Any) -> Iterator[None]:
    """Initialize the gates of PrecondKDA, Rodimus and Wall attention as in fla's models.

    Without this, the states of PrecondKDA and of Wall attention (whatever its `gate_init_bias`) lose more than half of
    their content with each token. The gates are drawn at the end of fla's `__init__`, so that a derived class may still
    change them. The parameters are marked `_no_reinit`, because fla's models draw them last.
    """
    finish = _OF_LAYERS.get(getattr(made, "__name__", ""))
    if finish is None:
        yield
        return
    begin = made.__init__

    @wraps(begin)
    def draw(layer: nn.Module, *arguments: Any, **others: Any) -> None:
        begin(layer, *arguments, **others)
        with torch.no_grad():
            for parameter in finish(layer):
                parameter._no_reinit = True  # type: ignore[attr-defined]

    with patch.object(made, "__init__", draw):
        yield


def _finish_precond_kda(layer: Any) -> list[Tensor]:
    layer.dt_bias.copy_(small_steps(layer.dt_bias))
    return [layer.dt_bias]


def _finish_rodimus(layer: Any) -> list[Tensor]:
    projections = [*layer.i_gate_proj[:2], layer.g_gate_proj, layer.tau_gate_proj]
    for projection in projections:
        nn.init.xavier_uniform_(projection.weight, gain=2**-2.5)
    nn.init.zeros_(layer.i_gate_proj[1].bias)
    layer.g_gate_proj.bias.copy_(small_steps(layer.g_gate_proj.bias))
    layer.tau_gate_proj.bias.copy_(torch.logit(torch.empty_like(layer.tau_gate_proj.bias).uniform_(1 / 16, 0.9)))
    return [projection.weight for projection in projections]


def _finish_wall_attention(layer: Any) -> list[Tensor]:
    gates = [layer.g_proj, *([layer.gs_proj] if layer.use_scalar_gate else [])]
    for gate in gates:
        nn.init.constant_(gate.bias, layer.gate_init_bias)
    return [gate.bias for gate in gates]


def small_steps(bias: Tensor) -> Tensor:
    """Biases of step sizes, whose softplus is log-uniform from 0.001 to 0.1, shaped like `bias`."""
    steps = torch.empty_like(bias).uniform_(math.log(_LEAST), math.log(_MOST)).exp()
    return steps + torch.log(-torch.expm1(-steps))


_OF_LAYERS: dict[str, Callable[[Any], list[Tensor]]] = {
    "PrecondKDA": _finish_precond_kda, "RodimusAttention": _finish_rodimus, "WallAttention": _finish_wall_attention,
}  # fmt: skip
