"""Several mixers side by side on the same input."""

from typing import Any

from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers.auxiliary_loss import has_auxiliary_loss, run_mixer
from lit_retrieval.mixers.fla_layer import make_mixer
from lit_retrieval.mixers.mixer import Inspectable, MixerFactory, State


class Parallel(nn.Module):
    """Mixers side by side, such as attention beside a recurrence: each reads the same input, and the sum is the output.

    Args:
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0; it is that of each mixer.
        mixers: The mixers, two or more.
    """

    def __init__(self, hidden_size: int, layer_idx: int, mixers: list[MixerFactory]) -> None:
        super().__init__()
        if len(mixers) < 2:
            raise UserError(f"mixers of Parallel must be two or more, got {len(mixers)}; set model.stages...mixers")
        self.mixers = nn.ModuleList(make_mixer(factory, hidden_size, layer_idx) for factory in mixers)

    @property
    def has_auxiliary_loss(self) -> bool:
        """Whether one of the mixers has one."""
        return any(has_auxiliary_loss(mixer) for mixer in self.mixers)

    def forward(self, x: Tensor, state: tuple[State, ...] | None = None, is_token: Tensor | None = None) -> Any:
        """Mix tokens along time; see `Mixer`. The state is a tuple of those of the mixers, the loss their sum."""
        states = state or (None,) * len(self.mixers)
        results = [run_mixer(mixer, x, own, is_token) for mixer, own in zip(self.mixers, states, strict=True)]
        y, new_states = sum((y for y, _, _ in results[1:]), results[0][0]), tuple(own for _, own, _ in results)
        losses = [loss for _, _, loss in results if loss is not None]
        return (y, new_states, sum(losses[1:], losses[0])) if losses else (y, new_states)

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """The maps of all mixers; a kind that an earlier mixer has too gets the mixer's number."""
        maps: dict[str, Tensor] = {}
        for number, mixer in enumerate(self.mixers):
            for kind, one in mixer.inspect(x).items() if isinstance(mixer, Inspectable) else ():
                maps[f"{kind} of mixer {number}" if kind in maps else kind] = one
        return maps

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample after `length` tokens."""
        return sum(mixer.state_size(length) for mixer in self.mixers)  # type: ignore[operator]
