"""The matrix-valued linear recurrence as matrix products over chunks of steps: any device, any dtype."""

import torch
from torch import Tensor

from lit_retrieval.ops.linear_recurrence.naive import for_each_head

_CHUNK = 16  # steps; a chunk keeps (steps, steps, key_dim) decays, from differences of logs, which can't overflow


def linear_recurrence_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    read: Tensor | None = None,
    write: Tensor | None = None,
    state: Tensor | None = None,
    rate: Tensor | None = None,
    skip: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence in chunks of 16 steps; arguments and results as in `linear_recurrence`."""
    batch, _, heads, value_dim = v.shape
    q, k, written = for_each_head(q, k, v, rate)
    if state is None:
        state = v.new_zeros(batch, heads, q.shape[-1], value_dim)
    if log_decay is None:
        log_decay = torch.zeros_like(v[..., :1])
    outputs = []
    # (batch, heads, steps, dim) from here on: each chunk is a batch of matrices.
    parts = [_split(tensor) for tensor in (q, k, written, log_decay)]
    corrections = [(None, None)] * len(parts[0]) if read is None else zip(_split(read), _split(write), strict=True)
    for q_c, k_c, v_c, log_decay_c, (read_c, write_c) in zip(*parts, corrections, strict=True):
        output, state = _run_chunk(q_c, k_c, v_c, log_decay_c, read_c, write_c, state)
        outputs.append(output)
    o = torch.cat(outputs, 2).transpose(1, 2)
    return o if skip is None else o + skip * v, state


def _split(tensor: Tensor | None) -> tuple[Tensor, ...]:
    assert tensor is not None
    return torch.split(tensor.transpose(1, 2), _CHUNK, 2)


def _run_chunk(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, read: Tensor | None, write: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """One chunk's outputs, and the state after it.

    A later step i sees what step j wrote times the decays between them: exp(G_i - G_j), where G sums the logs from the
    chunk's start. What step i reads, u_i = a_i^T S_{i-1}, depends on earlier reads in the same chunk, so u solves a
    triangular system.
    """
    sums = log_decay.cumsum(2)
    from_start, to_end = sums.exp(), (sums[:, :, -1:] - sums).exp()
    output = (q * from_start) @ state + _attend(q, sums, k, sums, 0) @ v
    last_state = from_start[:, :, -1].unsqueeze(-1) * state + (k * to_end).transpose(2, 3) @ v
    if read is None or write is None:
        return output, last_state
    before = sums - log_decay  # a read comes before its own step's decay
    known = (read * before.exp()) @ state + _attend(read, before, k, sums, -1) @ v
    system = -_attend(read, before, write, sums, -1)
    u = torch.linalg.solve_triangular(system, known, upper=False, unitriangular=True)
    return output + _attend(q, sums, write, sums, 0) @ u, last_state + (write * to_end).transpose(2, 3) @ u


def _attend(q: Tensor, q_sums: Tensor, k: Tensor, k_sums: Tensor, diagonal: int) -> Tensor:
    """The weight of what step j wrote at `k` for step i at `q`, `(batch, heads, i, j)`; 0 for j above i + diagonal."""
    time = q.shape[2]
    is_later = torch.ones(time, time, dtype=torch.bool, device=q.device).tril(diagonal).unsqueeze(-1)
    logs = (q_sums.unsqueeze(3) - k_sums.unsqueeze(2)).masked_fill(~is_later, -torch.inf)
    if logs.shape[-1] == 1:
        return (q @ k.transpose(2, 3)) * logs.squeeze(-1).exp()
    return (q.unsqueeze(3) * logs.exp() * k.unsqueeze(2)).sum(-1)
