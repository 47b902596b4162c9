"""Command-line parsers with one-line errors; a later list or class replaces an earlier one."""

from lit_retrieval.parsing.imports import limit_imports
from lit_retrieval.parsing.layers import Replace, replace_whole
from lit_retrieval.parsing.parser import USER_ERROR, OneLineErrors, fail, files_are_told, one_line_errors, put_first
from lit_retrieval.parsing.yaml_file import read_yaml

__all__ = [
    "USER_ERROR",
    "OneLineErrors",
    "Replace",
    "fail",
    "files_are_told",
    "limit_imports",
    "one_line_errors",
    "put_first",
    "read_yaml",
    "replace_whole",
]
