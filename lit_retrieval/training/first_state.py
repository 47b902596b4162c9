"""State passing: the final states of a batch become the initial states of the next one."""

from collections import deque
from typing import Literal, cast

import torch
from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import FlaLayer, Mixer, State, evaluating, leaves, map_tensors, select_rows, tensors_of
from lit_retrieval.models import SequenceModel

FirstState = Literal["random", "same"]
_FIX = "leave out model.first_state"
_LENGTHS = (1, 40)  # tokens after which a state of fixed size has the same size


class StatePassing:
    """Passes the final states of a batch to the next one, without gradients.

    With `same`, row i starts from the final state of row i of the last batch (truncated backpropagation through time).
    With `random`, it starts from that of another, random row (Buitrago and Gu 2025, arXiv:2507.02782). Ranks do not
    exchange rows.

    Args:
        kind: From which row of the last batch a row takes its state.
        num_parts: Micro-batches of an optimizer step. Each continues the micro-batch with its index in the last step,
            so that `same` does not depend on how a global batch is split.
        rows: Rows of a micro-batch on this rank. Raises `UserError` for `random` with a single row.
    """

    def __init__(self, kind: FirstState, num_parts: int, rows: int) -> None:
        if kind == "random" and rows == 1:
            raise UserError(
                "model.first_state=random needs 2 samples or more on each rank, got 1; set data.batch_size, which "
                "counts the samples of all ranks, or model.first_state: same"
            )
        self._is_random = kind == "random"
        self._num_parts = num_parts
        self._kept: deque[State] = deque()
        self._restored: list[list[Tensor]] = []

    def take(self, model: SequenceModel, rows: int) -> State:
        """The initial states of a batch of `rows` rows; None, which means zeros, in the first step."""
        self._kept.extend(_with_tensors(_a_state(model), tensors) for tensors in self._restored)
        self._restored = []
        if len(self._kept) < self._num_parts:
            return None
        state = self._kept.popleft()
        device, size = tensors_of(state)[0].device, len(tensors_of(state)[0])
        chosen = torch.arange(rows) % size
        if self._is_random and size > 1:
            chosen = (chosen + torch.randint(1, size, (rows,))) % size
        return select_rows(state, chosen.to(device, non_blocking=True))

    def keep(self, state: State) -> None:
        """Store the final states of a batch."""
        self._kept.append(map_tensors(Tensor.detach, state))

    def tensors(self) -> list[list[Tensor]]:
        """The tensors of the stored states, for a checkpoint."""
        return self._restored or [tensors_of(state) for state in self._kept]

    def restore(self, kept: list[list[Tensor]]) -> None:
        """Restore states from the result of `tensors`."""
        self._kept.clear()
        self._restored = kept


def read_to_ends(model: SequenceModel, tokens: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
    """Read rows of different lengths, each to its own end.

    A row that has ended is removed and the others continue, so no state reads padding.

    Args:
        model: The model.
        tokens: Token ids, padded on the right, `(batch, time)`.
        lengths: Tokens of each row, at least 1, `(batch,)`.
        state: The states before the first tokens, one for each row; zeros if None.

    Returns:
        The residual stream, `(batch, time, hidden_size)`, with zeros at padding, and the states after each row's end.
    """
    live, start = torch.arange(len(tokens), device=tokens.device), 0
    pieces: list[Tensor] = []
    ends, ended, place, count = [], [], torch.zeros_like(tokens), 0  # row 0 of all pieces is for padding
    for stop in sorted(set(lengths.tolist())):
        piece, state = model.read(tokens[live, start:stop], state)
        pieces.append(piece.flatten(0, 1))
        numbers = torch.arange(count + 1, count + 1 + len(pieces[-1]), device=tokens.device)
        place[live, start:stop] = numbers.view(piece.shape[:2])
        count += len(pieces[-1])
        is_at_end = lengths[live] == stop
        ends.append(select_rows(state, is_at_end))
        ended.append(live[is_at_end])
        live, state, start = live[~is_at_end], select_rows(state, ~is_at_end), stop
    hidden = torch.cat([pieces[0].new_zeros(1, pieces[0].shape[1]), *pieces]).index_select(0, place.flatten())
    last = map_tensors(lambda *parts: torch.cat(parts), *ends)
    return hidden.view(*tokens.shape, -1), select_rows(last, torch.cat(ended).argsort())


@torch.no_grad()
def check_passing(model: nn.Module) -> None:
    """Raise `UserError` unless the model's states can be passed on: they must have a fixed size and no positions."""
    if not isinstance(model, SequenceModel):
        raise UserError(f"model.first_state needs a model of model.stages, got {type(model).__name__}; {_FIX}")
    if not model.state_size(1):
        raise UserError(f"model.first_state needs states, but no mixer has one; {_FIX}")
    width = model.embedding.shape[1]
    x = torch.linspace(-1, 1, 2 * width, dtype=model.embedding.dtype, device=model.embedding.device).view(1, 2, width)
    with evaluating(model):
        for mixer in model.mixers:
            _check_state(mixer, x)


def _check_state(mixer: nn.Module, x: Tensor) -> None:
    kind = type(mixer.layer if isinstance(mixer, FlaLayer) else mixer).__name__
    sizes = [cast(Mixer, mixer).state_size(length) for length in _LENGTHS]
    if sizes[0] != sizes[1]:
        raise UserError(f"model.first_state needs states of a fixed size, but that of {kind} grows; {_FIX}")
    _, state = mixer(x, None)
    # fla's layers count tokens which few of them use. A count of ours is that of a chunk, whatever two tokens show.
    if isinstance(mixer, FlaLayer):
        one, other = (mixer(x, _later(state, tokens))[0] for tokens in (0, 1))
        is_counting = not torch.equal(one, other)
    else:
        is_counting = any(isinstance(part, int) for part in leaves(state))
    if is_counting:
        raise UserError(f"model.first_state needs states without positions, but {kind} counts tokens; {_FIX}")


def _later(state: State, tokens: int) -> State:
    """A copy of a state with its integers (the numbers of tokens so far) increased by `tokens`."""
    if isinstance(state, tuple):
        parts = [_later(part, tokens) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    if isinstance(state, Tensor):
        return state.clone()
    return state if state is None else state + tokens


@torch.no_grad()
def _a_state(model: SequenceModel) -> State:
    """Some state of the model, to learn its structure and device."""
    return model.mix(model.embedding.new_zeros(1, 1, model.embedding.shape[1]), None)[1]


def _with_tensors(state: State, tensors: list[Tensor]) -> State:
    remaining = iter(tensors)
    return map_tensors(lambda one: next(remaining).to(one.device), state)
