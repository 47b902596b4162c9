"""Regularized least squares at every step, solved exactly by PyTorch: any device, any dtype."""

import torch
from torch import Tensor


def mesa_solve_naive(
    q: Tensor, k: Tensor, log_decay: Tensor, rate: Tensor, ridge: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The solutions of all steps, from all matrices at once; arguments and results as in `mesa_solve`."""
    batch, time, heads, dim = q.shape
    matrix = q.new_zeros(batch, heads, dim, dim) if state is None else state
    matrices = []
    for t in range(time):
        written = (rate[:, t] * k[:, t]).unsqueeze(-1) * k[:, t].unsqueeze(-2)
        matrix = log_decay[:, t].exp().unsqueeze(-1) * matrix + written
        matrices.append(matrix)
    x = torch.linalg.solve(torch.stack(matrices, 1) + torch.diag_embed(ridge), q)
    return x, matrix
