"""The interface of a mixer: a module that mixes along time (or channels) and returns its state."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from lit_retrieval.ranges import check_at_least

State: TypeAlias = Any
"""What a mixer remembers: None, an int, a tensor with batch first, or a (named) tuple of states.

It is `Any` to a type checker, so that each mixer may name its own NamedTuple.
"""


_states_are_wanted: ContextVar[bool] = ContextVar("_states_are_wanted", default=True)


@contextmanager
def without_states() -> Iterator[None]:
    """A block in which mixers may return None as their state, because it is not read, as in most training steps."""
    token = _states_are_wanted.set(False)
    try:
        yield
    finally:
        _states_are_wanted.reset(token)


def states_are_wanted() -> bool:
    """Whether the state that a mixer returns now may be read."""
    return _states_are_wanted.get()


class Mixer(Protocol):
    """A map `(batch, time, hidden_size) -> (batch, time, hidden_size)` with a state.

    One method serves training, prefill, single steps and injected tokens. A call on a sequence must equal two calls on
    its parts, the second with the first one's state.

    A mixer whose attribute `has_auxiliary_loss` is True takes a third argument, `is_token=None`: bool `(batch, time)`,
    False for padding. If it is given, `forward` returns `(y, state, loss)`, where the loss `()` ignores padding. If it
    is not given, as in evaluation and decoding, `forward` returns `(y, state)`.
    """

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Mix `x`, `(batch, time, hidden_size)` with any time >= 1.

        Args:
            x: The tokens' vectors.
            state: The state that an earlier call returned, not to be used again; None before the first token.

        Returns:
            The outputs, shaped like `x`, and the state after the last token.
        """
        ...

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample after `length` tokens."""
        ...


class MixerFactory(Protocol):
    """Makes one layer's mixer; in YAML, a `class_path` with or without `init_args`."""

    def __call__(self, *, hidden_size: int, layer_idx: int) -> nn.Module:
        """Make the mixer of layer `layer_idx`, counted from 0, for vectors of `hidden_size` elements."""
        ...


RENAME = "but a mixer gets hidden_size and layer_idx; rename the arguments of its __init__"
"""The end of a message about a class for which `takes_hidden_size` is false."""


def takes_hidden_size(made: Callable[..., Any]) -> bool:
    """Whether a class or function can be called with `hidden_size`, as a `MixerFactory` is."""
    parameters = inspect.signature(made).parameters.values()
    return any(one.name == "hidden_size" or one.kind is one.VAR_KEYWORD for one in parameters)


@runtime_checkable
class Inspectable(Protocol):
    """A mixer that can draw what it does for TensorBoard; without this method there is no picture."""

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """Draw what happens to `x`, `(1, time, hidden_size)`, from the first token on.

        Returns:
            Maps by kind, each `(maps, rows, columns)` with values from 0 to 1, and time along the columns; none if
            there is nothing to draw.
        """
        ...


def check_sizes(hidden_size: int, layer_idx: int, **sizes: int | None) -> None:
    """Raise `UserError` unless `layer_idx` is 0 or more, and `hidden_size` and the `sizes` that are given 1 or more."""
    check_at_least("layer_idx", layer_idx, 0, "layer_idx")
    check_at_least("hidden_size", hidden_size, 1, "model.hidden_size")
    for name, size in sizes.items():
        if size is not None:
            check_at_least(name, size, 1, f"model.stages...{name}")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A block in evaluation mode (no dropout); afterwards each submodule has its own mode again."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def tensors_of(state: State) -> list[Tensor]:
    """All tensors in a state, in their order."""
    if hasattr(state, "tensors"):  # a state of a class of its own
        return list(state.tensors())
    if isinstance(state, tuple):
        return [tensor for part in state for tensor in tensors_of(part)]
    return [state] if isinstance(state, Tensor) else []


def count_elements(state: State) -> int:
    """The number of elements of all tensors of a state."""
    return sum(tensor.numel() for tensor in tensors_of(state))


def leaves(state: State) -> Iterator[object]:
    """All parts of a state that are not tuples, in their order."""
    if isinstance(state, tuple):
        for part in state:
            yield from leaves(part)
    else:
        yield state


def map_tensors(function: Callable[..., Tensor], *states: State) -> State:
    """Apply `function` to the tensors of one or more states, place by place; returns a state of the results.

    Ints and None are taken from the first state. Anything else raises `TypeError`.
    """
    first = states[0]
    if isinstance(first, Tensor):
        return function(*states)
    if isinstance(first, tuple):
        return _rebuilt(first, [map_tensors(function, *part) for part in zip(*states, strict=True)])
    if first is None or isinstance(first, int):
        return first
    raise TypeError(f"a state holds a {type(first).__name__}; write tensors, ints, None and tuples of them")


def fix_shapes(state: State) -> State:
    """Convert a state to fixed shapes for single-token steps; parts that have such a form convert by `fixed`."""
    return _convert(state, "fixed")


def free_shapes(state: State) -> State:
    """Undo `fix_shapes`: convert a state back to the form that a mixer returns, by `free`."""
    return _convert(state, "free")


def _convert(state: State, method: str) -> State:
    if hasattr(state, method):
        return getattr(state, method)()
    return _rebuilt(state, [_convert(part, method) for part in state]) if isinstance(state, tuple) else state


def _rebuilt(state: State, parts: list[Any]) -> State:
    """A tuple of the same class with other parts."""
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def select_rows(state: State, rows: Tensor) -> State:
    """Keep some samples of a batch: the given rows of every tensor in a state.

    Args:
        state: Any nesting of tuples, NamedTuples, ints and None around tensors `(batch, ...)`.
        rows: Which samples to keep, in which order, int64 `(kept,)`; or which ones, bool `(batch,)`.

    Returns:
        The same nesting around tensors `(kept, ...)`; ints and None are unchanged. A state with a method `select_rows`
        selects its rows by itself, in place.
    """
    if hasattr(state, "select_rows"):
        return state.select_rows(rows)
    return map_tensors(lambda tensor: tensor[rows], state)
