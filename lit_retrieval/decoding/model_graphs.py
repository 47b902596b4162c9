"""Steps of one token as CUDA graphs: one launch in place of hundreds."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_retrieval.decoding.generate import DecodableModel
from lit_retrieval.mixers import map_tensors, tensors_of
from lit_retrieval.models import CudaGraphs, Record


class _Graph(NamedTuple):
    """A recorded step, and the memory that it reads and writes: `tokens (rows, 1)`, and `logits` and state of each."""

    tokens: Tensor
    state: Any
    logits: Tensor
    replay: Callable[[], None]


class ModelGraphs:
    """A model whose steps of one token run as CUDA graphs, if its state is tensors whose shapes do not change.

    Attention's state grows, and its steps run as they are. Rows are added up to a power of two, so few graphs are
    recorded; they serve until the model's weights are in other memory.

    Args:
        model: The model.
        record: Makes the graphs.
    """

    def __init__(self, model: DecodableModel, record: Record | None = None) -> None:
        self._model = model
        self._record = record
        self._graphs: dict[int, _Graph] = {}
        self._made_for: object = None
        self._returned: Any = None
        self._is_on = True

    def __call__(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Tensor, Any]:
        """Read tokens; see `DecodableModel`. The logits and the state are overwritten by the next call."""
        is_step = tokens.shape[1] == 1 and bool(tensors_of(state)) and _has_fixed_shapes(state)
        if not (is_step and self._is_on) or torch.is_autocast_enabled(tokens.device.type):
            return self._model(tokens, state, positions)
        if state is not self._returned:
            self._forget_others()
        rows = len(tokens)
        graph = self._graphs.get(_capacity(rows))
        if graph is None:
            logits, new_state = self._model(tokens, state, positions)
            self._try_to_record(_capacity(rows), state, new_state)
            return logits, new_state
        graph.tokens[:rows].copy_(tokens)
        if state is not self._returned:
            map_tensors(lambda old, new: old[:rows].copy_(new), graph.state, state)
            self._returned = map_tensors(lambda one: one[:rows], graph.state)
        graph.replay()
        logits = graph.logits[:rows]
        return logits if positions is None else logits.flatten(0, 1).index_select(0, positions), self._returned

    def _forget_others(self) -> None:
        """Forget the graphs of weights in other memory, as after `to`."""
        module: Any = self._model
        tensors = [*module.parameters(), *module.buffers()] if isinstance(module, torch.nn.Module) else []
        made_for = [getattr(module, "training", False), *(one.data_ptr() for one in tensors)]
        if made_for != self._made_for:
            self._graphs, self._made_for = {}, made_for

    def _try_to_record(self, capacity: int, state: Any, new_state: Any) -> None:
        """Record a step for so many rows, if it returns a state of the shapes that it is given."""
        shapes = [[(one.shape, one.dtype) for one in tensors_of(part)] for part in (state, new_state)]
        if not _has_fixed_shapes(new_state) or shapes[0] != shapes[1]:
            self._is_on = False
            return
        static = map_tensors(lambda one: one.new_zeros(capacity, *one.shape[1:]), state)
        device = tensors_of(state)[0].device
        tokens = torch.zeros(capacity, 1, dtype=torch.int64, device=device)
        logits, _ = self._model(tokens, static)  # compiles kernels
        logits = torch.empty_like(logits)

        def step() -> None:
            found, new = self._model(tokens, static)
            logits.copy_(found)
            map_tensors(lambda old, one: old.copy_(one), static, new)

        self._record = self._record or CudaGraphs()
        try:
            self._graphs[capacity] = _Graph(tokens, static, logits, self._record(step))
        except RuntimeError as error:
            self._is_on = False
            reason = " ".join(str(error).split())[:200]
            warnings.warn(f"decoding can't be recorded as a CUDA graph, and runs without: {reason}", stacklevel=2)


def _capacity(rows: int) -> int:
    return 1 << (rows - 1).bit_length()


def _has_fixed_shapes(state: Any) -> bool:
    """Whether a state is tensors only: an int in it counts tokens."""
    if isinstance(state, tuple):
        return all(_has_fixed_shapes(part) for part in state)
    return state is None or isinstance(state, Tensor)
