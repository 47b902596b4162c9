"""What only the normalization does; `test_every_op.py` has the rest."""

import torch

from lit_retrieval.ops import rms_norm


def test_zeros_stay_zeros():
    assert torch.equal(rms_norm(torch.zeros(2, 3, 4), torch.ones(4)), torch.zeros(2, 3, 4))
