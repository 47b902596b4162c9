"""A pytest plugin under which fla's own tests run on a CPU, with our functions and smaller sizes.

Loaded with `-p fla_suites.plugin`; it writes a line of JSON for each test into the file of `--outcomes`.
"""

import json
import re
import signal
import warnings
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

MOST_TOKENS = 152  # longer packed rows are cut
_TIMES = {"T", "N", "seq_len", "seqlen", "Tq", "Tk"}  # fla's names for a number of tokens
_NOT_COVERED = (
    "active drivers",
    "Only support CUDA",
    "requires CUDA",
    "GPU only",
    "not compiled with CUDA",
    "flash-attn",
)


class TooSlowError(Exception):
    """A test has taken longer than it may."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, help="file that gets a line of JSON for each test")
    parser.addoption("--seconds", type=int, default=25, help="most seconds of processor time for a test")


def pytest_configure(config: pytest.Config) -> None:
    """Set fla's device to the CPU before its tests are imported; even without a GPU it would be "cuda"."""
    import fla.utils

    from lit_retrieval.ops import fla_cpu

    for module in (fla.utils, getattr(fla.utils, "hardware", fla.utils)):
        vars(module).update(device="cpu", device_torch_lib=torch.cpu)
    fla_cpu.install()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        for name, value in parameters.items():
            parameters[name] = smaller(name, value, is_model="/models/" in str(item.path))
        if "q_lens" in parameters:  # the queries are the last tokens of each sequence
            lengths = [end - start for start, end in pairwise(parameters["cu_seqlens"])]
            parameters["q_lens"] = list(map(min, parameters["q_lens"], lengths))


def smaller(name: str, value: Any, is_model: bool = False) -> Any:
    """The value of a test's parameter, reduced if it is a number of tokens, rows or layers, or ends of packed rows."""
    if name == "cu_seqlens" and isinstance(value, list | tuple) and value and value[-1] > MOST_TOKENS:
        return _smaller_ends(list(value))
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if name in _TIMES and is_model:
        return min(value, 64)
    if name in _TIMES and value > 256:  # a power of two stays one; else a last chunk is as full as before
        return 256 if value & (value - 1) == 0 else 128 + (value % 64 or 64)
    return min(value, 2) if name == "B" or (name == "L" and is_model) else value


def _smaller_ends(ends: list[int]) -> list[int]:
    """Shorten sequences, without making any of them empty."""
    smaller_ends = [0]
    for start, end in pairwise(ends):
        length = end - start
        smaller_ends.append(smaller_ends[-1] + min(length, max(1, length * MOST_TOKENS // ends[-1])))
    return smaller_ends


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    seconds = item.config.getoption("--seconds")

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"stopped after {seconds} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        error = call.excinfo.value if call.excinfo else None
        _write(item.config, item.nodeid, outcome_of(report.outcome, error), _reason(error))
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that can't be imported, as one test."""
    if report.failed:
        reason = re.sub(r"/\S*site-packages/", "", str(report.longrepr).splitlines()[-1])
        _failed_to_import.append((report.nodeid, reason))


_failed_to_import: list[tuple[str, str]] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    for nodeid, reason in _failed_to_import:
        _write(session.config, nodeid, "failed", f"can't be imported: {reason}")


def outcome_of(outcome: str, error: BaseException | None) -> str:
    """One of "passed", "skipped", "refused" or "not covered" (by us), "stopped" (by the time limit), "failed"."""
    if outcome != "failed":
        return outcome
    if isinstance(error, TooSlowError):
        return "stopped"
    if type(error).__name__ == "UserError":
        return "refused"
    return "not covered" if any(words in str(error) for words in _NOT_COVERED) else "failed"


def _reason(error: BaseException | None) -> str:
    if error is None:
        return ""
    return f"{type(error).__name__}: {error!s}".splitlines()[0][:200]


def _write(config: pytest.Config, nodeid: str, outcome: str, reason: str) -> None:
    with config.getoption("--outcomes").open("a") as file:
        file.write(json.dumps({"test": nodeid, "outcome": outcome, "reason": reason}) + "\n")
