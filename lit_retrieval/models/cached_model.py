"""Causal language models of transformers and fla, whose cache is the state."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import State, states_are_wanted
from lit_retrieval.models.mixer_stack import select_positions

_CACHES = ("past_key_values", "cache_params")  # a cache under another name would be swallowed by **kwargs


def prepare_fla(configuration: type) -> None:
    """Let a model of transformers with this class of configuration run on a CPU.

    Where fla is installed, some modules of transformers take its functions when they are imported: ours must be there.
    """
    module = find_spec(configuration.__module__.replace("configuration_", "modeling_"))
    if module is None or module.origin is None or find_spec("fla") is None:
        return
    if '"fla"' in Path(module.origin).read_text(encoding="utf-8"):
        from lit_retrieval.ops.fla_cpu import install

        install()


class CacheState:
    """A cache as a state: rows may leave it and be repeated.

    Args:
        cache: What the model returned.
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
        """What the layers keep, each with the batch first; counts of tokens have no batch, and are left out."""
        return [tensor for layer in self.cache.layers for tensor in _tensors(vars(layer)) if tensor.ndim > 1]


class CachedModel(nn.Module):
    """A causal language model of transformers or fla as a network of `WholeModel`.

    Args:
        model: The model.
        vocab_size: Tokens that are predicted: the first of the model's.
        name: What errors call it.

    Attributes:
        takes_several: Whether several tokens at a time may follow a state. If not, they are read one by one: some
            models forget their state there without a word.
        is_checked: Whether it is known to keep the rules of `network_rules`.
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
        """Tokens of the longest text that the model has places for; None if its configuration has no limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def forward(
        self, tokens: Tensor, state: State = None, positions: Tensor | None = None
    ) -> tuple[Tensor, CacheState | None]:
        """Predict the token after each position.

        Args:
            tokens: Token ids, `(batch, time)`.
            state: What an earlier call returned, which must not be used again; None before the first token.
            positions: Where to predict, flat indices into `(batch * time)`, `(selected,)`; everywhere if absent. The
                head runs there only.

        Returns:
            Logits, `(batch, time, vocab_size)`, or `(selected, vocab_size)` at `positions`; and the state after the
            last token, None where none is wanted.
        """
        if state is None or tokens.shape[1] == 1 or self.takes_several:
            return self._read(tokens, state, positions)
        pieces = []
        for token in tokens.split(1, 1):  # type: ignore[no-untyped-call]
            logits, state = self._read(token, state, None)
            pieces.append(logits)
        return select_positions(torch.cat(pieces, 1), positions), state

    def _read(
        self, tokens: Tensor, state: CacheState | None, positions: Tensor | None
    ) -> tuple[Tensor, CacheState | None]:
        before = 0 if state is None else state.length
        after, is_kept = before + tokens.shape[1], state is not None or states_are_wanted()
        given: dict[str, Any] = {} if state is None else {self._cache: state.cache}
        if self._takes_places:  # some count them from 0 in every call
            given["position_ids"] = torch.arange(before, after, device=tokens.device)[None]
        with self._head_at(positions):
            output = self.model(input_ids=tokens, use_cache=is_kept, return_dict=True, **given)
        logits = output.logits[..., : self.vocab_size]
        cache = output.get(self._cache)
        if is_kept and cache is None:
            raise UserError(f"{self.name} must return its cache in {self._cache}; use another architecture")
        return logits if positions is None else logits[0], CacheState(cache, after) if is_kept else None

    @contextmanager
    def _head_at(self, positions: Tensor | None) -> Iterator[None]:
        """Let the head read the vectors at some positions alone, as if they were one row."""
        if positions is None:
            yield
            return

        def select(head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return select_positions(inputs[0], positions)[None], *inputs[1:]

        handle = self.model.get_output_embeddings().register_forward_pre_hook(select)
        try:
            yield
        finally:
            handle.remove()


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]
