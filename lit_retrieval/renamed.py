"""Old names of public things, taken for one more version."""

import sys
import warnings
from collections.abc import Callable
from typing import Any


def take_old_names(module: str, **names: str) -> Callable[[str], Any]:
    """The `__getattr__` of `module`: each old name gives what the new one names, with a DeprecationWarning."""

    def look_up(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is now called {names[name]}", DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], names[name])

    return look_up
