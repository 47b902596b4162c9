"""Our CPU kernels, in place of fla's functions for tensors on a CPU; CUDA tensors still use fla's."""

from lit_retrieval.ops.fla_cpu.install import install

__all__ = ["install"]
