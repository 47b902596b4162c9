"""The first weights of a model, as GPT-2, mamba-ssm and fla draw them."""

from collections.abc import Iterator

import torch
from torch import nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Parallel

_LAST = {"out_proj", "o_proj", "down_proj"}  # names, here and in fla, of the projection to the residual stream


@torch.no_grad()
def draw_weights(model: nn.Module, std: float) -> None:
    """Draw the matrices of linear, convolutional and recurrent layers from a normal distribution; set biases to zero.

    As in fla's models, all other parameters (decays, norms) keep their values, and so do layers with a special
    initialization: Mamba's step sizes, marked `_no_reinit`, and RWKV-7's layers, marked `_in_rwkv_module`.

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


@torch.no_grad()
def rescale_outputs(mixers: nn.ModuleList) -> None:
    """Divide the last projection of each mixer by the square root of the number of mixers.

    The residual stream is the sum of the mixers' outputs, so initially its size then does not grow with the depth
    (Radford et al. 2019, GPT-2, section 2.3). Biases are not changed.

    Raises:
        UserError: If a mixer has no projection named `out_proj`, `o_proj` or `down_proj`.
    """
    for mixer in _single(mixers):
        projections = [module for path, module in mixer.named_modules() if path.rpartition(".")[2] in _LAST]
        if not projections:
            raise UserError(
                f"model.residual: rescaled needs a projection named out_proj, o_proj or down_proj in each mixer, and "
                f"{type(mixer).__name__} has none; leave out model.residual"
            )
        for projection in projections:
            projection.weight /= len(mixers) ** 0.5


def _single(mixers: nn.ModuleList) -> Iterator[nn.Module]:
    for mixer in mixers:
        yield from _single(mixer.mixers) if isinstance(mixer, Parallel) else [mixer]
