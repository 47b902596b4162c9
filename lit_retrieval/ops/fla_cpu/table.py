"""The only list of fla's functions that are replaced on a CPU; `install` and the docs read it.

To add a row, write our function in any module here and add one line below: the kind, where fla defines the function,
its names, and our function. Arguments are passed by fla's names, so their order need not agree.

- `ours`: our function in this folder, as "module.function"; or "module", for functions named as fla's; or one of fla
  in PyTorch, "fla.module.function". It is called for CPU tensors, in every module of fla and of the user that holds
  fla's function under any name.
- `naive`: like `ours`, but a slow step-by-step function, of fla ("fla.ops.gsa.naive.naive_recurrent_gsa") or of this
  folder. The first call warns.
- `refused`: not supported on a CPU; a call raises `UserError` with the given reason.
- `through`: fla's own code, which only calls functions of other rows. Nothing is replaced; the docs list it as working.

An argument that our function does not have raises an error, unless it is at its default or only chooses between kernels
(`arguments.CHOOSE_KERNELS`). The decorator `parts.by_parts` gives a recurrence `cu_seqlens`. Then run
`python -m lit_retrieval.ops.fla_cpu > docs/fla.md`, which writes the table into the docs.
"""

from typing import Literal, NamedTuple

Kind = Literal["ours", "naive", "refused", "through"]


class Row(NamedTuple):
    """How one function of fla runs on a CPU; `detail` is our function, or the reason of a refusal."""

    kind: Kind
    theirs: str
    detail: str


def _rows(kind: Kind, module: str, names: str, detail: str) -> list[Row]:
    """A row for each of the names; a detail that is a module only stands for its functions of the same names."""
    is_module = kind == "ours" and "." not in detail
    return [Row(kind, f"{module}.{name}", f"{detail}.{name}" if is_module else detail) for name in names.split()]


_RECURRENCES = [
    *_rows("ours", "fla.ops.gla", "chunk_gla fused_recurrent_gla", "recurrences.gla"),
    *_rows(
        "ours",
        "fla.ops.simple_gla",
        "chunk_simple_gla fused_chunk_simple_gla fused_recurrent_simple_gla",
        "recurrences.gla",
    ),
    *_rows("ours", "fla.ops.simple_gla", "parallel_simple_gla", "recurrences.parallel_gla"),
    *_rows(
        "ours",
        "fla.ops.linear_attn",
        "chunk_linear_attn fused_chunk_linear_attn fused_recurrent_linear_attn",
        "recurrences.linear_attention",
    ),
    *_rows("ours", "fla.ops.delta_rule", "chunk_delta_rule fused_recurrent_delta_rule", "recurrences.delta_rule"),
    *_rows(
        "ours",
        "fla.ops.gated_delta_rule",
        "chunk_gated_delta_rule fused_recurrent_gated_delta_rule",
        "recurrences.gated_delta_rule",
    ),
    *_rows("ours", "fla.ops.kda", "chunk_kda fused_recurrent_kda", "recurrences.kda"),
    *_rows("ours", "fla.ops.cyfa", "chunk_cyfa fused_recurrent_cyfa", "cyclic_flow.cyclic_flow"),
    *_rows("ours", "fla.ops.log_linear_attn", "chunk_log_linear_attn", "log_linear.log_linear_attention"),
    *_rows("ours", "fla.ops.mesa_net", "chunk_mesa_net", "mesa_net.mesa_net"),
    *_rows("ours", "fla.ops.mesa_net", "mesa_net_decoding_one_step", "mesa_net.mesa_net_step"),
    *_rows(
        "ours",
        "fla.ops.generalized_delta_rule",
        "chunk_dplr_delta_rule fused_recurrent_dplr_delta_rule chunk_iplr_delta_rule fused_recurrent_iplr_delta_rule",
        "recurrences.generalized_delta_rule",
    ),
    *_rows("ours", "fla.ops.rwkv7.fused_recurrent", "fused_mul_recurrent_rwkv7", "recurrences.rwkv7_steps"),
    *_rows(
        "through",
        "fla.ops.retention",
        "chunk_retention fused_chunk_retention fused_recurrent_retention parallel_retention",
        "the functions of `fla.ops.simple_gla`",
    ),
    *_rows(
        "through",
        "fla.ops.lightning_attn",
        "chunk_lightning_attn fused_recurrent_lightning_attn",
        "the functions of `fla.ops.simple_gla`",
    ),
    *_rows(
        "through", "fla.ops.rwkv7", "chunk_rwkv7 fused_recurrent_rwkv7", "those of `fla.ops.generalized_delta_rule`"
    ),
    *_rows("through", "fla.ops.gated_delta_rule", "chunk_gdn fused_recurrent_gdn", "those of the gated delta rule"),
]

_FURTHER_RECURRENCES = [
    *_rows("ours", "fla.ops.abc.chunk", "chunk_abc", "gated_slots.abc"),
    *_rows("ours", "fla.ops.based", "fused_chunk_based parallel_based", "polynomials.based"),
    *_rows("ours", "fla.ops.comba", "chunk_comba fused_recurrent_comba", "delta_products.comba"),
    *_rows("ours", "fla.ops.gated_delta_product", "chunk_gated_delta_product", "delta_products.gated_delta_product"),
    *_rows("ours", "fla.ops.gdn2", "chunk_gdn2 fused_recurrent_gdn2", "delta_products.gdn2"),
    *_rows(
        "naive",
        "fla.ops.gated_oja_rule",
        "chunk_gated_oja_rule fused_recurrent_gated_oja_rule",
        "naive.gated_oja_rule",
    ),
    *_rows("ours", "fla.ops.gsa", "chunk_gsa fused_recurrent_gsa", "gated_slots.gsa"),
    *_rows("ours", "fla.ops.gsa.gate", "fused_additive_gate", "gated_slots.additive_gate"),
    *_rows("ours", "fla.ops.hgrn", "chunk_hgrn fused_recurrent_hgrn", "gated_rnns.hgrn"),
    *_rows("ours", "fla.ops.kda.gate", "fused_kda_gate", "delta_products.fused_kda_gate"),
    *_rows(
        "ours",
        "fla.ops.momentum_delta_rule",
        "chunk_momentum_delta_rule fused_recurrent_momentum_delta_rule",
        "delta_products.momentum_delta_rule",
    ),
    *_rows(
        "ours",
        "fla.ops.precond_gated_delta_rule",
        "chunk_precond_gated_delta_rule fused_recurrent_precond_gated_delta_rule",
        "delta_products.precond_gated_delta_rule",
    ),
    *_rows(
        "ours", "fla.ops.precond_kda", "chunk_precond_kda fused_recurrent_precond_kda", "delta_products.precond_kda"
    ),
    *_rows("ours", "fla.ops.rebased", "parallel_rebased", "polynomials.rebased"),
    *_rows("ours", "fla.ops.rwkv6", "chunk_rwkv6 fused_recurrent_rwkv6", "gated_rnns.rwkv6"),
    *_rows(
        "through", "fla.ops.lightnet", "chunk_lightnet fused_recurrent_lightnet", "fused_additive_gate and those of gla"
    ),
]

_MODULES = [
    *_rows(
        "ours",
        "fla.modules.activations.ops",
        "elu_p1_bwd elu_p1_fwd logsigmoid_bwd logsigmoid_fwd powglu_fwd powglu_fwdbwd powglu_linear sigmoid_bwd "
        "sigmoid_fwd sigmoidglu_fwd sigmoidglu_fwdbwd swiglu_fwd swiglu_fwdbwd swiglu_linear swish_bwd swish_fwd",
        "activations",
    ),
    *_rows(
        "ours", "fla.modules.causal_conv1d.ops", "causal_conv1d_bwd causal_conv1d_fwd causal_conv1d_update", "layers"
    ),
    *_rows("ours", "fla.modules.norm.fused_norm_gate", "layer_norm_gated_bwd layer_norm_gated_fwd", "norms"),
    *_rows("ours", "fla.modules.norm.l2norm", "l2norm_bwd l2norm_fwd", "norms"),
    *_rows("ours", "fla.modules.norm.layernorm", "layer_norm_bwd layer_norm_fwd", "norms"),
    *_rows("ours", "fla.modules.norm.layernorm_gated", "layernorm_fn rmsnorm_fn", "norms"),
    *_rows("ours", "fla.modules.fused_cross_entropy.ops", "cross_entropy_bwd cross_entropy_fwd", "losses"),
    *_rows(
        "ours", "fla.modules.fused_cross_entropy.ops", "FusedCrossEntropyLoss.forward", "losses.cross_entropy_forward"
    ),
    *_rows("ours", "fla.modules.fused_kl_div.ops", "fused_kl_div_bwd fused_kl_div_fwd", "losses"),
    *_rows(
        "ours", "fla.modules.fused_linear_cross_entropy.ops", "fused_linear_cross_entropy_bwd logsumexp_fwd", "losses"
    ),
    *_rows("ours", "fla.modules.rotary.ops", "rotary_embedding_fwdbwd", "layers"),
    *_rows("ours", "fla.modules.token_shift", "token_shift", "layers"),
]

_LAYERS = [
    *_rows("ours", "fla.layers.mom", "transform", "layers.sort_by_memory"),
    *_rows("ours", "fla.layers.mamba", "Mamba.slow_forward", "mamba.mamba_forward"),
    *_rows("ours", "fla.layers.mamba2", "Mamba2.torch_forward", "mamba.mamba2_forward"),
    *_rows(
        "ours",
        "fla.layers.log_linear_mamba2",
        "LogLinearMamba2.forward",
        "log_linear.log_linear_mamba2_forward",
    ),
    *_rows("ours", "fla.layers.mamba3", "Mamba3.forward", "mamba3.mamba3_forward"),
    *_rows("ours", "fla.ops.rwkv7.fused_addcmul", "fused_addcmul_rwkv7", "layers.rwkv7_mixtures"),
    *_rows("ours", "fla.ops.rwkv7.fused_k_update", "fused_k_rwkv7", "layers.rwkv7_keys"),
    *_rows("ours", "fla.ops.rwkv7.gate_output_correction", "gate_output_correction", "layers.rwkv7_output"),
]

_ATTENTION = [
    *_rows("ours", "fla.models.cat.modeling_cat", "flex_attention_compiled", "attention.masked.flex_attention"),
    *_rows("ours", "fla.ops.attn.parallel", "parallel_attn", "attention.softmax.parallel_attn"),
    *_rows("ours", "fla.ops.attn.decoding", "attn_decoding_one_step", "attention.softmax.attn_decoding_one_step"),
    *_rows("ours", "fla.ops.forgetting_attn", "parallel_forgetting_attn", "attention.softmax.parallel_forgetting_attn"),
    *_rows("ours", "fla.ops.attnres", "fused_attnres", "attention_residuals"),
    *_rows("ours", "fla.ops.deltaformer", "deltaformer_attn", "attention.delta_former.deltaformer_attn"),
    *_rows("ours", "fla.ops.moba", "parallel_moba", "attention.moba.parallel_moba"),
    *_rows("ours", "fla.ops.nsa.compression", "parallel_nsa_compression", "attention.nsa.parallel_nsa_compression"),
    *_rows("ours", "fla.ops.nsa.parallel", "parallel_nsa", "attention.nsa.parallel_nsa"),
    *_rows("ours", "fla.ops.nsa.parallel", "parallel_nsa_fwd", "attention.nsa.parallel_nsa_fwd"),
    *_rows("ours", "fla.ops.nsa.parallel", "parallel_nsa_topk", "attention.nsa.parallel_nsa_topk"),
    *_rows("ours", "fla.ops.parallax", "parallel_parallax", "attention.parallax.parallel_parallax"),
    *_rows("ours", "fla.ops.parallax.decode", "parallax_decode", "attention.parallax.parallax_decode"),
    *_rows(
        "ours", "fla.ops.parallax.decode", "parallax_decode_one_step", "attention.parallax.parallax_decode_one_step"
    ),
    *_rows("ours", "fla.ops.path_attn", "parallel_path_attn", "attention.path.parallel_path_attn"),
    *_rows(
        "ours",
        "fla.ops.stickbreaking_attn",
        "parallel_stickbreaking_attn",
        "attention.stick_breaking.parallel_stickbreaking_attn",
    ),
    *_rows("ours", "fla.ops.utils.cumsum", "chunk_global_cumsum chunk_local_cumsum", "sums"),
    *_rows("ours", "fla.ops.utils.pack", "pack_sequence_fwdbwd unpack_sequence_fwdbwd", "sums"),
    *_rows("ours", "fla.ops.utils.softmax", "softmax_bwd softmax_fwd", "sums"),
    *_rows("ours", "fla.ops.utils.logsumexp", "logsumexp_fwd", "losses"),
    *_rows(
        "ours",
        "fla.ops.gated_delta_rule.gate",
        "fused_gdn_gate",
        "fla.ops.gated_delta_rule.gate.naive_gdn_gate",
    ),
    *_rows("ours", "fla.ops.rwkv7.channel_mixing", "channel_mixing_rwkv7", "layers"),
    *_rows("ours", "fla.ops.utils.pooling", "mean_pooling", "sums"),
    *_rows("ours", "fla.ops.wall_attn", "parallel_wall_attn", "attention.wall.parallel_wall_attn"),
    *_rows("ours", "fla.ops.wall_attn", "parallel_wall_attn_decode", "attention.wall.parallel_wall_attn_decode"),
    *_rows("through", "fla.ops.wall_attn", "build_wall_kv_cache", "PyTorch alone"),
    *_rows("ours", "fla.modules.fused_bitlinear", "layer_norm_linear_quant", "bit_linear.layer_norm_linear_quant"),
    *_rows(
        "ours",
        "fla.layers.forgetting_attn",
        "ForgettingAttention.forward",
        "attention.layers.forgetting_attention",
    ),
    *_rows("ours", "fla.layers.path_attn", "PaTHAttention.forward", "attention.layers.path_attention_layer"),
    *_rows("ours", "fla.layers.rodimus", "autocast_to_fp16", "attention.layers.as_it_is"),
    *_rows(
        "ours",
        "fla.layers.stickbreaking_attn",
        "StickBreakingAttention.forward",
        "attention.layers.stick_breaking_attention",
    ),
    *_rows(
        "ours",
        "fla.layers.wall_attn",
        "WallAttention._decode_incremental",
        "attention.layers.wall_attention_to_all",
    ),
    *_rows(
        "ours",
        "fla.layers.wall_attn",
        "WallAttention._decode_rebuild",
        "attention.layers.wall_attention_to_window",
    ),
]

TABLE: tuple[Row, ...] = (*_RECURRENCES, *_FURTHER_RECURRENCES, *_MODULES, *_LAYERS, *_ATTENTION)

FLASH_ATTENTION_USERS = (
    "fla.layers.attn", "fla.layers.bitattn", "fla.layers.mla", "fla.layers.moba", "fla.layers.rodimus",
    "fla.ops.nsa.naive", "fla.ops.nsa.parallel",
)  # fmt: skip
"""Modules that call the package flash-attn, whose functions have stand-ins in `attention.flash`."""
