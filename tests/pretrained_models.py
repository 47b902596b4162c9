"""Tiny configurations of causal language models, by architecture, and folders of random weights."""

import importlib
from pathlib import Path
from typing import Any

import torch

from lit_retrieval.models import prepare_fla
from lit_retrieval.ops.fla_cpu import install

VOCABULARY = 97
_WIDTH = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 4}
_LLAMA = {**_WIDTH, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 2, "mamba_d_state": 8, "mamba_chunk_size": 8}
_PERIODS = {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 4}
_DELTA = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}  # fmt: skip
_PICTURES = {"hidden_size": 16, "intermediate_size": 16, "patch_size": 14}
_EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1}
_FLA = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}
_FLA_HEADS = {**_FLA, "num_heads": 2, "intermediate_size": 48}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "phi": {**_LLAMA, "num_key_value_heads": 4},
    "mistral": {**_LLAMA, "sliding_window": 8},
    "ministral": {
        **_LLAMA, "head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2
    },
    "gemma3_text": {
        **_LLAMA, "head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2
    },
    "gemma3": {
        "text_config": {
            **_LLAMA, "head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2
        },
        "vision_config": {**_PICTURES, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28},
    },
    "mamba": {**_WIDTH, "state_size": 8},
    "falcon_mamba": {**_WIDTH, "state_size": 8},
    "mamba2": {**_WIDTH, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    "falcon_h1": {**_LLAMA, **_MAMBA, "mamba_d_ssm": 64},
    "bamba": {**_LLAMA, **_MAMBA, "attn_layer_indices": [1]},
    "granitemoehybrid": {
        **_LLAMA, **_MAMBA, "layer_types": ["mamba", "attention", "mamba", "mamba"], "num_local_experts": 0,
        "num_experts_per_tok": 0, "shared_intermediate_size": 32,
    },
    "jamba": {
        **_LLAMA, **_PERIODS, **_EXPERTS, "expert_layer_period": 2, "expert_layer_offset": 1, "use_mamba_kernels": False
    },
    "zamba2": {
        **_LLAMA, "num_key_value_heads": 4, "mamba_d_state": 8, "mamba_ngroups": 2, "n_mamba_heads": 8,
        "mamba_headdim": 8, "chunk_size": 8, "num_mem_blocks": 1, "use_mem_rope": True,
        "layers_block_type": ["mamba", "hybrid"] * 2,
    },
    "lfm2": {**_LLAMA, "layer_types": ["conv", "full_attention"] * 2},
    "qwen3_next": {
        **_LLAMA, **_DELTA, **_EXPERTS, "head_dim": 8, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "qwen3_5_text": {**_LLAMA, **_DELTA, "head_dim": 8},
    "qwen3_5": {
        "text_config": {**_LLAMA, **_DELTA, "head_dim": 8},
        "vision_config": {
            **_PICTURES, "depth": 1, "num_heads": 2, "out_hidden_size": 32, "num_position_embeddings": 16
        },
    },
    "olmo_hybrid": {**_LLAMA, **_DELTA, "pad_token_id": 0},
    "nemotron_h": {
        **_LLAMA, "head_dim": 8, "mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 2, "ssm_state_size": 8,
        "chunk_size": 8, "layers_block_type": ["mamba", "attention", "mamba", "mlp"],
    },
    "gla": _FLA_HEADS,
    "gated_deltanet": {**_FLA_HEADS, "head_dim": 16},
    "delta_net": _FLA_HEADS,
    "rwkv7": {**_FLA, "intermediate_size": 48, "head_dim": 16},
    "kda": {**_FLA_HEADS, "head_dim": 16},
    "retnet": _FLA_HEADS,
    "hgrn2": {**_FLA_HEADS, "expand_ratio": 16},
    "linear_attn": _FLA_HEADS,
    "fla_mamba2": {**_FLA, "head_dim": 16, "state_size": 16, "num_heads": 4},
    "rwkv": {**_WIDTH, "context_length": 64},
    "recurrent_gemma": {**_LLAMA, "lru_width": 32, "attention_window_size": 8, "head_dim": 8},
    "minimax": {
        **_LLAMA, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1,
        "layer_types": ["linear_attention", "full_attention"] * 2,
    },
}  # fmt: skip


OF_FLA = {
    "gla": "GLA", "gated_deltanet": "GatedDeltaNet", "delta_net": "DeltaNet", "rwkv7": "RWKV7", "kda": "KDA",
    "retnet": "RetNet", "hgrn2": "HGRN2", "linear_attn": "LinearAttention", "fla_mamba2": "Mamba2",
}  # fmt: skip


def write_folder(folder: Path, architecture: str, **changed: Any) -> Path:
    """A folder of a tiny model with random weights that are not small, as save_pretrained writes it."""
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM

    arguments = {**CONFIGS[architecture], **changed}
    if architecture in OF_FLA:
        install()
        models: Any = importlib.import_module("fla.models")
        config = getattr(models, f"{OF_FLA[architecture]}Config")(**arguments)
    else:
        known = type(AutoConfig.for_model(architecture))  # fla may have registered its own mamba
        prepare_fla(known)
        config = getattr(transformers, known.__name__)(**arguments)
    torch.manual_seed(0)
    if "text_config" in arguments:  # a model of pictures too
        model: Any = getattr(transformers, type(config).__name__.replace("Config", "ForConditionalGeneration"))(config)
    else:
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder
