"""Causal language models of transformers and fla, whose cache is the state."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import State, states_are_wanted
from lit_retrieval.models.mixer_stack import select_positions
from lit_retrieval.ops import fla_cpu

_ANY = 2**62  # tokens in one call
_PIECE = 256  # fewest tokens in a call; shorter calls are slower, because each call reads all weights
_TOGETHER = 2**14  # tokens of a group of rows on a CPU; more do not fit into its caches
_EXTRA_PLACES = 8  # position vectors beyond the number of positions, such as the two of opt
_CACHES = ("past_key_values", "cache_params")  # a cache under another name would be swallowed by **kwargs
_PLACES = "max_position_embeddings"
_CHANGING = ("dynamic", "longrope")  # rotary positions whose angles change in longer texts, except for cached keys


def prepare_fla(configuration: type) -> None:
    """Let a model of transformers with this class of configuration run on a CPU.

    If fla is installed, some modules of transformers import its functions, so ours must be in place before.
    """
    module = find_spec(configuration.__module__.replace("configuration_", "modeling_"))
    if module is None or module.origin is None or find_spec("fla") is None:
        return
    if '"fla"' in Path(module.origin).read_text(encoding="utf-8"):
        fla_cpu.install()


class CacheState:
    """A cache as a state, from which rows can be removed or repeated.

    Args:
        cache: The cache that the model returned.
        length: Tokens read so far.
    """

    def __init__(self, cache: Any, length: int) -> None:
        self.cache = cache
        self.length = length

    def select_rows(self, rows: Tensor) -> "CacheState":
        """Keep the given rows, see `mixers.select_rows`; the cache is changed in place."""
        self.cache.reorder_cache(rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows)
        return self

    def tensors(self) -> list[Tensor]:
        """The tensors in the layers' caches, each with the batch first; token counts, which have none, are left out."""
        return [tensor for layer in self.cache.layers for tensor in _tensors(vars(layer)) if tensor.ndim > 1]


class CachedModel(nn.Module):
    """A causal language model of transformers or fla as a network of `WholeModel`.

    Args:
        model: The model.
        vocab_size: Number of tokens to predict, the first ones of the model's vocabulary.
        name: The model's name in errors.

    Attributes:
        takes_several: Whether the model can read several tokens at once after a state. If not, they are read one by
            one, because some models then silently forget their state.
        is_checked: Whether the model is known to keep the rules of `network_rules`.
    """

    def __init__(self, model: Any, vocab_size: int, name: str) -> None:
        super().__init__()
        self.model = model
        self.name = name
        self.vocab_size = vocab_size
        self.takes_several = self.is_checked = False
        taken = inspect.signature(model.forward).parameters
        caches = [one for one in _CACHES if one in taken]
        if not caches:
            raise UserError(
                f"{name} must take its cache in an argument {' or '.join(_CACHES)} of forward, which rows can leave; "
                "use another architecture"
            )
        self._cache, self._takes_places = caches[0], "position_ids" in taken

    @property
    def most_places(self) -> int | None:
        """The model's maximum number of positions; None if there is no limit.

        The limit in the configurations of fla's recurrences is not used by anything; fla's attention has an attribute.
        """
        if type(self.model).__module__.startswith("fla."):
            is_used = self.has_vectors_of_places or any(hasattr(part, _PLACES) for part in self.model.modules())
            return self._configured_places if is_used else None
        known = (self._configured_places, self.most_cached_places)
        return min((places for places in known if places is not None), default=None)

    @property
    def most_cached_places(self) -> int | None:
        """The length up to which logits are the same with and without a cache; None if there is no limit.

        LongRoPE uses other angles in texts longer than its `original_max_position_embeddings`.
        """
        config = self.model.config.get_text_config()
        rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
        kinds = [rope, *(one for one in rope.values() if isinstance(one, dict))]  # of all layers, or by their kind
        changing = [one for one in kinds if one.get("rope_type") in _CHANGING]
        known: list[Any] = [one.get(f"original_{_PLACES}") or self._configured_places for one in changing]
        return min(known, default=None)

    @property
    def _configured_places(self) -> int | None:
        return getattr(self.model.config.get_text_config(), _PLACES, None)

    @property
    def has_vectors_of_places(self) -> bool:
        """Whether the model has learned position vectors, as in gpt2 and opt; a longer text is then an error."""
        places, words = self._configured_places or 0, self.model.get_input_embeddings()
        tables = [part for part in self.model.modules() if isinstance(part, nn.Embedding) and part is not words]
        return any(places <= table.num_embeddings <= places + _EXTRA_PLACES for table in tables)

    def forward(
        self, tokens: Tensor, state: State = None, positions: Tensor | None = None
    ) -> tuple[Tensor, CacheState | None]:
        """Predict the token after each position.

        Args:
            tokens: Token ids, `(batch, time)`.
            state: The state that an earlier call returned, not to be used again; None before the first token.
            positions: Positions to predict at, as flat indices into `(batch * time)`, `(selected,)`; all if absent. The
                head runs only there.

        Returns:
            Logits, `(batch, time, vocab_size)`, or `(selected, vocab_size)` at `positions`; and the state after the
            last token, or None inside `without_states`.
        """
        alone = state is None and not states_are_wanted() and tokens.device.type == "cpu"
        if alone and positions is not None and len(positions):
            return self._read_in_groups(tokens, positions), None
        return self._read_on(tokens, state, positions)

    def _read_in_groups(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """The logits at the positions, `(selected, vocab_size)`; no row is read far beyond its last position."""
        rows, time = tokens.shape
        row, place = positions // time, positions % time
        needed = torch.zeros(rows, dtype=torch.int64).scatter_reduce_(0, row, place + 1, "amax")
        found, order = [], []
        for group in _of_similar_lengths(needed):
            length, number = int(needed[group].max()), torch.full((rows,), -1)
            number[group] = torch.arange(len(group))
            asked = (number[row] >= 0).nonzero()[:, 0]
            logits, _ = self._read_on(tokens[group, :length], None, number[row[asked]] * length + place[asked])
            found.append(logits)
            order.append(asked)
        return torch.cat(found)[torch.cat(order).argsort()]

    def _read_on(
        self, tokens: Tensor, state: CacheState | None, positions: Tensor | None
    ) -> tuple[Tensor, CacheState | None]:
        """Read tokens in as many calls as needed; the head runs once, in the last call, on the vectors of all."""
        vectors: list[Tensor] = []

        def keep(read: Tensor) -> Tensor:
            vectors.append(read)
            return read[0, :1][None]  # nobody asks for these logits; with the strides of `read` they would take a bmm

        def select(read: Tensor) -> Tensor:
            whole = torch.cat([*vectors, read], 1) if vectors else read
            return whole if positions is None else select_positions(whole, positions)[None]

        *others, last = tokens.split(self._most_tokens(state), 1)  # type: ignore[no-untyped-call]
        is_kept = state is not None or states_are_wanted()
        for piece in others:
            _, state = self._read(piece, state, keep, True)
        logits, state = self._read(last, state, select, is_kept or state is not None)
        return logits if positions is None else logits[0], state if is_kept else None

    def _most_tokens(self, state: CacheState | None) -> int:
        """The number of tokens per call; attention with a window computes all scores of a call and masks the rest."""
        if not self.takes_several:
            return _ANY if state is None else 1
        window = getattr(self.model.config.get_text_config(), "sliding_window", None)
        return _ANY if window is None or torch.is_grad_enabled() else max(_PIECE, 2 * window)

    def _read(
        self, tokens: Tensor, state: CacheState | None, select: Callable[[Tensor], Tensor], is_kept: bool
    ) -> tuple[Tensor, CacheState | None]:
        before = 0 if state is None else state.length
        after = before + tokens.shape[1]
        given: dict[str, Any] = {} if state is None else {self._cache: state.cache}
        if self._takes_places:  # some models count positions from 0 in every call
            given["position_ids"] = torch.arange(before, after, device=tokens.device)[None]
        with self._head_on(select):
            output = self.model(input_ids=tokens, use_cache=is_kept, return_dict=True, **given)
        cache = output.get(self._cache)
        if is_kept and cache is None:
            raise UserError(f"{self.name} must return its cache in {self._cache}; use another architecture")
        return output.logits[..., : self.vocab_size], CacheState(cache, after) if is_kept else None

    @contextmanager
    def _head_on(self, select: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Let the head read only selected vectors of the last layer, `(batch, time, hidden_size)`."""
        handle = self.model.get_output_embeddings().register_forward_pre_hook(
            lambda head, inputs: (select(inputs[0]), *inputs[1:])
        )
        try:
            yield
        finally:
            handle.remove()


def _of_similar_lengths(lengths: Tensor) -> list[Tensor]:
    """Group the indices of non-empty rows, longest first, with at most a quarter of padding in each group."""
    groups: list[Tensor] = []
    order = lengths.argsort(descending=True, stable=True)[: int(lengths.count_nonzero())]
    start = 0
    for at in range(1, len(order) + 1):
        longest = int(lengths[order[start]])
        if at == len(order) or 4 * int(lengths[order[at]]) < 3 * longest or (at - start + 1) * longest > _TOGETHER:
            groups.append(order[start:at])
            start = at
    return groups


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]
