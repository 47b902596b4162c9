"""fla's kernels run with one set of block sizes each, the same in every process."""

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla is for Linux only")


def test_each_kernel_of_a_layer_has_one_set_of_block_sizes():
    from fla_layers import make_layer
    from triton.runtime.autotuner import Autotuner

    from lit_retrieval.ops.fla_blocks import _kernels, fix_block_sizes

    make_layer("GatedLinearAttention")
    found = {
        kernel for name, module in [*sys.modules.items()] if name.startswith("fla.") for kernel in _kernels(module)
    }
    assert len(found) > 20 and all(isinstance(kernel, Autotuner) for kernel in found)
    before = {kernel: kernel.configs for kernel in found}
    assert max(map(len, before.values())) > 1
    try:
        fix_block_sizes()
        assert all(len(kernel.configs) == 1 for kernel in found)
        assert all(kernel.configs[0] in before[kernel] for kernel in found)
    finally:
        for kernel, configs in before.items():
            kernel.configs = configs
