"""Our CPU kernels, which replace fla's functions for CPU tensors; CUDA tensors still use fla's."""

from lit_retrieval.ops.fla_cpu.install import install

__all__ = ["install"]
