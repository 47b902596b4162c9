"""Small fla layers for tests, one of each kind, with no weight at zero."""

import logging
import warnings
from typing import Any

import torch
from torch import nn

from lit_retrieval.ops.fla_cpu import install

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
    "Attention": {"num_heads": 2, "window_size": 5},
    "BasedLinearAttention": _SHARED,
    "BitAttention": {"num_heads": 2},
    "Comba": _HEADS,
    "DeltaFormerAttention": {"num_heads": 2},
    "ForgettingAttention": {"num_heads": 2},
    "GatedDeltaNet2": _HEADS,
    "GatedDeltaProduct": _HEADS,
    "GatedSlotAttention": {"num_heads": 2, "num_slots": 8},
    "HGRNAttention": {},
    "LightNetAttention": {"num_heads": 2, "expand_ratio": 16, "gate_low_rank_dim": 8},
    "MoBA": {"num_heads": 2, "moba_chunk_size": 8, "moba_topk": 2},
    "MomAttention": {**_HEADS, "head_dim": 8, "num_memories": 3, "topk": 2},
    "MomentumDeltaNet": _HEADS,
    "MultiheadLatentAttention": {
        "num_heads": 2,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "qk_head_dim": 16,
        "v_head_dim": 16,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
    },
    "NativeSparseAttention": {
        "num_heads": 16,
        "num_kv_heads": 1,
        "head_dim": 8,
        "block_size": 8,
        "block_counts": 2,
        "window_size": 8,
    },
    "PaTHAttention": {"num_heads": 2},
    "Parallax": {"num_heads": 2},
    "PrecondGatedDeltaNet": _HEADS,
    "PrecondKDA": _HEADS,
    "RWKV6Attention": {"num_heads": 2, "proj_low_rank_dim": 8, "gate_low_rank_dim": 8},
    "Raven": {"num_heads": 2, "num_slots": 8, "topk": 4},
    "ReBasedLinearAttention": _SHARED,
    "RodimusAttention": {"expand_ratio": 16, "input_gate_low_rank": 8},
    "SlidingWindowSharedKeyAttention": {"num_heads": 2, "window_size": 6},
    "StickBreakingAttention": {"num_heads": 2},
    "WallAttention": {"num_heads": 2},
    "YOCOGatedRetention": {"num_heads": 2},
}


OTHERS: dict[str, dict[str, Any]] = {
    "CyclicFlowAttention": {"num_heads": 2, "head_dim": 16, "num_slots": 8},
    "Mamba": {"intermediate_size": 2 * HIDDEN_SIZE, "state_size": 16},
    "LogLinearMamba2": {"num_heads": 4, "head_dim": 16, "state_size": 16},
    "Mamba3": {"head_dim": 16, "state_size": 16},
    "MesaNet": {"num_heads": 2, "head_dim": 16},
}


_WITH_FLASH_ATTENTION = {"Attention", "BitAttention", "MoBA", "MultiheadLatentAttention"}


def make_layer(name: str, **options: Any) -> nn.Module:
    """The layer with its usual weights moved a little at random: RWKV-7's outputs would be zero otherwise."""
    logging.disable(logging.WARNING)  # fla's advice on other packages
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fla.layers
        from fla.layers.simple_gla import SimpleGatedLinearAttention

        if name in _WITH_FLASH_ATTENTION:
            install()  # they look for flash-attn when they are made
        torch.manual_seed(0)
        layer_class = getattr(fla.layers, name, SimpleGatedLinearAttention)
        place = {} if name == "BasedLinearAttention" else {"layer_idx": 0}
        layer: nn.Module = layer_class(
            hidden_size=HIDDEN_SIZE, **place, **{**(SMALL | FURTHER | OTHERS).get(name, {}), **options}
        )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer
