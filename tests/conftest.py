"""Read by pytest before anything else."""

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from warm import WarmServer

# On two cores, OpenMP threads that wait actively keep each other, and whatever else runs, from working: a test run
# beside one other process took twenty times as long. OpenMP reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Two threads for tensors as small as those of tests take a tenth more processor time and save none.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what has been imported by now, a million objects: tests take a tenth less."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmServer]:
    """Starts commands in processes that need not import torch again."""
    server = WarmServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _forget_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the next test import a module of the same name from a temporary folder of its own."""
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
            del sys.modules[name]
