"""A matrix-valued linear recurrence, and the choice of its implementation."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.linear_recurrence.chunked import linear_recurrence_chunked
from lit_retrieval.ops.linear_recurrence.cpu import linear_recurrence_cpu
from lit_retrieval.ops.linear_recurrence.naive import linear_recurrence_naive
from lit_retrieval.ops.shapes import check_shape

__all__ = [
    "linear_recurrence", "linear_recurrence_chunked", "linear_recurrence_cpu", "linear_recurrence_naive",
    "recorded_decays",
]  # fmt: skip

_recorded: ContextVar[list[Tensor] | None] = ContextVar("_recorded", default=None)


@contextmanager
def recorded_decays() -> Iterator[list[Tensor]]:
    """A list to which each `linear_recurrence` with a `log_decay` appends it while the block runs."""
    decays: list[Tensor] = []
    token = _recorded.set(decays)
    try:
        yield decays
    finally:
        _recorded.reset(token)


def linear_recurrence(
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
    """The recurrence behind linear attention, gated linear attention, Mamba-2, the delta rule and RWKV-7.

    S_t = diag(exp(g_t)) S_{t-1} + b_t (a_t^T S_{t-1}) + r_t k_t v_t^T and o_t = S_t^T q_t + D v_t, left to right, where
    g is the log of the decay, a reads, b writes, r is a rate and D a skip  (Peng et al. 2025, arXiv:2503.14456).
    Without g, a, b, r and D it is linear attention (arXiv:2006.16236), with a g for each head RetNet, and with r and D
    too Mamba-2 (arXiv:2405.21060), with a g for each key gated linear attention (arXiv:2312.06635). The gated delta
    rule (arXiv:2412.06464) has a = -beta exp(g) k, b = k and r = beta.

    Args:
        q, k: Queries and keys, `(batch, time, groups, key_dim)`. With fewer groups than heads, consecutive heads share
            those of a group.
        v: Values, `(batch, time, heads, value_dim)`.
        log_decay: The log of each step's decay, at most 0, `(batch, time, heads, key_dim)`, or `(..., 1)` for one decay
            of all keys; no decay if absent.
        read, write: The keys a and b of the correction: the state is read at a before the step, and the result is added
            at b, `(batch, time, heads, key_dim)`; both or neither.
        state: The state S before the first step, `(batch, heads, key_dim, value_dim)`; zeros if absent.
        rate: A factor of the values that are written, `(batch, time, heads, 1)`; ones if absent.
        skip: A factor of the values that are added to the outputs, `(heads, value_dim)`; zeros if absent.

    Returns:
        The outputs, shaped like `v`, and the state after the last step, which is float32 for half precision. Both carry
        gradients to every argument.
    """
    arguments = (q, k, v, log_decay, read, write, state, rate, skip)
    _check_shapes(*arguments)
    recorded = _recorded.get()
    if recorded is not None and log_decay is not None:
        recorded.append(log_decay.detach())
    return _run(*arguments)


@in_float32
def _run(*arguments: Tensor | None) -> tuple[Tensor, Tensor]:
    run = linear_recurrence_cpu if runs_on_numba(*arguments) else linear_recurrence_chunked
    return run(*arguments)  # type: ignore[arg-type]


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, *others: Tensor | None) -> None:
    (batch, time, groups, key_dim), heads, value_dim = q.shape, v.shape[2], v.shape[-1]
    log_decay, read, write, state, rate, skip = others
    if time < 1:
        raise ValueError(f"q must have at least one step, got shape {tuple(q.shape)}")
    if (read is None) != (write is None):
        raise ValueError("read and write must be given together; pass both or neither")
    if heads % groups:
        raise ValueError(f"heads must be a multiple of {groups}, the groups of queries, got {heads}")
    has_one_decay = log_decay is not None and log_decay.shape[-1] == 1
    check_shape("k", k, (batch, time, groups, key_dim))
    check_shape("v", v, (batch, time, heads, value_dim))
    check_shape("log_decay", log_decay, (batch, time, heads, 1 if has_one_decay else key_dim))
    check_shape("read", read, (batch, time, heads, key_dim))
    check_shape("write", write, (batch, time, heads, key_dim))
    check_shape("state", state, (batch, heads, key_dim, value_dim))
    check_shape("rate", rate, (batch, time, heads, 1))
    check_shape("skip", skip, (heads, value_dim))
