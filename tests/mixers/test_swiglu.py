"""SwiGLU against its equation."""

import torch
from torch.nn import functional as F

from lit_retrieval.mixers import SwiGLU


def test_output_equals_the_equation():
    mixer = SwiGLU(hidden_size=8, layer_idx=0, intermediate_size=12)
    x = torch.randn(2, 3, 8)
    gate, up = mixer.gate_up_proj(x).chunk(2, -1)
    y, state = mixer(x)
    torch.testing.assert_close(y, mixer.down_proj(F.silu(gate) * up))
    assert state is None


def test_it_remembers_nothing():
    assert SwiGLU(hidden_size=8, layer_idx=0).state_size(100) == 0
