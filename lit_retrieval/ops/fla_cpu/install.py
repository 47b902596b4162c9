"""Puts our functions in place of fla's, by the rows of `table.TABLE`; for tensors on a GPU, by `on_gpu.INSTEAD`."""

import importlib
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import cache, wraps
from importlib.metadata import version
from types import ModuleType
from typing import Any

from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.arrays import refuse_to_record
from lit_retrieval.ops.fla_cpu import on_gpu
from lit_retrieval.ops.fla_cpu.arguments import with_arguments_of
from lit_retrieval.ops.fla_cpu.attention import flash
from lit_retrieval.ops.fla_cpu.table import FLASH_ATTENTION_USERS, TABLE, Row

_WITH_SECOND_DERIVATIVES = "rotary_embedding_fwdbwd"  # the only linear backward function, which is also the forward


@cache
def install() -> None:
    """Make fla's functions, layers and models run on CPU tensors; a second call does nothing."""
    importlib.import_module("fla")
    rebind(TABLE)
    _lend_flash_attention()


def rebind(table: Iterable[Row]) -> None:
    """Replace each function in every loaded module that holds it; modules loaded later import ours from those.

    Importing fla loads almost all its modules; a row loads the others. A row whose function does not exist in this
    version of fla is left out, with a warning.
    """
    replaced: dict[int, tuple[Any, Any]] = {}
    for row in table:
        if row.kind == "through":
            continue
        try:
            owner, attribute = find(row.theirs)
            ours = _form_on_cpu(row, getattr(owner, attribute))
        except (ImportError, AttributeError):
            warnings.warn(_moved(row.theirs), stacklevel=2)
            continue
        theirs = getattr(owner, attribute)
        ours = _for_cpu(ours, _for_gpu(theirs, ours, on_gpu.INSTEAD.get(row.theirs)))
        setattr(owner, attribute, ours)
        replaced[id(theirs)] = theirs, ours
    for module in [module for module in sys.modules.values() if isinstance(module, ModuleType)]:
        for name, value in list(vars(module).items()):
            theirs, ours = replaced.get(id(value), (None, None))
            if theirs is not None and theirs is value:
                setattr(module, name, ours)


def _lend_flash_attention() -> None:
    """Give fla's layers our replacements of flash-attn's functions, for tensors that flash-attn can't take."""
    for path in FLASH_ATTENTION_USERS:
        try:
            module = importlib.import_module(path)
        except ImportError:
            warnings.warn(_moved(path), stacklevel=2)
            continue
        for name in ("flash_attn_func", "flash_attn_varlen_func"):
            ours = getattr(flash, name)
            theirs = getattr(module, name, None) or ours
            setattr(module, name, _for_cpu(ours, _for_gpu(theirs, ours, on_gpu.FLASH_ATTENTION)))


def find(path: str) -> tuple[Any, str]:
    """The module or class that holds a name, and the name's last part.

    Raises:
        ImportError: If there is no such module.
        AttributeError: If the module or class lacks the name.
    """
    *parts, attribute = path.split(".")
    owner: Any = None
    for count in range(len(parts), 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            owner = getattr(owner, part)
        break
    getattr(owner, attribute)
    return owner, attribute


def _moved(path: str) -> str:
    try:
        found = version("flash-linear-attention")
    except importlib.metadata.PackageNotFoundError:
        found = "of an unknown version"
    return (
        f"our form of {path} for a CPU is not used: fla must have that name, got fla {found} without it; "
        "pip install flash-linear-attention==0.6.0"
    )


def _form_on_cpu(row: Row, theirs: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a row puts in place of theirs."""
    if row.kind == "refused":
        return _refuse(row)
    module, _, name = row.detail.rpartition(".")
    module = module if module.startswith("fla.") else f"lit_retrieval.ops.fla_cpu.{module}"
    ours = with_arguments_of(theirs, getattr(importlib.import_module(module), name), row.theirs)
    if row.kind == "naive":
        return _with_word_of_slowness(ours, row)
    is_backward = name.endswith("bwd") and name != _WITH_SECOND_DERIVATIVES
    return _once_differentiable(ours) if is_backward else ours


def _refuse(row: Row) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise UserError(f"{row.theirs} runs on a GPU only: {row.detail}")

    return refuse


def _with_word_of_slowness(ours: Callable[..., Any], row: Row) -> Callable[..., Any]:
    """The function, with a warning in its first call that it is slow."""

    @cache
    def warn() -> None:
        warnings.warn(f"{row.theirs} has no fast form for a CPU: it runs step by step, slowly", stacklevel=4)

    @wraps(ours)
    def run(*args: Any, **kwargs: Any) -> Any:
        warn()
        return ours(*args, **kwargs)

    return run


def _once_differentiable(ours: Callable[..., Any]) -> Callable[..., Any]:
    """A backward function that refuses second derivatives, because fla doesn't save enough for them."""

    @wraps(ours)
    def run(*args: Any, **kwargs: Any) -> Any:
        refuse_to_record(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        return ours(*args, **kwargs)

    return run


def _for_cpu(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls ours for CPU tensors and theirs for all others."""

    @wraps(theirs, updated=())  # fla's `torch.compiler.disable` leaves attributes by which theirs would be called
    def choose(*args: Any, **kwargs: Any) -> Any:
        return (ours if _is_on_cpu(*args, **kwargs) else theirs)(*args, **kwargs)

    return choose


def _for_gpu(
    theirs: Callable[..., Any], ours: Callable[..., Any], instead: on_gpu.Instead | None
) -> Callable[..., Any]:
    """Their function, or its replacement on a GPU: by default ours."""
    if instead is None:
        return theirs
    is_replaced, other = instead.when, instead.function or ours

    @wraps(theirs, updated=())
    def choose(*args: Any, **kwargs: Any) -> Any:
        return (other if is_replaced(*args, **kwargs) else theirs)(*args, **kwargs)

    return choose


def _is_on_cpu(*args: Any, **kwargs: Any) -> bool:
    """Whether the first tensor is on a CPU; a method's first argument is the layer, the next one its input."""
    values = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    first = next(values, None)
    return first is not None and first.is_cpu
