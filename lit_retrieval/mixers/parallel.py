"""Several mixers side by side on the same input."""

from torch import Tensor, nn

from lit_retrieval.errors import UserError
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

    def forward(self, x: Tensor, state: tuple[State, ...] | None = None) -> tuple[Tensor, tuple[State, ...]]:
        """Mix tokens along time; see `Mixer.forward`. The state is a tuple of those of the mixers."""
        states = state or (None,) * len(self.mixers)
        results = [mixer(x, own) for mixer, own in zip(self.mixers, states, strict=True)]
        return sum((y for y, _ in results[1:]), results[0][0]), tuple(own for _, own in results)

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
