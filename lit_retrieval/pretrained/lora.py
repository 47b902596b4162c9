"""Low-rank adapters (LoRA), trained in place of the weights."""

import re
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from lit_retrieval.errors import UserError, missing_package


def add_adapters(model: Any, tokens: Tensor, rank: int) -> None:
    """Freeze a model, and add trained adapters to its linear layers: y = W x + 2 B A x (Hu et al., arXiv:2106.09685).

    Warns of weights without an adapter, such as those of a mixture of experts, whose matrices are not linear layers.
    Adapters are stored in float32, and computed in the precision of the weights.

    Args:
        model: A causal language model; its head has no adapter.
        tokens: Any tokens, `(batch, time)`, to find the linear layers that are called.
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
    _warn_of_others(model, layers)
    inject_adapter_in_model(config, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _warn_of_others(model: Any, layers: list[str]) -> None:
    """Warn of matrices without adapters: those of experts, `(experts, ...)`, and those read by fused kernels."""
    head, found = model.get_output_embeddings(), set()
    for name, part in model.named_modules():
        if name in layers or part is head:
            continue
        for own, weight in part.named_parameters(recurse=False):
            is_stack = weight.ndim == 3 and min(weight.shape) > 1 and not isinstance(part, nn.Conv1d)
            if is_stack or (isinstance(part, nn.Linear) and own == "weight"):
                found.add(re.sub(r"(?<=\.)\d+(?=\.)", "*", f"{name}.{own}"))
    if found:
        said = ", ".join(sorted(found))
        warnings.warn(f"{type(model).__name__} has no adapters beside {said}, which stay as they are", stacklevel=3)


def _running_layers(model: Any, tokens: Tensor) -> list[str]:
    """The names of the linear layers that are called; fused kernels read the weights of others directly.

    An `out_proj` beside a `conv1d` is left out too, because Mamba's GPU kernel reads its weights.
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
    """Add each adapter's product to the weights of its layer; without adapters nothing changes."""
    adapted = [(name, part) for name, part in model.named_modules() if hasattr(part, "lora_A")]
    for name, part in adapted:
        part.merge(safe_merge=True)
        model.set_submodule(name, part.get_base_layer())
    return model.requires_grad_(True)
