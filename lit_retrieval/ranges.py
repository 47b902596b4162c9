"""Range checks of arguments; each raises `UserError` with one line that says what to set."""

import math
import os
from pathlib import Path

from lit_retrieval.errors import UserError


def check_at_least(name: str, value: float, least: float, where: str) -> None:
    """Raise `UserError` unless the argument `name` is finite and `least` or more; `where` is the key that sets it."""
    _check(name, value, least <= value < math.inf, f"{least} or more", where)


def check_at_most(name: str, value: float, most: float, where: str) -> None:
    """Raise `UserError` if the argument `name` is more than `most`; `where` is the key that sets it."""
    _check(name, value, value <= most, f"{most} or less", where)


def check_above(name: str, value: float, bound: float, where: str, most: float = math.inf) -> None:
    """Raise `UserError` unless the argument `name` is finite, above `bound` and at most `most`."""
    upper = "finite" if most == math.inf else f"at most {most}"
    _check(name, value, bound < value <= most and value < math.inf, f"above {bound} and {upper}", where)


def check_between(name: str, value: float, least: float, most: float, where: str) -> None:
    """Raise `UserError` unless the argument `name` is from `least` to `most`; `where` is the key that sets it."""
    _check(name, value, least <= value <= most, f"{least} to {most}", where)


def check_numbers(section: str, most: float = math.inf, /, **numbers: tuple[float, float]) -> None:
    """`check_at_least` for several arguments of one section: each name with its value and its minimum.

    Args:
        section: The key above the arguments.
        most: The maximum of all of them.
        numbers: The arguments.
    """
    for name, (value, least) in numbers.items():
        check_at_least(name, value, least, f"{section}.{name}")
        check_at_most(name, value, most, f"{section}.{name}")


def check_choice(argument: str, value: str, choices: tuple[str, ...], section: str = "data.task.init_args") -> None:
    """Raise `UserError` unless `value` is one of the choices for `argument`.

    Args:
        argument: Name of the argument.
        value: Its value.
        choices: What it may be.
        section: The key above it; that of a task's arguments if absent.
    """
    if value not in choices:
        raise UserError(f"{argument} must be {' or '.join(choices)}, got {value!r}; set {section}.{argument}")


def check_memory(what: str, size: float, where: str) -> None:
    """Raise `UserError` if `what` takes more bytes than this machine has; `where` is what to lower."""
    if size > (most := memory_size()):
        raise UserError(
            f"{what} would take {size / 1e9:,.0f} GB of memory or more, and this machine has {most / 1e9:,.0f} GB; "
            f"lower {where}"
        )


def memory_size() -> int:
    """The memory of this machine in bytes, or that of its container if it has a limit."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return size
    return min(size, int(limit)) if limit.isdecimal() else size


def _check(name: str, value: float, is_in_range: bool, allowed: str, where: str) -> None:
    if not is_in_range:
        raise UserError(f"{name} must be {allowed}, got {value}; set {where}")
