"""The rule of processes: a sample does not depend on the process that draws it; this module is also those processes."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from subprocess import PIPE, Popen
from typing import Any, Self
from unittest.mock import patch

from jsonargparse import ArgumentParser

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError
from lit_retrieval.parsing import limit_imports
from lit_retrieval.tasks.checks.case import Case
from lit_retrieval.tasks.sample_hash import SampleHash, flatten
from lit_retrieval.tasks.task import Task

_HASH_SEEDS = "1", "2", "3"  # a set of two words has the same order in every second process
_LATER = 1_234_567.89  # seconds
_WORDS = "words"


def is_the_same_in_all_processes(case: Case) -> str:
    """New processes, with other hashes of strings, a later time and folders in another order, draw the same samples."""
    if case.written is None:
        raise NotApplicableError("the class was not named in a command, which other processes could build it from")
    given = json.dumps({"task": case.written, "sizes": case.sizes, "num_samples": case.num_samples})
    command = [sys.executable, "-m", __name__]
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with ExitStack() as stack:  # at an error it closes the input of the processes, which end, and waits
        started = [
            stack.enter_context(
                Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True,
                      env={**os.environ, **paths, "PYTHONHASHSEED": seed})
            )
            for seed in _HASH_SEEDS
        ]  # fmt: skip
        here = _hashes(case)
        ends = [(one, one.communicate(given)) for one in started]
    for process, (printed, errors) in ends:
        if process.returncode:
            raise NotApplicableError(f"another process can't build it: {(errors.splitlines() or ['?'])[-1]}")
        _compare(here, json.loads(printed.splitlines()[-1]))
    return f"{case.num_samples} samples of {len(started)} more processes; sha256 {here[case.regimes[-1]][:12]}"


def _compare(here: dict[str, str], elsewhere: dict[str, str]) -> None:
    """Raise `BrokenRuleError` unless the hashes are the same."""
    if different := next((name for name in here if here[name] != elsewhere[name]), None):
        what = "words must have the same order" if different == _WORDS else "samples must be the same"
        where = "" if different == _WORDS else f" in regime {different}"
        raise BrokenRuleError(
            f"{what} in all processes, and are not{where}; go through sorted(...) of a set and of a folder, and use no "
            "hash(), id() or time, and no random numbers but `rng`"
        )


def _hashes(case: Case) -> dict[str, str]:
    """The sha256 of the words, and of the samples of each regime."""
    words = case.task.vocabulary.identity
    hashes = {_WORDS: SampleHash(words).hexdigest()}
    for regime in case.regimes:
        sample_hash = SampleHash(words)
        sample_hash.update(flatten(case.sample(regime)))
        hashes[regime] = sample_hash.hexdigest()
    return hashes


class _Backwards:
    """What `os.scandir` returns, in the opposite order."""

    def __init__(self, path: Any = ".") -> None:
        with _scandir(path) as found:
            self._left = list(found)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> "os.DirEntry[str]":
        if not self._left:
            raise StopIteration
        return self._left.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the rest."""
        self._left = []


_scandir, _listdir, _time, _time_ns = os.scandir, os.listdir, time.time, time.time_ns


@contextmanager
def _another_machine() -> Iterator[None]:
    """A later time, and folders in the opposite order, inside."""
    with (
        patch("os.scandir", _Backwards),
        patch("os.listdir", lambda path=".": _listdir(path)[::-1]),
        patch("time.time", lambda: _time() + _LATER),
        patch("time.time_ns", lambda: _time_ns() + int(_LATER * 1e9)),
    ):
        yield


def main() -> None:
    """Print the hashes of the samples of a task, of which standard input has the class and arguments, in JSON."""
    given = json.loads(sys.stdin.read())
    limit_imports()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--task", type=Task)
    with _another_machine():
        task = parser.instantiate(parser.parse_object({"task": given["task"]})).task
        print(json.dumps(_hashes(Case(task, tuple(given["sizes"]), task.regimes, given["num_samples"]))))


if __name__ == "__main__":
    main()
