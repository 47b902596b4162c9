"""A mixer under check, its inputs, and how far its results may differ."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError
from lit_retrieval.mixers.mixer import State, evaluating, without_states

# Largest relative difference between two ways to compute the same; recurrences accumulate many rounding errors.
_ALLOWED = {torch.float64: 1e-9, torch.float32: 5e-4, torch.bfloat16: 0.2, torch.float16: 0.05}
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_ALLOWED_IN_TF32 = 0.02  # a GPU may multiply float32 numbers in TF32, which has 10 bits after the point


class Case(NamedTuple):
    """A mixer to check.

    Args:
        mixer: The mixer, in evaluation mode; rules do not change it.
        hidden_size: Elements of each token's vector.
        make: Makes the same mixer with other weights; None if no rule needs one.
        saved: Names in its state_dict before it ran.
    """

    mixer: nn.Module
    hidden_size: int
    make: Callable[[], nn.Module] | None = None
    saved: frozenset[str] = frozenset()

    @classmethod
    def of(cls, mixer: nn.Module, hidden_size: int, make: Callable[[], nn.Module] | None = None) -> "Case":
        """The case of a mixer that has not run yet."""
        return cls(mixer, hidden_size, make, frozenset(mixer.state_dict()))

    @property
    def weight(self) -> Tensor:
        """A tensor with the device and the dtype of the mixer's weights."""
        tensors = (*self.mixer.parameters(), *self.mixer.buffers())
        floating = (one for one in tensors if one.is_floating_point())
        return next(floating, torch.zeros(0))

    def draw(self, batch: int, time: int, seed: int = 0) -> Tensor:
        """Random inputs, `(batch, time, hidden_size)`; the global random state is not changed."""
        drawn = torch.randn(batch, time, self.hidden_size, generator=torch.Generator().manual_seed(seed))
        return drawn.to(self.weight)

    def run(self, x: Tensor, lengths: Sequence[int] = ()) -> tuple[Tensor, State]:
        """Outputs and last state of the mixer, with `x (batch, time, hidden_size)` split into pieces."""
        outputs, state = [], None
        for piece in x.split(list(lengths), 1) if lengths else (x,):  # type: ignore[no-untyped-call]
            y, state = self.mixer(piece, state)
            outputs.append(y)
        return torch.cat(outputs, 1), state

    @contextmanager
    def training(self) -> Iterator[None]:
        """A block in training mode, without states and PyTorch's dropout; modes and buffers are restored after it."""
        kept = {name: (one, one.clone()) for name, one in self.mixer.named_buffers() if not one.is_inference()}
        with evaluating(self.mixer), without_states():  # `evaluating` restores the modes of all parts
            self.mixer.train()
            for part in self.mixer.modules():
                if isinstance(part, _DROPOUTS):
                    part.eval()
            try:
                yield
            finally:
                for name, (buffer, before) in kept.items():
                    buffer.data.copy_(before)
                    path, _, leaf = name.rpartition(".")
                    setattr(self.mixer.get_submodule(path), leaf, buffer)  # forward may have put another there

    def as_dtype(self, dtype: torch.dtype) -> "Case":
        """The case with a copy of the mixer in another dtype."""
        if any(one.is_complex() for one in (*self.mixer.parameters(), *self.mixer.buffers())):
            raise NotApplicableError("it has complex numbers, which become real in another dtype")
        return self._replace(mixer=deepcopy(self.mixer).to(dtype))

    def allowed(self, dtype: torch.dtype) -> float:
        """The largest relative difference that rounding may make."""
        dtype = dtype.to_real()
        return _ALLOWED_IN_TF32 if dtype == torch.float32 and self.weight.is_cuda else _ALLOWED[dtype]

    def compare(
        self, actual: Tensor, expected: Tensor, what: str, dtype: torch.dtype | None = None, floor: float = 0.0
    ) -> str:
        """Raise `BrokenRuleError` unless two tensors are the same up to rounding; returns the difference and its limit.

        Args:
            actual, expected: Tensors of one shape.
            what: What must hold, and the fix, for the message.
            dtype: The dtype whose rounding errors to allow; that of `actual` if absent.
            floor: See `relative_difference`.
        """
        limit = self.allowed(dtype or actual.dtype)
        difference = relative_difference(actual, expected, floor)
        if not difference <= limit:  # true for nan, too
            raise BrokenRuleError(f"{what}; they differ by {difference:.1e} of the largest, allowed is {limit:.0e}")
        return f"differs by {difference:.1e} (allowed {limit:.0e})"


def relative_difference(actual: Tensor, expected: Tensor, floor: float = 0.0) -> float:
    """The largest difference, as a share of the largest element of `expected`, or of `floor` if that is larger."""
    if not expected.numel():
        return 0.0
    widest = torch.complex128 if expected.is_complex() else torch.float64
    actual, expected = (one.detach().to("cpu", widest) for one in (actual, expected))
    largest = max(float(expected.abs().max()), floor)
    return float((actual - expected).abs().max()) / (largest or 1.0)
