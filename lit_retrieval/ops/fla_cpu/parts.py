"""Rows of several sequences one after another, as fla packs them: `cu_seqlens` has the positions of their ends."""

from collections.abc import Callable, Collection, Sequence
from functools import wraps
from itertools import pairwise, zip_longest
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.arguments import names_of

_Function = TypeVar("_Function", bound=Callable[..., Any])
Nested: TypeAlias = Any
"""A tensor, None, or a tuple or list of these."""


def by_parts(function: _Function, whole: Collection[str] = (), outputs: int = 1) -> _Function:
    """A recurrence that takes `cu_seqlens` too, `(sequences + 1,)`, and then runs on each sequence by itself.

    Tensors `(1, time, ...)` are split along time; first states, whose names contain "init" or "cache", have one entry
    for each sequence, and so have the last states. The function returns its outputs `(1, time, ...)`, with or without
    last states after them, `initial_state` first. A sequence may be empty: its last state is its first one, or zeros.

    Args:
        function: Its tensors of more than two dimensions are along time, but for `whole`.
        whole: Names of those that are the same for all sequences.
        outputs: The number of its results that are along time.

    Raises:
        UserError: In a call, if there are several rows, or another number of first states than of sequences.
    """
    names = names_of(function)
    states = sorted(filter(_is_state, names), key=lambda name: name != "initial_state")
    place = names.index("cu_seqlens") if "cu_seqlens" in names else len(names)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        cu_seqlens = args[place] if len(args) > place else kwargs.pop("cu_seqlens", None)
        if cu_seqlens is None:
            return function(*args, **kwargs)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        given.pop("cu_seqlens", None)
        lengths = lengths_of(cu_seqlens, next(value for value in given.values() if isinstance(value, Tensor)))
        parts = _split(given, lengths, whole)
        found = [function(**part) if length else None for part, length in zip(parts, lengths, strict=True)]
        return _join(found, [[part.get(name) for name in states] for part in parts], outputs)

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


def _split(given: dict[str, Any], lengths: list[int], whole: Collection[str]) -> list[dict[str, Any]]:
    """The arguments for each sequence."""
    parts: list[dict[str, Any]] = [{} for _ in lengths]
    for name, value in given.items():
        split = [value] * len(lengths) if name in whole else _split_value(name, value, lengths)
        for part, one in zip(parts, split, strict=True):
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


def _join(found: list[Any], firsts: list[list[Nested]], outputs: int) -> Any:
    """The results for all sequences; None for an empty one, whose states stay as they were."""
    full = [one for one in found if one is not None]
    if isinstance(full[0], Tensor):
        return torch.cat(full, 1)
    in_time = [torch.cat(parts, 1) for parts in zip(*[one[:outputs] for one in full], strict=True)]
    template = full[0][outputs:]
    states = [
        [_first(*pair) for pair in zip_longest(first[: len(template)], template)] if one is None else one[outputs:]
        for one, first in zip(found, firsts, strict=True)
    ]
    return *in_time, *map(_stack, zip(*states, strict=True))


def _first(state: Nested, like: Nested) -> Nested:
    """The first state of an empty sequence in the dtype of last ones; zeros if absent."""
    if isinstance(like, tuple | list):
        return tuple(_first(None if state is None else state[i], one) for i, one in enumerate(like))
    if like is None:
        return None
    return torch.zeros_like(like) if state is None else state.to(like.dtype)


def _stack(states: Sequence[Nested]) -> Nested:
    if isinstance(states[0], tuple | list):
        return tuple(map(_stack, zip(*states, strict=True)))
    return None if states[0] is None else torch.cat(tuple(states))
