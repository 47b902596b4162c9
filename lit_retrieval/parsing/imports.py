"""Restricts which classes a configuration may name."""

import os

from jsonargparse import set_parsing_settings

from lit_retrieval.parsing.parser import fail

ALLOW = "LIT_RETRIEVAL_ALLOW"


def limit_imports() -> None:
    """Limit the classes that a configuration may name, because importing a class runs its module.

    `LIT_RETRIEVAL_ALLOW=lit_retrieval,my_package` allows these packages only. Without it, all are allowed except those
    in jsonargparse's list of modules that run commands or access files: os, subprocess, ...
    """
    prefixes = [prefix.strip() for prefix in os.environ.get(ALLOW, "").split(",") if prefix.strip()]
    if bad := [prefix for prefix in prefixes if not all(part.isidentifier() for part in prefix.split("."))]:
        fail(f"{ALLOW} must be package names with commas between them, got {bad[0]!r}")
    set_parsing_settings(import_path_denylist=["*"] if prefixes else [], import_path_allowlist=prefixes)
