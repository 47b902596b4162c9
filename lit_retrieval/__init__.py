"""Train recurrent models, Transformers and hybrids on in-context retrieval, with the search run while they decode."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_retrieval.numba_cache import set_cache_folder, watch_imports

if TYPE_CHECKING:
    from lit_retrieval.api import load

__all__ = ["__version__", "load"]

set_cache_folder(Path(__file__).parent)
watch_imports()

try:
    __version__ = version("lit_retrieval")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """`load`, imported when it is first asked for: it needs torch and Lightning, and this package alone does not."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lit_retrieval.api import load

    return load
