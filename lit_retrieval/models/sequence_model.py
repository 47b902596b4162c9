"""A language model as a list of mixers between a tied embedding and head."""

import contextlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import MixerFactory, State, make_mixer
from lit_retrieval.models.embedding import sinusoidal_embedding
from lit_retrieval.models.initialization import draw_weights, rescale_outputs
from lit_retrieval.models.mixer_stack import MixerStack, select_positions
from lit_retrieval.models.rms_norm import RMSNorm
from lit_retrieval.ranges import check_above, check_at_least, check_memory, check_numbers

_MANY, _MANY_LAYERS = 10**8, 10**4  # fewest weights and layers for which the memory of a model is estimated
_BYTES, _BYTES_OF_A_LAYER = 4, 20_000  # of a float32, and of a layer's Python objects


@dataclass
class Stage:
    """A part of a model: a block of mixers, repeated.

    Args:
        mixers: The mixers of one block; a LLaMA block is [Attention, SwiGLU], a Mamba block [Mamba].
        repeat: The number of such blocks.
    """

    mixers: list[MixerFactory]
    repeat: int = 1


def _check_memory(vocab_size: int, hidden_size: int, stages: list[Stage], has_head: bool) -> None:
    """Raise `UserError` if the weights of a large model do not fit into memory; allocates nothing."""
    num_layers = sum(stage.repeat * len(stage.mixers) for stage in stages)
    if hidden_size * (vocab_size + num_layers * hidden_size) < _MANY and num_layers < _MANY_LAYERS:
        return
    elements, where = (1 + has_head) * vocab_size * hidden_size, "model.hidden_size or model.stages...repeat"
    check_memory("the embedding and a head of its own" if has_head else "the embedding", elements * _BYTES, where)
    for stage in stages:
        for factory in stage.mixers:
            with torch.random.fork_rng(devices=[]), torch.device("meta"), contextlib.suppress(NotImplementedError):
                mixer = make_mixer(factory, hidden_size, 0)
                elements += stage.repeat * sum(parameter.numel() for parameter in mixer.parameters())
    layers = num_layers * _BYTES_OF_A_LAYER
    check_memory(f"the model's {num_layers:,} layers with {elements:,} weights", elements * _BYTES + layers, where)


class SequenceModel(MixerStack):
    """Predicts each next token: h = h + mixer(RMSNorm(h)) for one mixer after the other, then RMSNorm and the head.

    By default the embedding and the head share their weights (weight tying). A hybrid is a list of two stages.

    Args:
        vocab_size: Number of tokens.
        hidden_size: Elements of each token's vector.
        stages: The mixers, from the embedding to the head.
        embedding: `sinusoidal` for the paper's frozen embedding, or `learned`.
        norm: `rms`, or `none` for no norms, as in the paper's theory (arXiv:2402.18510, Definitions 3.1 and 3.4).
        initializer_range: Standard deviation of the initial weights of all layers and a learned embedding, see
            `draw_weights`; each mixer's own initialization if absent.
        norm_eps: Epsilon that the norms add to the mean square, see `RMSNorm`; 1e-5 if absent.
        head: `untied` gives the head its own weights, initialized like the embedding; tied to the embedding if absent.
        residual: `rescaled` starts with smaller outputs of mixers, see `rescale_outputs`.

    Attributes:
        most_places: Maximum length, in tokens, of the texts that the weights were trained on, if it is known.
    """

    head: nn.Parameter | None
    most_places: int | None = None

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        stages: list[Stage],
        embedding: Literal["sinusoidal", "learned"] = "sinusoidal",
        norm: Literal["rms", "none"] = "rms",
        initializer_range: float | None = None,
        norm_eps: float | None = None,
        head: Literal["untied"] | None = None,
        residual: Literal["rescaled"] | None = None,
    ) -> None:
        super().__init__()
        check_numbers("model", vocab_size=(vocab_size, 1), hidden_size=(hidden_size, 1))
        for stage in stages:
            check_at_least("repeat", stage.repeat, 1, "model.stages...repeat")
        _check_memory(vocab_size, hidden_size, stages, head is not None)
        if embedding == "sinusoidal":
            self.register_buffer("embedding", sinusoidal_embedding(vocab_size, hidden_size))
        else:
            self.embedding = _learned_embedding(vocab_size, hidden_size)
        factories = [factory for stage in stages for _ in range(stage.repeat) for factory in stage.mixers]
        if not factories:
            raise UserError("stages must have one mixer or more, got none; write a class_path under mixers")
        self.mixers = nn.ModuleList(
            make_mixer(factory, hidden_size, layer_idx) for layer_idx, factory in enumerate(factories)
        )
        self.head = None if head is None else _learned_embedding(vocab_size, hidden_size)
        if initializer_range is not None:
            check_above("initializer_range", initializer_range, 0, "model.initializer_range")
            draw_weights(self.mixers, initializer_range)
            for learned in (self.embedding, self.head):
                if isinstance(learned, nn.Parameter):
                    nn.init.normal_(learned, std=initializer_range)
        if residual == "rescaled":
            rescale_outputs(self.mixers)
        eps = 1e-5 if norm_eps is None else norm_eps
        check_above("norm_eps", eps, 0, "model.norm_eps")
        if norm == "none" and norm_eps is not None:
            raise UserError("model.norm_eps is for norms; leave it out, or set model.norm to rms")
        make_norm = (lambda: RMSNorm(hidden_size, eps)) if norm == "rms" else nn.Identity
        self.final_norm = make_norm()  # before the others: an optimizer's state in a checkpoint follows this order
        self.norms = nn.ModuleList(make_norm() for _ in factories)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.embedding)

    def forward(self, tokens: Tensor, state: State = None, positions: Tensor | None = None) -> tuple[Tensor, State]:
        """Predict the token after each position.

        Args:
            tokens: Token ids, int64 `(batch, time)`, any time >= 1.
            state: The state that an earlier call returned, not to be used again; None before the first token.
            positions: Positions to predict at, indices into the flattened `(batch * time)`, int64 `(selected,)`; all if
                absent. The head, the largest product of a model with many tokens, runs only there.

        Returns:
            Logits, `(batch, time, vocab_size)`, or `(selected, vocab_size)` at `positions`, and the state after the
            last token.
        """
        hidden, new_state = self.read(tokens, state, positions)
        return self.predict(hidden), new_state

    def read(self, tokens: Tensor, state: State = None, positions: Tensor | None = None) -> tuple[Tensor, State]:
        """The residual stream after the last mixer, `(batch, time, hidden_size)`, and the state; see `forward`.

        At `positions` the vectors are `(selected, hidden_size)`.
        """
        hidden, new_state = self.mix(F.embedding(tokens, self.embedding), state)
        return select_positions(hidden, positions), new_state

    def predict(self, hidden: Tensor) -> Tensor:
        """The logits of vectors of the residual stream, `(..., hidden_size)` to `(..., vocab_size)`."""
        return F.linear(self.final_norm(hidden), self.embedding if self.head is None else self.head)


def _learned_embedding(vocab_size: int, hidden_size: int) -> nn.Parameter:
    """Vectors of length 1, so that the token stays visible in the residual stream and initial logits have size 1."""
    return nn.Parameter(hidden_size**-0.5 * torch.randn(vocab_size, hidden_size))
