"""Which arguments the recurrence refuses; `test_every_op.py` has the rest."""

import pytest
import torch

from lit_retrieval.ops import linear_recurrence


def test_wrong_arguments_are_named():
    q, v = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 7)
    with pytest.raises(ValueError, match=r"v has shape \(2, 2, 4, 7\)"):
        linear_recurrence(q, q, v[:, :2])
    with pytest.raises(ValueError, match="read and write must be given together"):
        linear_recurrence(q, q, v, read=q)
    with pytest.raises(ValueError, match="heads must be a multiple of 3"):
        linear_recurrence(q[:, :, :3], q[:, :, :3], v)
    with pytest.raises(ValueError, match="at least one"):
        linear_recurrence(q[:, :0], q[:, :0], v[:, :0])
