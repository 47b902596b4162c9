"""Train recurrent models, Transformers and hybrids on in-context retrieval, with the search run while they decode."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lit_retrieval.numba_cache import set_cache_folder

set_cache_folder(Path(__file__).parent)

try:
    __version__ = version("lit_retrieval")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"
