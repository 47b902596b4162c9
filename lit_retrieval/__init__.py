"""Train recurrent models, Transformers and hybrids on in-context retrieval, with the search run while they decode."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lit_retrieval")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"
