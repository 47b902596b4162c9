"""A linear recurrence whose values decay, and the choice of its implementation."""

from torch import Tensor

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.shapes import check_shape
from lit_retrieval.ops.slot_recurrence.cpu import slot_recurrence_cpu
from lit_retrieval.ops.slot_recurrence.naive import slot_recurrence_naive

__all__ = ["slot_recurrence", "slot_recurrence_cpu", "slot_recurrence_naive"]


def slot_recurrence(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence that writes keys into slots, in gated slot attention (Zhang et al. 2024, arXiv:2409.07146).

    S_t = S_{t-1} diag(exp(g_t)) + k_t v_t^T and o_t = S_t^T q_t, where v_t says how much is written into each slot, and
    g_t is the log of each slot's decay. In `linear_recurrence` the keys decay instead.

    Args:
        q, k: Queries and keys, `(batch, time, heads, key_dim)`.
        v: Values, one for each slot, `(batch, time, heads, slots)`.
        log_decay: The log of each slot's decay, at most 0, shaped like `v`.
        state: The state S before the first step, `(batch, heads, key_dim, slots)`; zeros if absent.

    Returns:
        The outputs, shaped like `v`, and the state after the last step, which is float32 for half precision.
    """
    batch, time, heads, key_dim = q.shape
    if time < 1:
        raise ValueError(f"q must have at least one step, got shape {tuple(q.shape)}")
    check_shape("k", k, (batch, time, heads, key_dim))
    check_shape("v", v, (batch, time, heads, v.shape[-1]))
    check_shape("log_decay", log_decay, tuple(v.shape))
    check_shape("state", state, (batch, heads, key_dim, v.shape[-1]))
    return _run(q, k, v, log_decay, state)


@in_float32
def _run(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    run = slot_recurrence_cpu if runs_on_numba(q, k, v, log_decay, state) else slot_recurrence_naive
    return run(q, k, v, log_decay, state)
