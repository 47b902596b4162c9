"""Rules that a whole model must keep, checked before the first step."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError, Rule, judge, path_of
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import State, select_rows, tensors_of, without_states
from lit_retrieval.mixers.checks import constants_moved
from lit_retrieval.mixers.checks.case import relative_difference
from lit_retrieval.models.whole_model import takes_positions

_SHAPE = (2, 5)  # batch and time of the tokens
_ALLOWED = 0.02  # of the largest logit; enough for any precision, and for TF32


class _Network(NamedTuple):
    """A network under check, in evaluation mode.

    Args:
        network: The network.
        vocab_size: The number of its tokens.
        tokens: Two rows of tokens, `(2, time)`.
        allowed: The largest difference, as a share of the largest logit.
    """

    network: nn.Module
    vocab_size: int
    tokens: Tensor
    allowed: float

    @property
    def first(self) -> int:
        """The length of the first piece."""
        return 2 * self.tokens.shape[1] // 5

    def read(self, *lengths: int) -> tuple[Tensor, State]:
        """Logits and last state, with the tokens split into pieces of these lengths; into one piece by default."""
        pieces, state = [], None
        for piece in self.tokens.split(list(lengths) or [self.tokens.shape[1]], 1):  # type: ignore[no-untyped-call]
            logits, state = self.network(piece, state)
            pieces.append(logits)
        return torch.cat(pieces, 1), state

    def compare(self, actual: Tensor, expected: Tensor, rule: str) -> str:
        """The difference in words; raises `BrokenRuleError` if it is too large."""
        difference = relative_difference(actual, expected)
        if not difference <= self.allowed:  # true for nan, too
            raise BrokenRuleError(f"{rule}; they differ by {difference:.1e} of the largest logit")
        return f"differs by {difference:.1e}"


def check_network(network: nn.Module, vocab_size: int, device: torch.device) -> None:
    """Raise a one-line `UserError` if a whole model, in evaluation mode and on the device, breaks a rule."""
    tokens = torch.arange(_SHAPE[0] * _SHAPE[1], device=device).view(_SHAPE) % vocab_size
    with constants_moved(network):
        refuse_network(network, path_of(network), vocab_size, tokens, _ALLOWED)


@torch.no_grad()
def refuse_network(network: nn.Module, name: str, vocab_size: int, tokens: Tensor, allowed: float) -> None:
    """The same for given tokens, `(2, time)`; differences up to `allowed` of the largest logit are accepted."""
    for verdict in judge(_RULES, _Network(network, vocab_size, tokens, allowed)):
        if verdict.result == "FAIL":
            raise UserError(f"{name} breaks the rule `{verdict.rule}`: {verdict.shown}")


@torch.no_grad()
def agrees_in_pieces(network: nn.Module, vocab_size: int, tokens: Tensor, allowed: float) -> bool:
    """Whether a network gives the same logits in pieces of several tokens as in one call."""
    (verdict,) = judge([Rule("in pieces", _agrees_in_pieces)], _Network(network, vocab_size, tokens, allowed))
    return verdict.result == "pass"


def _returns_logits_and_state(case: _Network) -> str:
    result = case.network(case.tokens, None)
    if not (isinstance(result, tuple) and len(result) == 2):
        raise BrokenRuleError(f"forward must return (logits, state), got {type(result).__name__}")
    expected, logits = (*case.tokens.shape, case.vocab_size), result[0]
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise BrokenRuleError(f"logits must be (batch, time, vocab_size) = {expected}, got {shape}")
    return str(expected)


def _predicts_where_asked(case: _Network) -> str:
    if not takes_positions(case.network):
        raise NotApplicableError("it predicts everywhere")
    positions = torch.tensor([1, case.tokens.numel() - 1], device=case.tokens.device)
    with without_states():
        there, _ = case.network(case.tokens, None, positions)
    expected = case.read()[0].flatten(0, 1)[positions]
    if there.shape != expected.shape:
        raise BrokenRuleError(f"logits at positions must be {tuple(expected.shape)}, got {tuple(there.shape)}")
    return case.compare(there, expected, "logits at positions must be those of all positions")


def _has_rows(case: _Network) -> str:
    _, state = case.read()
    batch = len(case.tokens)
    if wrong := [tuple(one.shape) for one in tensors_of(state) if not one.ndim or len(one) != batch]:
        raise BrokenRuleError(f"tensors of a state must have the batch of {batch} first, got {wrong[0]}")
    select_rows(state, torch.arange(batch, device=case.tokens.device))  # raises for an invalid state
    return "the batch comes first"


def _agrees_in_pieces(case: _Network) -> str:
    whole, _ = case.read()
    pieces, _ = case.read(case.first, 1, case.tokens.shape[1] - case.first - 1)
    rule = "tokens in several calls, with the state handed on, must give what one call gives"
    return case.compare(pieces, whole, rule)


def _lets_rows_leave(case: _Network) -> str:
    rows, first = torch.tensor([1, 1], device=case.tokens.device), case.first + 1
    _, state = case.network(case.tokens[:, :first], None)
    rest, _ = case.network(case.tokens[rows, first:], select_rows(state, rows))
    rule = "a row must go on without the others, and twice, as it does in the batch"
    return case.compare(rest, case.read()[0][rows, first:], rule)


_RULES: tuple[Rule[_Network], ...] = (
    Rule("logits and a state", _returns_logits_and_state),
    Rule("logits where asked", _predicts_where_asked, needs=("logits and a state",)),
    Rule("a state of rows", _has_rows, needs=("logits and a state",)),
    Rule("in pieces", _agrees_in_pieces, needs=("logits and a state",)),
    Rule("rows leave", _lets_rows_leave, needs=("a state of rows", "in pieces")),
)
