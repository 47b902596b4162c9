"""Every mixer of ours, small, for the tests that hold for all of them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from lit_retrieval.mixers import (
    GRU,
    LSTM,
    TTT,
    Attention,
    Canon,
    LinearRNN,
    Mamba,
    Parallel,
    ReGLU,
    SlidingWindowAttention,
    SwiGLU,
    Titans,
)

HIDDEN_SIZE = 16
MIXERS: dict[str, Callable[..., nn.Module]] = {
    "attention": partial(Attention, num_heads=2),
    "window": partial(SlidingWindowAttention, num_heads=2, window=5),
    "window of one": partial(SlidingWindowAttention, num_heads=2, window=1),
    "attention, ALiBi": partial(Attention, num_heads=2, position="alibi"),
    "window, ALiBi, grouped": partial(SlidingWindowAttention, num_heads=4, num_kv_heads=2, window=5, position="alibi"),
    "window, no positions": partial(SlidingWindowAttention, num_heads=2, window=5, position="none"),
    "Mamba": partial(Mamba, state_dim=4),
    "linear RNN": LinearRNN,
    "diagonal linear RNN": partial(LinearRNN, diagonal=True),
    "Canon": Canon,
    "LSTM": partial(LSTM, state_dim=12),
    "GRU": partial(GRU, state_dim=12),
    "TTT": partial(TTT, num_heads=2, mini_batch=6),
    "Titans": partial(Titans, num_heads=2, chunk=6),
    "grouped attention beside Mamba": partial(
        Parallel,
        mixers=[
            partial(Attention, num_heads=4, num_kv_heads=2),
            partial(Mamba, state_dim=4, dt_rank=3, bias=True, conv_bias=False),
        ],
    ),
    "linear RNN beside a window": partial(
        Parallel, mixers=[partial(LinearRNN, diagonal=True), partial(SlidingWindowAttention, num_heads=2, window=5)]
    ),
    "SwiGLU": SwiGLU,
    "ReGLU": ReGLU,
}


def make_mixer(name: str) -> nn.Module:
    """The mixer with this name; weights that start small are drawn larger, so that they are seen in the output."""
    torch.manual_seed(0)
    mixer = MIXERS[name](hidden_size=HIDDEN_SIZE, layer_idx=0)
    for parameter in mixer.parameters() if "attention" in name or "window" in name or "GLU" in name else ():
        nn.init.normal_(parameter, std=0.2)
    return mixer
