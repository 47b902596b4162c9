"""Calls our functions with the arguments of fla's."""

import inspect
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, get_args

from lit_retrieval.errors import UserError

CHOOSE_KERNELS = {
    "checkpoint_level", "chunk_indices", "chunk_size", "cu_seqlens_cpu", "disable_recompute", "layout_fallback",
    "max_num_seqs", "output_contiguous", "safe_gate", "solve_tril_precision", "use_graph",
}  # fmt: skip
"""Arguments of fla's functions that don't change what is computed."""
OURS = {"self": "layer", "transpose_state_layout": "state_v_first"}
"""Names of fla's arguments that ours have otherwise; deprecated ones, in fla's `**kwargs`, among them."""


def with_arguments_of(theirs: Callable[..., Any], ours: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Our function with the signature of theirs; an argument that ours doesn't have must be at its default.

    Args:
        theirs: fla's function, of which only the signature is used.
        ours: A function whose parameters have the names of fla's, in any order.
        name: The function's path in fla, for the message.

    Raises:
        UserError: In a call, for another value of an argument that ours doesn't have.
    """
    parameters = {OURS.get(key, key): one for key, one in inspect.signature(theirs).parameters.items()}
    if list(map(_name_and_default, _parameters(ours))) == list(map(_name_and_default, parameters.values())):
        return ours
    takes_any = parameters.pop("kwargs", None) is not None
    positions, known = tuple(parameters), names_of(ours)
    renamed = [key for key in OURS if key in inspect.signature(theirs).parameters]
    defaults = {key: one.default for key, one in parameters.items() if key in known}
    if takes_any:
        defaults |= dict.fromkeys([key for key in known if key not in defaults], inspect.Parameter.empty)

    @wraps(ours)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(positions, args, strict=False)), **kwargs}
        for key in renamed:
            if key in given:
                given[OURS[key]] = given.pop(key)
        if takes_any:
            given = _with_new_names(given, known)
        kept = {key: given.pop(key, default) for key, default in defaults.items()}
        for key, value in given.items():
            if not _is_left_out(key, value, parameters, takes_any):
                raise UserError(f"{name} takes no {key} on a CPU; leave it out")
        return ours(**{key: value for key, value in kept.items() if value is not inspect.Parameter.empty})

    return call


def _name_and_default(parameter: inspect.Parameter) -> tuple[str, Any]:
    return parameter.name, parameter.default


def _parameters(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    return inspect.signature(function).parameters.values()


def names_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters, with those of the `TypedDict` of its `**options`, if it has one."""
    names: list[str] = []
    for parameter in _parameters(function):
        is_open = parameter.kind is inspect.Parameter.VAR_KEYWORD
        names.extend(get_args(parameter.annotation)[0].__annotations__ if is_open else [parameter.name])
    return tuple(names)


def _is_left_out(key: str, value: Any, parameters: dict[str, inspect.Parameter], takes_any: bool) -> bool:
    """Whether an argument makes no difference: it only chooses a kernel, or is at its default."""
    if key not in parameters and not takes_any:
        return False
    is_default = key in parameters and value is parameters[key].default
    return key in CHOOSE_KERNELS or value is None or value is False or is_default


def _with_new_names(given: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """The arguments with deprecated names replaced by fla's new ones, with a warning; giving both is an error."""
    for old, new in OURS.items():
        if old in given and new in known:
            if given.get(new):
                raise ValueError(f"Cannot pass both `{new}` and the deprecated `{old}`.")
            warnings.warn(f"`{old}` is deprecated and renamed to `{new}`.", DeprecationWarning, stacklevel=4)
            given = {new if key == old else key: value for key, value in given.items()}
    return given
