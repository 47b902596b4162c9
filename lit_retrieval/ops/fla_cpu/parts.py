"""Rows of several sequences one after another, as fla packs them: `cu_seqlens` has the positions of their ends."""

import inspect
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from lit_retrieval.errors import UserError

_Function = TypeVar("_Function", bound=Callable[..., Any])
Nested: TypeAlias = Any
"""A tensor, None, or a tuple or list of these."""


def by_parts(function: _Function) -> _Function:
    """A recurrence that takes `cu_seqlens` too, `(sequences + 1,)`, and then runs on each sequence by itself.

    Tensors `(1, time, ...)` are split along time; first states, whose names contain "init" or "cache", have one entry
    for each sequence, and so have the last states. The function returns its outputs `(1, time, ...)`, with or without
    last states after them. A sequence may be empty: its last state is its first one, or zeros.

    Raises:
        UserError: In a call, if there are several rows, or another number of first states than of sequences.
    """
    names = list(inspect.signature(function).parameters)
    place = names.index("cu_seqlens") if "cu_seqlens" in names else len(names)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        cu_seqlens = args[place] if len(args) > place else kwargs.pop("cu_seqlens", None)
        if cu_seqlens is None:
            return function(*args, **kwargs)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        given.pop("cu_seqlens", None)
        lengths = lengths_of(cu_seqlens, next(value for value in given.values() if isinstance(value, Tensor)))
        parts = _split(given, lengths)
        found = [function(**part) if length else None for part, length in zip(parts, lengths, strict=True)]
        return _join(found, [next((part[name] for name in part if _is_state(name)), None) for part in parts])

    return cast(_Function, run)


def lengths_of(cu_seqlens: Tensor, x: Tensor) -> list[int]:
    """The number of tokens of each sequence in the row x, `(1, time, ...)`."""
    ends = cu_seqlens.tolist()
    if len(x) != 1:
        raise UserError(f"The batch size is expected to be 1 rather than {len(x)} when using `cu_seqlens`")
    lengths = [end - start for start, end in pairwise(ends)]
    if ends[0] != 0 or ends[-1] != x.shape[1] or min(lengths) < 0:
        raise UserError(f"cu_seqlens must rise from 0 to the number of tokens, {x.shape[1]}, got {ends}")
    return lengths


def _split(given: dict[str, Any], lengths: list[int]) -> list[dict[str, Any]]:
    """The arguments for each sequence."""
    parts: list[dict[str, Any]] = [{} for _ in lengths]
    for name, value in given.items():
        for part, one in zip(parts, _split_value(name, value, lengths), strict=True):
            part[name] = one
    return parts


def _split_value(name: str, value: Nested, lengths: list[int]) -> list[Nested]:
    if isinstance(value, tuple | list):
        return list(zip(*[_split_value(name, one, lengths) for one in value], strict=True))
    if not isinstance(value, Tensor):
        return [value] * len(lengths)
    if _is_state(name):
        if len(value) != len(lengths):
            raise UserError(
                "The number of initial states is expected to be equal to the number of input sequences, "
                f"i.e., {len(lengths)} rather than {len(value)}"
            )
        return list(value.split(1))  # type: ignore[no-untyped-call]
    is_in_time = value.dim() > 2 and value.shape[:2] == (1, sum(lengths))
    return list(value.split(lengths, 1)) if is_in_time else [value] * len(lengths)  # type: ignore[no-untyped-call]


def _is_state(name: str) -> bool:
    return "init" in name or name == "cache"


def _join(found: list[Any], first_states: list[Nested]) -> Any:
    """The results for all sequences; None for an empty one, whose state stays as it was."""
    full = [one for one in found if one is not None]
    if isinstance(full[0], Tensor):
        return torch.cat(full, 1)
    outputs = torch.cat([one[0] for one in full], 1)
    template = full[0][1]
    states = [
        _first(first, template) if one is None else one[1] for one, first in zip(found, first_states, strict=True)
    ]
    return outputs, _stack(states), *full[0][2:]


def _first(state: Nested, like: Nested) -> Nested:
    """The first state of an empty sequence in the dtype of last ones; zeros if absent."""
    if isinstance(like, tuple | list):
        return tuple(_first(None if state is None else state[i], one) for i, one in enumerate(like))
    if like is None:
        return None
    return torch.zeros_like(like) if state is None else state.to(like.dtype)


def _stack(states: list[Nested]) -> Nested:
    if isinstance(states[0], tuple | list):
        return tuple(_stack(list(parts)) for parts in zip(*states, strict=True))
    return None if states[0] is None else torch.cat(states)
