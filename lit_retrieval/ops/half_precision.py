"""Computes recurrences and norms of half-precision tensors in float32; their states stay float32."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

_Value = TypeVar("_Value")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def widen(value: _Value) -> _Value:
    """Cast a half-precision tensor to float32; anything else is returned unchanged."""
    is_half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if is_half else value  # type: ignore[attr-defined]


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype of a matrix product with `x`; autocast's, if it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def in_float32(function: _Function) -> _Function:
    """Run the function in float32 without autocast; its (first) result gets the dtype of its first tensor.

    In bfloat16 a sum of ones would stop at 256.
    """

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        widened = {name: widen(value) for name, value in kwargs.items()}
        with torch.autocast(first.device.type, enabled=False):
            found = function(*map(widen, args), **widened)
        return found.to(first.dtype) if isinstance(found, Tensor) else (found[0].to(first.dtype), *found[1:])

    return cast(_Function, run)
