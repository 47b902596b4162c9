"""Our CPU kernels, registered in fla's backend registry; CUDA tensors still use fla's."""

from lit_retrieval.ops.fla_cpu.install import install

__all__ = ["install"]
