"""Runs the GPU path of ready models on a machine without a GPU: kernels are compiled for it, and not launched.

Run as `python kernels_compiled.py NAME ...` with files of configs/model. Prints, as JSON, for each name how many
kernels were compiled for forward, backward and steps of one token, what failed, which multiply in TF32 although the
run asks for IEEE float32, and the layer's refusal.
The tensors are on the CPU but say that they are on a GPU; kernels do not write, so results are of no meaning.
"""

import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import triton
import yaml
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from lit_retrieval.errors import UserError

CAPABILITY, SHARED = 90, 232_448  # of an H100: its compute capability, and the bytes that a block of threads may share
LENGTH = 100  # not a number of full blocks


class OfflineDriver:
    """What Triton asks of a driver in order to compile."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", CAPABILITY, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cuda", 0)

    def get_device_interface(self) -> Any:
        return torch.cuda

    def get_benchmarker(self) -> Callable[..., list[float]]:
        return lambda *args, **kwargs: [1.0, 1.0, 1.0]

    @property
    def utils(self) -> Any:
        return self

    def get_device_properties(self, device: int = 0) -> dict[str, int]:
        return {"max_shared_mem": SHARED, "multiprocessor_count": 132, "max_num_regs": 65536, "warpSize": 32}


class Compiled:
    """Compiles what is launched, and keeps the names of the kernels and their errors."""

    def __init__(self) -> None:
        self.kernels: dict[str, str] = {}
        self.errors: list[str] = []
        self.in_tf32: set[str] = set()
        self._run = JITFunction.run
        compiled = self

        def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
            compiled.compile(kernel, args, grid, kwargs)

        JITFunction.run = run

    def compile(self, kernel: Any, args: tuple[Any, ...], grid: Any, kwargs: dict[str, Any]) -> None:
        name = f"{kernel.fn.__module__}.{kernel.fn.__name__}"
        try:
            made = self._run(kernel, *args, grid=grid, warmup=True, **kwargs)
        except Exception as error:  # the other kernels are compiled as well
            self.errors.append(f"{name}: {type(error).__name__}: {error}"[:300])
            return
        self.kernels[made.hash] = name
        if ".tf32" in made.asm["ptx"]:
            self.in_tf32.add(name)
        if made.metadata.shared > SHARED or not made.asm["cubin"]:
            self.errors.append(f"{name} needs {made.metadata.shared} bytes of shared memory")


def pretend() -> Compiled:
    """Let Triton, PyTorch and fla find an H100; call it before fla is imported."""
    triton.runtime.driver.set_active(OfflineDriver())
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.current_device = lambda: 0
    torch.cuda.get_device_name = lambda *args: "NVIDIA H100 80GB HBM3"
    torch.cuda.get_device_properties = lambda *args: SimpleNamespace(
        name=torch.cuda.get_device_name(),
        shared_memory_per_block=SHARED,
        shared_memory_per_block_optin=SHARED,
        multi_processor_count=132,
    )
    torch.cuda.get_device_capability = lambda *args: divmod(CAPABILITY, 10)
    torch.Tensor.is_cuda, torch.Tensor.is_cpu = property(lambda one: True), property(lambda one: False)
    torch.compiler.set_stance("force_eager")  # of what fla has PyTorch compile
    return Compiled()


def run_model(name: str) -> None:
    """Forward, backward and decode of a ready model, two blocks of each stage."""
    from benchmarks.models import MODEL_FILES, SequenceModel

    from lit_retrieval.mixers import FlaLayer
    from lit_retrieval.ops.fla_blocks import fix_block_sizes
    from lit_retrieval.parsing import OneLineErrors
    from lit_retrieval.training.gpu_setup import set_float32

    decoding = FlaLayer.decoding
    FlaLayer.decoding = lambda layer, _: decoding(layer, torch.device("cuda"))  # it looks at the device's name
    config = yaml.safe_load((MODEL_FILES / f"{name}.yaml").read_text())
    stages = [stage | {"repeat": min(2, stage["repeat"])} for stage in config["stages"]]
    parser = OneLineErrors()
    parser.add_class_arguments(SequenceModel)
    arguments = {"vocab_size": 28, "hidden_size": config["hidden_size"], "stages": stages}
    model = SequenceModel(**parser.instantiate(parser.parse_object(arguments)))
    fix_block_sizes()
    set_float32("ieee")
    model(torch.randint(28, (2, LENGTH)))[0].sum().backward()
    model.eval()
    with torch.inference_mode():
        _, state = model(torch.randint(28, (2, LENGTH)))
        for _ in range(2):
            _, state = model(torch.randint(28, (2, 1)), state)


def main() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    sys.path[:0] = [str(Path(__file__).parents[1] / "tools")]
    compiled = pretend()
    for name in sys.argv[1:]:
        before, errors = set(compiled.kernels), len(compiled.errors)
        refused = ""
        try:
            run_model(name)
        except UserError as error:
            refused = str(error)
        new = sorted(compiled.kernels[one] for one in set(compiled.kernels) - before)
        found = {"kernels": new, "errors": compiled.errors[errors:], "tf32": sorted(compiled.in_tf32)}
        print(json.dumps({"model": name, "refused": refused, **found}), flush=True)


if __name__ == "__main__":
    main()
