"""Runs commands of the package as processes: new ones, or forked from one that has imported everything."""

import ctypes
import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

from lit_retrieval.training.preemption import SIGNALS

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1  # prctl(2)
_STARTING = threading.Lock()
_OF_TORCHRUN = {"WORLD_SIZE", "TORCHELASTIC_RUN_ID"}  # removed, because a launcher has not started the trials


class Running(Protocol):
    """A command that has been started."""

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        ...

    def terminate(self) -> None:
        """Ask the command to save the run and exit."""
        ...

    def wait(self) -> int:
        """Wait for its end; returns its exit status."""
        ...


class Start(Protocol):
    """Starts `python -m lit_retrieval ARGUMENTS` in a folder, with its output at the end of a file."""

    def __call__(self, arguments: Sequence[str], folder: str, log: Path, environment: Mapping[str, str]) -> Running:
        """Start it with these additional environment variables."""
        ...


def start_fresh(arguments: Sequence[str], folder: str, log: Path, environment: Mapping[str, str]) -> Running:
    """Start a new interpreter, which takes about ten seconds to import everything and to load kernels."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "lit_retrieval", *arguments], cwd=folder,
            env={name: one for name, one in {**os.environ, **environment}.items() if name not in _OF_TORCHRUN},
            stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip


def start_warm(arguments: Sequence[str], folder: str, log: Path, environment: Mapping[str, str]) -> Running:
    """Fork a server process that has imported everything; the first call starts the server, with its environment.

    This process is not forked itself, because it may have run kernels, after which Numba refuses another number of
    threads.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["sweeps.preload"])
    tools = str(Path(__file__).parents[1])  # where the server finds `sweeps.preload`
    paths = dict.fromkeys([*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), tools])
    process = context.Process(target=_run, args=(list(arguments), folder, str(log), dict(environment)))
    with _STARTING, patch.dict(os.environ, {**environment, "PYTHONPATH": os.pathsep.join(paths)}):
        process.start()
    return _Forked(process)


class _Forked:
    """A forked process, with the methods of `subprocess.Popen`."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def poll(self) -> int | None:
        status: int | None = self._process.exitcode
        return status

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> int:
        self._process.join()
        status: int = self._process.exitcode
        return status


def _run(arguments: list[str], folder: str, log: str, environment: dict[str, str]) -> None:
    """Do the same as `python -m lit_retrieval`, in a process that has imported the package."""
    die_with_parent()  # the parent is the server, which ends with the sweep
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the server blocks them
    with open(log, "ab") as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    os.chdir(folder)
    sys.path.insert(0, folder)
    os.environ.update(environment)
    for name in _OF_TORCHRUN:
        os.environ.pop(name, None)
    importlib.import_module("torch").set_num_threads(int(environment.get("OMP_NUM_THREADS", 1)))
    importlib.import_module("lit_retrieval.cli").main(arguments)


def die_with_parent() -> None:
    """Let the system end this process when its parent ends; `fit` then saves, and the next sweep resumes it."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
