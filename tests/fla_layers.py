"""Small fla layers for tests, one of each kind, with no weight at zero."""

import logging
import warnings
from typing import Any

import torch
from torch import nn

HIDDEN_SIZE = 32
SMALL: dict[str, dict[str, Any]] = {
    "LinearAttention": {"num_heads": 2},
    "MultiScaleRetention": {"num_heads": 2},
    "SimpleGatedLinearAttention": {"num_heads": 2},
    "GatedLinearAttention": {"num_heads": 2},
    "HGRN2Attention": {"expand_ratio": 16},
    "DeltaNet": {"num_heads": 2, "mode": "fused_recurrent"},  # fla's other mode refuses float32
    "GatedDeltaNet": {"num_heads": 2, "head_dim": 16, "expand_v": 1.0},
    "KimiDeltaAttention": {"num_heads": 2, "head_dim": 16},
    "Mamba2": {"head_dim": 16, "state_size": 16, "chunk_size": 16},
    "RWKV7Attention": {"head_dim": 16, "num_hidden_layers": 2},
}
_HEADS = {"num_heads": 2, "head_dim": 16, "expand_v": 1.0}
_SHARED = {"num_heads": 2, "num_key_value_heads": 2, "feature_dim": 4}
# More layers, which have tests of their own; those above are in all of them.
FURTHER: dict[str, dict[str, Any]] = {
    "ABCAttention": {"num_heads": 2, "num_slots": 8},
    "BasedLinearAttention": _SHARED,
    "Comba": _HEADS,
    "GatedDeltaNet2": _HEADS,
    "GatedDeltaProduct": _HEADS,
    "GatedSlotAttention": {"num_heads": 2, "num_slots": 8},
    "HGRNAttention": {},
    "LightNetAttention": {"num_heads": 2, "expand_ratio": 16, "gate_low_rank_dim": 8},
    "MomentumDeltaNet": _HEADS,
    "PrecondGatedDeltaNet": _HEADS,
    "PrecondKDA": _HEADS,
    "RWKV6Attention": {"num_heads": 2, "proj_low_rank_dim": 8, "gate_low_rank_dim": 8},
    "Raven": {"num_heads": 2, "num_slots": 8, "topk": 4},
    "ReBasedLinearAttention": _SHARED,
    "RodimusAttention": {"expand_ratio": 16, "input_gate_low_rank": 8},
    "YOCOGatedRetention": {"num_heads": 2},
}


OTHERS: dict[str, dict[str, Any]] = {
    "CyclicFlowAttention": {"num_heads": 2, "head_dim": 16, "num_slots": 8},
    "LogLinearMamba2": {"num_heads": 4, "head_dim": 16, "state_size": 16},
    "Mamba3": {"head_dim": 16, "state_size": 16},
    "MesaNet": {"num_heads": 2, "head_dim": 16},
}


def make_layer(name: str, **options: Any) -> nn.Module:
    """The layer with its usual weights moved a little at random: RWKV-7's outputs would be zero otherwise."""
    logging.disable(logging.WARNING)  # fla's advice on other packages
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fla.layers
        from fla.layers.simple_gla import SimpleGatedLinearAttention

        torch.manual_seed(0)
        layer_class = getattr(fla.layers, name, SimpleGatedLinearAttention)
        place = {} if name == "BasedLinearAttention" else {"layer_idx": 0}
        layer: nn.Module = layer_class(
            hidden_size=HIDDEN_SIZE, **place, **{**(SMALL | FURTHER | OTHERS)[name], **options}
        )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer
