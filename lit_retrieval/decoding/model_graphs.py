"""Runs decoding steps of one token as CUDA graphs: one launch in place of hundreds."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_retrieval.decoding.generate import DecodableModel, takes_several
from lit_retrieval.errors import one_line
from lit_retrieval.mixers import FixedState, fix_shapes, free_shapes, map_tensors, tensors_of
from lit_retrieval.models import CudaGraphs, Record


class _Graph(NamedTuple):
    """A recorded step, and the memory that it reads and writes: `tokens (rows, 1)`, their `logits`, and the state."""

    tokens: Tensor
    state: Any
    logits: Tensor
    replay: Callable[[], None]


class ModelGraphs:
    """A model whose steps of one token run as CUDA graphs, if its state can have fixed shapes.

    The number of rows is padded to a power of two, and so is the number of tokens that attention has room for, so few
    graphs are recorded. All states share the same memory. Graphs are used until this memory is too small, or the
    model's weights move to other memory. A state that counts tokens in an int, as in fla's attention, has no fixed
    shapes; its steps run without graphs.

    Args:
        model: The model.
        record: Makes the graphs.
    """

    def __init__(self, model: DecodableModel, record: Record | None = None) -> None:
        self._model = model
        self._record = record
        self._graphs: dict[object, _Graph] = {}
        self._memory: list[Tensor] = []
        self._made_for: object = None
        self._graph: _Graph | None = None
        self._returned: Any = None
        self._room = 0.0
        self._is_on = True

    @property
    def takes_several(self) -> bool:
        """Whether a call with a state may have several tokens."""
        return takes_several(self._model)

    def __call__(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Tensor, Any]:
        """Read tokens; see `DecodableModel`. The logits and the state are overwritten by the next call."""
        can_replay = tokens.shape[1] == 1 and self._is_on and not torch.is_autocast_enabled(tokens.device.type)
        graph = self._prepare(len(tokens), state) if can_replay and tensors_of(state) else None
        if graph is None:
            return self._model(tokens, free_shapes(state), positions)
        rows = len(tokens)
        graph.tokens[:rows].copy_(tokens)
        graph.replay()
        self._room -= 1
        logits = graph.logits[:rows]
        return logits if positions is None else logits.flatten(0, 1).index_select(0, positions), self._returned

    def _prepare(self, rows: int, state: Any) -> _Graph | None:
        """The graph for a step from this state, which is copied into the graph's memory; None if there is no graph."""
        if state is self._returned and self._room:
            return self._graph
        self._forget_others()
        state = fix_shapes(state)
        if not _has_fixed_shapes(state):
            self._is_on = False
            return None
        key = (_capacity(rows), _form(state))
        if key not in self._graphs:
            state = map_tensors(torch.clone, state)  # the state may be in the memory that recording overwrites
            self._try_to_record(key, state)
        self._graph = self._graphs.get(key)
        if self._graph is not None:
            map_tensors(lambda old, new: old[:rows].copy_(new), self._graph.state, state)
            self._returned = map_tensors(lambda one: one[:rows], self._graph.state)
            self._room = _room(state)
        return self._graph

    def _forget_others(self) -> None:
        """Drop graphs of weights that have moved to other memory, as after `to`."""
        module: Any = self._model
        tensors = [*module.parameters(), *module.buffers()] if isinstance(module, torch.nn.Module) else []
        made_for = [getattr(module, "training", False), *(one.data_ptr() for one in tensors)]
        if made_for != self._made_for:
            self._graphs, self._made_for = {}, made_for

    def _try_to_record(self, key: tuple[int, object], state: Any) -> None:
        """Record a step from states of this form, if it returns a state of the same shapes."""
        static = self._place(key[0], state)
        tokens = torch.zeros(key[0], 1, dtype=torch.int64, device=tensors_of(state)[0].device)
        logits, new_state = self._model(tokens, static)  # compiles kernels
        if _form(new_state) != key[1]:
            self._is_on = False
            return
        logits = torch.empty_like(logits)

        def step() -> None:
            found, new = self._model(tokens, static)
            logits.copy_(found)
            map_tensors(lambda old, one: old.copy_(one), static, new)

        self._record = self._record or CudaGraphs()
        try:
            self._graphs[key] = _Graph(tokens, static, logits, self._record(step))
        except RuntimeError as error:
            self._is_on = False
            reason = one_line(error)[:200]
            warnings.warn(f"decoding can't be recorded as a CUDA graph, and runs without: {reason}", stacklevel=2)

    def _place(self, rows: int, state: Any) -> Any:
        """A state of zeros for this number of rows, in the memory that all graphs share."""
        tensors = tensors_of(state)
        if [(one.dtype, one.device) for one in self._memory] != [(one.dtype, one.device) for one in tensors]:
            self._graphs, self._memory = {}, [one.new_empty(0) for one in tensors]
        sizes = [rows * one[0].numel() for one in tensors]
        if any(size > len(part) for size, part in zip(sizes, self._memory, strict=True)):
            pairs = zip(sizes, self._memory, strict=True)
            self._graphs, self._memory = {}, [part.new_empty(max(size, len(part))) for size, part in pairs]
        parts = iter(self._memory)
        return map_tensors(lambda one: next(parts)[: rows * one[0].numel()].view(rows, *one.shape[1:]).zero_(), state)


def _capacity(rows: int) -> int:
    return 1 << (rows - 1).bit_length()


def _has_fixed_shapes(state: Any) -> bool:
    """Whether a state consists of tensors and `FixedState`s only; an int elsewhere would count tokens."""
    if isinstance(state, tuple) and not isinstance(state, FixedState):
        return all(_has_fixed_shapes(part) for part in state)
    return state is None or isinstance(state, Tensor | FixedState)


def _form(state: Any) -> object:
    """The form of a state: shapes without the rows, dtypes and ints. States of one form share a graph."""
    if isinstance(state, tuple):
        return tuple(_form(part) for part in state)
    return (state.shape[1:], state.dtype) if isinstance(state, Tensor) else state


def _room(state: Any) -> float:
    """Number of steps until a part of the state needs another form."""
    if isinstance(state, FixedState):
        return state.room
    return min((_room(part) for part in state), default=math.inf) if isinstance(state, tuple) else math.inf
