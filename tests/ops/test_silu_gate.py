"""What only the gate does; `test_every_op.py` has the rest."""

import torch

from lit_retrieval.ops import silu_gate


def test_closed_and_open_gates_stay_finite():
    y = silu_gate(torch.ones(2), torch.tensor([-1e4, 1e4]))
    torch.testing.assert_close(y, torch.tensor([0.0, 1e4]))
