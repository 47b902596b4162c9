"""Train recurrent models, Transformers and hybrids on in-context retrieval, with the search run while they decode."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_retrieval.numba_cache import set_cache_folder, watch_imports

if TYPE_CHECKING:
    from lit_retrieval.api import fit, load

__all__ = ["__version__", "fit", "load"]

set_cache_folder(Path(__file__).parent)
watch_imports()

try:
    __version__ = version("lit_retrieval")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """`fit` and `load`, imported when first asked for: they need torch and Lightning, and this package does not."""
    if name not in ("fit", "load"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lit_retrieval import api

    return getattr(api, name)
