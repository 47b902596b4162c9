"""Fixed block sizes for fla's GPU kernels."""

import sys
from typing import Any


def fix_block_sizes() -> None:
    """Fix the block sizes of fla's kernels; call it when the model is built.

    Otherwise Triton's autotuner compiles and times up to 135 sets of sizes per kernel, 2 to 15 minutes per kind of
    layer. The fastest set, and with it the order of sums, also differs between processes, so a resumed run would not be
    bit-identical.
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
