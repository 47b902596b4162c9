"""Rules that a whole model must keep, checked before the first step."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_retrieval.conformance import BrokenRuleError, Rule, judge, path_of
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import State, select_rows, tensors_of
from lit_retrieval.mixers.checks.case import relative_difference

_SHAPE = (2, 5)  # batch and time of the tokens
_ALLOWED = 0.02  # of the largest logit: any precision, and TF32


class _Network(NamedTuple):
    """A network under check, in evaluation mode, the number of its tokens, and tokens `(batch, time)`."""

    network: nn.Module
    vocab_size: int
    tokens: Tensor

    def read(self, lengths: Sequence[int]) -> tuple[Tensor, State]:
        """Logits and last state, with the tokens cut into pieces."""
        pieces, state = [], None
        for piece in self.tokens.split(list(lengths), 1):  # type: ignore[no-untyped-call]
            logits, state = self.network(piece, state)
            pieces.append(logits)
        return torch.cat(pieces, 1), state


def check_network(network: nn.Module, vocab_size: int, device: torch.device) -> None:
    """Raise `UserError`, one line, if a whole model breaks a rule; it is in evaluation mode and on the device."""
    tokens = torch.arange(_SHAPE[0] * _SHAPE[1], device=device).view(_SHAPE) % vocab_size
    with torch.no_grad():
        for verdict in judge(_RULES, _Network(network, vocab_size, tokens)):
            if verdict.result == "FAIL":
                raise UserError(f"{path_of(network)} breaks the rule `{verdict.rule}`: {verdict.shown}")


def _returns_logits_and_state(case: _Network) -> str:
    result = case.network(case.tokens, None)
    if not (isinstance(result, tuple) and len(result) == 2):
        raise BrokenRuleError(f"forward must return (logits, state), got {type(result).__name__}")
    expected, logits = (*_SHAPE, case.vocab_size), result[0]
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise BrokenRuleError(f"logits must be (batch, time, vocab_size) = {expected}, got {shape}")
    return str(expected)


def _has_rows(case: _Network) -> str:
    _, state = case.read([_SHAPE[1]])
    select_rows(state, torch.tensor([0], device=case.tokens.device))  # raises what a state must not have
    if wrong := [tuple(one.shape) for one in tensors_of(state) if not one.ndim or len(one) != _SHAPE[0]]:
        raise BrokenRuleError(f"tensors of a state must have the batch of {_SHAPE[0]} first, got {wrong[0]}")
    return "the batch comes first"


def _agrees_in_pieces(case: _Network) -> str:
    whole, pieces = (case.read(lengths)[0] for lengths in ([5], [2, 1, 2]))
    return _compare(pieces, whole, "tokens in several calls, with the state handed on, must give what one call gives")


def _lets_rows_leave(case: _Network) -> str:
    rows, first = torch.tensor([1], device=case.tokens.device), case.tokens[:, :3]
    _, state = case.network(first, None)
    alone, _ = case.network(case.tokens[1:, 3:], select_rows(state, rows))
    return _compare(alone, case.read([5])[0][1:, 3:], "a row must go on alone as it does in the batch")


def _compare(actual: Tensor, expected: Tensor, rule: str) -> str:
    difference = relative_difference(actual, expected)
    if not difference <= _ALLOWED:  # true for nan, too
        raise BrokenRuleError(f"{rule}; they differ by {difference:.1e} of the largest logit")
    return f"differs by {difference:.1e}"


_RULES: tuple[Rule[_Network], ...] = (
    Rule("logits and a state", _returns_logits_and_state),
    Rule("a state of rows", _has_rows, needs=("logits and a state",)),
    Rule("in pieces", _agrees_in_pieces, needs=("logits and a state",)),
    Rule("rows leave", _lets_rows_leave, needs=("a state of rows", "in pieces")),
)
