"""Fixed block sizes for fla's GPU kernels."""

import sys
from typing import Any


def fix_block_sizes() -> None:
    """Let each of fla's kernels run with one set of block sizes; call it when the model is built.

    Otherwise Triton's autotuner compiles and times up to 135 sets for each kernel, for 2 to 15 minutes a kind of layer.
    Which one is the fastest also differs from process to process, and with it the order of sums: a resumed run would
    not repeat the bits.
    """
    modules = [module for name, module in sys.modules.items() if name.startswith("fla.")]
    for kernel in (kernel for module in modules for kernel in _kernels(module)):
        kernel.configs = sorted(kernel.configs, key=lambda config: config.num_warps)[:1]


def _kernels(module: object) -> list[Any]:
    """The autotuned kernels among a module's names; each of a kernel's decorators has the next one in `fn`."""
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.jit import KernelInterface

    found = []
    for value in vars(module).values():
        while isinstance(value, KernelInterface):
            found += [value] if isinstance(value, Autotuner) else []
            value = getattr(value, "fn", None)
    return found
