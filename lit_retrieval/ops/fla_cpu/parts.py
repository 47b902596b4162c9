"""Packed rows of several sequences, as in fla; `cu_seqlens` has the positions of their ends."""

from collections.abc import Callable, Collection, Sequence
from functools import wraps
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.arguments import names_of

_Function = TypeVar("_Function", bound=Callable[..., Any])
Nested: TypeAlias = Any
"""A tensor, None, or a tuple or list of these."""


def by_parts(function: _Function, whole: Collection[str] = (), outputs: int = 1, unread: float = 0.0) -> _Function:
    """Give a recurrence an argument `cu_seqlens`, `(sequences + 1,)`, with which it restarts in each sequence.

    Tensors `(1, time, ...)` are split along time; first states, whose names contain "init" or "cache", have one entry
    for each sequence, and so have the last states. The function returns its outputs `(1, time, ...)`, with or without
    last states after them, `initial_state` first. A sequence may be empty: its last state is its first one, or
    `unread`.

    Sequences of the same length are rows of one call. If no last state is asked for, so are those of similar lengths,
    padded with zeros, because later tokens do not change earlier outputs.

    Args:
        function: The recurrence, which treats each row independently. Tensors of more than two dimensions are along
            time, except for `whole`.
        whole: Names of tensors that are the same for all sequences.
        outputs: The number of results that are along time.
        unread: Value of the last state of an empty sequence without a first state.

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
        x = next(value for value in given.values() if isinstance(value, Tensor))
        is_padded = "output_final_state" in names and not (given.get("output_final_state") or given.get("reverse"))
        packing = Packing(lengths_of(cu_seqlens, x), is_padded, x.device)
        found = [
            function(
                **{name: value if name in whole else packing.take(name, value, group) for name, value in given.items()}
            )
            for group in packing.groups
        ]
        return packing.join(found, [given.get(name) for name in states], outputs, unread)

    return cast(_Function, run)


class Group(NamedTuple):
    """Sequences that are rows of one call.

    Args:
        members: Their indices, `(sequences,)`.
        places: The index of each token in the packed row, `(sequences, time)`; padding repeats the last one.
        is_token: False for padding in `places`, `(sequences, time)`; None without padding.
    """

    members: Tensor
    places: Tensor
    is_token: Tensor | None


class Packing:
    """Sequences in one row, and the groups of them that are rows of one call.

    Args:
        lengths: Tokens of each sequence.
        is_padded: Whether lengths in a group may differ, up to twice the shortest; else they are equal.
        device: Device of the tensors to split.

    Attributes:
        groups: Groups of all sequences except empty ones.
    """

    def __init__(self, lengths: list[int], is_padded: bool, device: torch.device) -> None:
        self.groups: list[Group] = []
        self._count, self._time = len(lengths), sum(lengths)
        self._empty = torch.tensor([at for at, length in enumerate(lengths) if not length], dtype=torch.int64)
        self._empty = self._empty.to(device)
        by_size: dict[int, list[int]] = {}
        for at, length in enumerate(lengths):
            if length:
                by_size.setdefault(length.bit_length() if is_padded else length, []).append(at)
        own = torch.tensor(lengths)
        starts, order, taken = own.cumsum(0) - own, torch.empty(self._time, dtype=torch.int64), 0
        for members in map(torch.tensor, by_size.values()):
            ends, steps = own[members].unsqueeze(1), torch.arange(int(own[members].max()))
            places, is_token = starts[members].unsqueeze(1) + torch.minimum(steps, ends - 1), steps < ends
            order[places[is_token]] = taken + is_token.flatten().nonzero()[:, 0]
            taken += is_token.numel()
            is_full = bool(is_token.all())
            self.groups.append(Group(members.to(device), places.to(device), None if is_full else is_token.to(device)))
        self._order = order.to(device)

    def take(self, name: str, value: Nested, group: Group) -> Nested:
        """An argument for the sequences of a group, as rows, with zeros after the shorter ones."""
        if isinstance(value, tuple | list):
            return tuple(self.take(name, one, group) for one in value)
        if not isinstance(value, Tensor):
            return value
        if _is_state(name):
            return self._checked(value).index_select(0, group.members)
        is_in_time = value.dim() > 2 and value.shape[:2] == (1, self._time)
        return self.rows(value, group) if is_in_time else value

    def rows(self, value: Tensor, group: Group) -> Tensor:
        """The sequences of a group, `(sequences, time, ...)`, from a tensor `(1, time, ...)`."""
        shape = group.places.shape
        taken = value[0].index_select(0, group.places.flatten()).view(*shape, *value.shape[2:])
        if group.is_token is None:
            return taken
        return taken.masked_fill(~group.is_token.view(*shape, *[1] * (value.dim() - 2)), 0)

    def row(self, found: Sequence[Tensor]) -> Tensor:
        """The inverse of `rows`: `(1, time, ...)` from one tensor per group."""
        return torch.cat([one.flatten(0, 1) for one in found]).index_select(0, self._order).unsqueeze(0)

    def join(self, found: list[Any], firsts: list[Nested], outputs: int, unread: float = 0.0) -> Any:
        """The results for all sequences, from those of the groups."""
        if isinstance(found[0], Tensor):
            return self.row(found)
        in_time = [self.row(parts) for parts in zip(*[one[:outputs] for one in found], strict=True)]
        last = zip_longest(firsts[: len(found[0]) - outputs], *[one[outputs:] for one in found])
        return *in_time, *[self.last_states(first, parts, unread) for first, *parts in last]

    def last_states(self, first: Nested, parts: Sequence[Nested], unread: float = 0.0) -> Nested:
        """The last states of all sequences; that of an empty one is its first state, or `unread`."""
        if isinstance(parts[0], tuple | list):
            firsts = [None] * len(parts[0]) if first is None else first
            pairs = zip(firsts, zip(*parts, strict=True), strict=True)
            return tuple(self.last_states(*pair, unread) for pair in pairs)
        if parts[0] is None:
            return None
        shape = len(self._empty), *parts[0].shape[1:]
        if first is None:
            last = parts[0].new_full(shape, unread)
        else:
            last = first.index_select(0, self._empty).to(parts[0].dtype)
        members = torch.cat([*(group.members for group in self.groups), self._empty])
        return torch.cat([*parts, last]).index_select(0, members.argsort())

    def _checked(self, value: Tensor) -> Tensor:
        if len(value) != self._count:
            raise UserError(
                "The number of initial states is expected to be equal to the number of input sequences, "
                f"i.e., {self._count} rather than {len(value)}"
            )
        return value


def lengths_of(cu_seqlens: Tensor, x: Tensor) -> list[int]:
    """The number of tokens of each sequence in the row x, `(1, time, ...)`."""
    ends = cu_seqlens.tolist()
    if len(x) != 1:
        raise UserError(f"The batch size is expected to be 1 rather than {len(x)} when using `cu_seqlens`")
    lengths = [end - start for start, end in pairwise(ends)]
    if ends[0] != 0 or ends[-1] != x.shape[1] or min(lengths) < 0:
        raise UserError(f"cu_seqlens must rise from 0 to the number of tokens, {x.shape[1]}, got {ends}")
    return lengths


def _is_state(name: str) -> bool:
    return "init" in name or name == "cache"
