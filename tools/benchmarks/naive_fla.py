"""fla's layers with step-by-step recurrences, as a baseline for our kernels."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch import Tensor

from lit_retrieval.ops.fla_cpu import mamba, recurrences
from lit_retrieval.ops.linear_recurrence import linear_recurrence_naive


@contextmanager
def naive_recurrences() -> Iterator[None]:
    """Make fla's layers run fla's `naive` recurrences; Mamba-2, which has none, runs a PyTorch loop."""
    with (
        patch.object(recurrences, "_run", _run),
        patch.object(mamba, "linear_recurrence", linear_recurrence_naive),
    ):
        yield


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    read: Tensor | None = None,
    write: Tensor | None = None,
    rate: Tensor | None = None,
    **_: Any,
) -> Any:  # what fla returns: outputs and the last state
    from fla.ops.generalized_delta_rule.dplr.naive import dplr_recurrence
    from fla.ops.gla.naive import naive_recurrent_gla
    from fla.ops.linear_attn.naive import naive_recurrent_linear_attn
    from fla.ops.simple_gla.naive import naive_recurrent_simple_gla

    if rate is not None:
        return _run_delta(q, k, v, log_decay, rate.squeeze(-1))
    if read is not None:
        assert write is not None and log_decay is not None
        heads_first = (tensor.transpose(1, 2) for tensor in (q, k, v, read, write, log_decay))
        o, state = dplr_recurrence(*heads_first)
        return o.transpose(1, 2), state
    if log_decay is None:
        return naive_recurrent_linear_attn(q, k, v, output_final_state=True)
    if log_decay.shape[-1] == 1:
        return naive_recurrent_simple_gla(q, k, v, log_decay.squeeze(-1))
    return naive_recurrent_gla(q, k, v, log_decay, output_final_state=True)


def _run_delta(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None, beta: Tensor
) -> Any:  # what fla returns: outputs and the last state
    from fla.ops.delta_rule.naive import delta_rule_recurrence
    from fla.ops.gated_delta_rule.naive import naive_recurrent_gated_delta_rule
    from fla.ops.kda.naive import naive_recurrent_kda

    if log_decay is None:
        heads_first = (tensor.transpose(1, 2) for tensor in (q, k, v, beta))
        o, state = delta_rule_recurrence(*heads_first)
        return o.transpose(1, 2), state
    if log_decay.shape[-1] == 1:
        return naive_recurrent_gated_delta_rule(q, k, v, beta, log_decay.squeeze(-1), output_final_state=True)
    return naive_recurrent_kda(q, k, v, log_decay, beta, output_final_state=True)
