"""Low-rank adapters in place of the weights."""

from typing import Any

import torch
from torch import Tensor, nn

from lit_retrieval.errors import UserError, missing_package


def add_adapters(model: Any, tokens: Tensor, rank: int) -> None:
    """Freeze a model, and give its linear layers trained adapters: y = W x + 2 B A x (Hu et al., arXiv:2106.09685).

    They are in float32, whatever the precision of the weights, in which they are computed.

    Args:
        model: A causal language model; its head has no adapter.
        tokens: Any, `(batch, time)`, to see which layers run as such.
        rank: Rows of A.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise missing_package("model.pretrained.init_args.lora_rank", "peft") from None
    layers = _running_layers(model, tokens)
    if not layers:
        raise UserError(f"{type(model).__name__} has no linear layers for adapters; set lora_rank to 0")
    from lit_retrieval.pretrained.adapter import Adapter

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers)
    config._register_custom_module({nn.Linear: Adapter})
    inject_adapter_in_model(config, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _running_layers(model: Any, tokens: Tensor) -> list[str]:
    """The names of the linear layers that are called: fused kernels take the weights of others as they are.

    So does Mamba's kernel for a GPU, with those of `out_proj` beside a `conv1d`.
    """
    fused = {id(part.out_proj) for part in model.modules() if hasattr(part, "out_proj") and hasattr(part, "conv1d")}
    leave_out = {id(model.get_output_embeddings()), *fused}
    names = {id(part): name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    called: set[str] = set()
    hooks = [
        part.register_forward_pre_hook(lambda part, _: called.add(names[id(part)]))
        for part in model.modules()
        if id(part) in names and id(part) not in leave_out
    ]
    with torch.no_grad():
        model(input_ids=tokens, use_cache=False)
    for hook in hooks:
        hook.remove()
    return sorted(called)


def merge_adapters(model: Any) -> Any:
    """Put each adapter's product into the weights that it stands beside; without adapters nothing changes."""
    adapted = [(name, part) for name, part in model.named_modules() if hasattr(part, "lora_A")]
    for name, part in adapted:
        part.merge(safe_merge=True)
        model.set_submodule(name, part.get_base_layer())
    return model.requires_grad_(True)
