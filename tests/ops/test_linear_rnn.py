"""What only the recurrence of vectors refuses; `test_every_op.py` has the rest."""

import pytest
import torch

from lit_retrieval.ops import linear_rnn


def test_wrong_shapes_are_named():
    u = torch.zeros(2, 3, 6)
    with pytest.raises(ValueError, match=r"A has shape \(5,\)"):
        linear_rnn(u, torch.zeros(5))
    with pytest.raises(ValueError, match="at least one"):
        linear_rnn(u[:, :0], torch.zeros(6))
