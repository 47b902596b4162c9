"""The context of a phase: its device, its time limit and its results file."""

import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import torch
from sweeps.files import commit

from lit_retrieval.errors import one_line

PACKAGES = ("torch", "triton", "lightning", "numba", "numpy", "transformers", "fla-core", "jsonargparse")


@dataclass(frozen=True)
class Check:
    """One phase of a check.

    Args:
        phase: The phase's name.
        out: The folder of the results.
        device: cuda or cpu.
        is_tiny: Whether to use the smallest sizes.
        deadline: The time at which the phase must be over, by `time.monotonic`.
    """

    phase: str
    out: Path
    device: str
    is_tiny: bool = False
    deadline: float = math.inf

    def row(self, is_printed: bool = True, **values: Any) -> None:
        """Append a row to results.jsonl, with the device, the commit and the versions; print its values."""
        values = {name: _rounded(value) for name, value in values.items()}
        content = {"phase": self.phase, **values, "device": device_name(self.device), "commit": commit(), **versions()}
        with (self.out / "results.jsonl").open("a") as file:
            file.write(json.dumps(content) + "\n")
        if is_printed:
            print(self.phase, *(f"{name}={value}" for name, value in values.items()), flush=True)

    @contextmanager
    def attempt(self, **values: Any) -> Iterator[None]:
        """A block in which an error becomes a row with these values, so that the rest of the phase runs."""
        try:
            yield
        except Exception as error:  # whatever it is, the other models are checked
            self.row(**values, error=f"{type(error).__name__}: {one_line(error)}"[:160])

    def milliseconds(self, function: Callable[[], object], seconds: float, most: int = 10_000) -> tuple[float, int]:
        """The median milliseconds of a call, and the number of calls, over some seconds after two calls to warm up.

        On a GPU, CUDA events measure the time.
        """
        seconds = 0.0 if self.is_tiny else seconds
        times: list[float] = []
        for _ in range(1 if self.is_tiny else 2):
            function()
        self.wait()
        stop = time.monotonic() + seconds
        while len(times) < 3 or (time.monotonic() < stop and len(times) < most):
            times.append(self._once(function))
        return median(times), len(times)

    def _once(self, function: Callable[[], object]) -> float:
        if self.device == "cpu":
            start = time.perf_counter()
            function()
            return 1000 * (time.perf_counter() - start)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        function()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end))

    def wait(self) -> None:
        """Wait for the GPU."""
        if self.device == "cuda":
            torch.cuda.synchronize()


@cache
def device_name(device: str) -> str:
    """The name of the GPU or the processor."""
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu ({platform.machine()})"


@cache
def versions() -> dict[str, str]:
    """The versions of the packages that numbers depend on; `none` if one is not installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
