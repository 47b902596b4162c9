"""What the package says of itself."""

import importlib
import importlib.metadata

import lit_retrieval


def test_the_version_is_that_of_the_installed_package():
    assert lit_retrieval.__version__ == importlib.metadata.version("lit_retrieval")


def test_a_package_that_is_not_installed_has_a_version_too(monkeypatch):
    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patched:
        patched.setattr(importlib.metadata, "version", not_installed)
        assert importlib.reload(lit_retrieval).__version__ == "0+unknown"
    importlib.reload(lit_retrieval)
