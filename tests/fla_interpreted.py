"""Prints, as JSON, how far our CPU path is from fla's own kernels, which Triton's interpreter runs here on a CPU.

Run with TRITON_INTERPRET=1 as `python fla_interpreted.py BATCH TIME LAYER ...`; it is a program of its own since
Triton reads that once. TIME is the number of steps after those that leave a state.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from triton import language
from triton.runtime import autotuner

sys.path.insert(0, str(Path(__file__).parent))
from fla_layers import HIDDEN_SIZE, make_layer

STATE = {"recurrent": "recurrent_state", "attention": "attn_state", "convolution": "conv_state"}  # ours and fla's
BEFORE = 3  # steps that leave a state


class LoopIndex(int):
    """The interpreter's loops count in plain ints, but fla's kernels call `.to` on them."""

    def to(self, dtype: Any) -> "LoopIndex":
        return self


def count(*limits: int) -> Iterator[LoopIndex]:
    return map(LoopIndex, range(*limits))


def take(*args: Any, **options: Any) -> Any:
    """`language.gather`, looked up when it is called: the interpreter replaces it after fla is imported."""
    return vars(language)["gather"](*args, **options)


def take_first_config(init: Callable[..., None]) -> Callable[..., None]:
    """An autotuner with one config to choose from measures nothing, and so needs no GPU."""

    def init_with_one(self: Any, fn: Any, names: Any, configs: Any, *args: Any, **options: Any) -> None:
        init(self, fn, names, sorted(configs, key=lambda config: config.num_warps)[:1], *args, **options)

    return init_with_one


def prepare_fla() -> None:
    """Import fla with what the interpreter needs in place of names that fla's modules took over from Triton."""
    autotuner.Autotuner.__init__ = take_first_config(autotuner.Autotuner.__init__)
    make_layer("GatedLinearAttention")
    for name, module in list(sys.modules.items()):
        if name.startswith("fla.") and getattr(module, "tl", None) is language:
            vars(module)["range"] = count
            if "gather" in vars(module):
                vars(module)["gather"] = take


def run_theirs(layer: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The outputs and the last state of fla's layer with fla's cache, the first steps apart."""
    from fla.models.cache_utils import Cache

    cache, lengths = Cache(), [BEFORE, x.shape[1] - BEFORE]
    if type(layer).__name__ == "Mamba2":
        lengths = [x.shape[1] - 2, 1, 1]  # with a state, fla's takes one step at a time
    outputs = [layer(part, past_key_values=cache, use_cache=True)[0] for part in torch.split(x, lengths, 1)]
    return torch.cat(outputs, 1), {name: cache[0][part] for name, part in STATE.items()}


def run_ours(layer: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The same of a layer behind our interface."""
    before, after = x[:, :BEFORE], x[:, BEFORE:]
    first, state = layer(before)
    second, state = layer(after, state)
    return torch.cat([first, second], 1), {name: getattr(state, name) for name in STATE}


def run(layer: nn.Module, x: Tensor, run_layer: Callable[..., tuple[Tensor, dict[str, Any]]]) -> dict[str, Tensor]:
    """The outputs, the last state, and the gradients for the inputs and every parameter."""
    x = x.clone().requires_grad_()
    y, state = run_layer(layer, x)
    named = {"inputs": x, **{name.removeprefix("layer."): one for name, one in layer.named_parameters()}}
    weights = torch.linspace(-1, 1, y.numel()).view(y.shape)
    grads = torch.autograd.grad((y * weights).sum(), list(named.values()))
    last = {f"last state: {name} {i}": one for name, part in state.items() for i, one in enumerate(tensors_of(part))}
    return {"outputs": y.detach(), **last, **dict(zip(named, grads, strict=True))}


def tensors_of(part: Any) -> list[Tensor]:
    if isinstance(part, list | tuple):
        return [tensor for item in part for tensor in tensors_of(item)]
    return [] if part is None else [part.detach()]


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    return {
        name: float((ours[name] - theirs[name]).abs().max() / max(1.0, float(theirs[name].abs().max())))
        for name in theirs
    }


def main() -> None:
    prepare_fla()
    batch, time = map(int, sys.argv[1:3])
    x = torch.randn(batch, BEFORE + time, HIDDEN_SIZE, generator=torch.Generator().manual_seed(0))
    theirs = {name: run(make_layer(name), x, run_theirs) for name in sys.argv[3:]}

    from lit_retrieval.mixers import FlaLayer  # from here on, fla runs our functions on a CPU

    print(json.dumps({name: distance(run(FlaLayer(make_layer(name)), x, run_ours), theirs[name]) for name in theirs}))


if __name__ == "__main__":
    main()
