"""The paper's frozen embedding."""

import torch
from torch import Tensor


def sinusoidal_embedding(vocab_size: int, hidden_size: int) -> Tensor:
    """One vector of sines and cosines for each token, `(vocab_size, hidden_size)`.

    Token i has sin(i / 10000^(j / hidden_size)) at even j and cos(i / 10000^((j - 1) / hidden_size)) at odd j
    (Wen et al. 2024, arXiv:2402.18510, appendix B, with the exponents of its code).
    """
    tokens = torch.arange(vocab_size, dtype=torch.float64).unsqueeze(1)
    j = torch.arange(hidden_size)
    angles = tokens / 10000.0 ** ((j - j % 2) / hidden_size)
    return torch.where(j % 2 == 0, angles.sin(), angles.cos()).float()
