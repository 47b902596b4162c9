"""CPU implementations of what fla's layers call, put in place of its Triton kernels for CPU tensors alone."""

from lit_retrieval.ops.fla_cpu.install import install

__all__ = ["install"]
