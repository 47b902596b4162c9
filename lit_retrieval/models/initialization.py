"""The first weights of a model by one number, as GPT-2 and fla draw them."""

import torch
from torch import nn


@torch.no_grad()
def draw_weights(model: nn.Module, std: float) -> None:
    """Draw the matrices of linear, convolutional and recurrent layers from a normal distribution; set biases to zero.

    As in fla's models, what is no such layer keeps its values (decays, norms), and so do the layers whose values mean
    something: Mamba's step sizes, marked `_no_reinit`, and RWKV-7's, marked `_in_rwkv_module`.

    Args:
        model: A model or a mixer.
        std: Standard deviation of the matrices.
    """
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        is_kept = hasattr(module, "_in_rwkv_module") or any(hasattr(one, "_no_reinit") for one in own)
        if isinstance(module, nn.Linear | nn.Conv1d | nn.RNNBase) and not is_kept:
            for parameter in own:
                if parameter.ndim > 1:
                    nn.init.normal_(parameter, std=std)
                else:
                    nn.init.zeros_(parameter)
