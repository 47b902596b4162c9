"""GPU settings of a run: float32 precision, block sizes of kernels, and CUDA graphs."""

import os
import sys
from typing import ClassVar, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy

from lit_retrieval.decoding import ModelGraphs
from lit_retrieval.errors import UserError
from lit_retrieval.models import WholeModel
from lit_retrieval.ops.fla_blocks import fix_block_sizes
from lit_retrieval.ops.fla_precision import multiply_in
from lit_retrieval.training.sequence_module import SequenceModule
from lit_retrieval.training.step_graph import StepGraphs, can_record


class Gpu(Callback):
    """Sets up a run on a GPU; on a CPU it does nothing.

    Args:
        float32: tf32 computes float32 products in TF32, which is faster and has 11 bits; IEEE float32 if absent.
        autotune: Let fla's kernels choose block sizes by timing, which takes 2 to 15 minutes per kind of layer; a
            resumed run is then no longer bit-identical.
        graphs: Run training and decoding steps as CUDA graphs, which is much faster when the GPU waits for the host.
    """

    _first: ClassVar[dict[str, object] | None] = None  # settings of the process's first run with fla's kernels

    def __init__(self, float32: Literal["tf32"] | None = None, autotune: bool = False, graphs: bool = True) -> None:
        self.float32 = float32
        self.autotune = autotune
        self.graphs = graphs

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set the float32 precision and block sizes before any kernel runs, and let the module decode with graphs."""
        if trainer.strategy.root_device.type != "cuda":
            return
        self.set_arithmetic()
        if not (isinstance(pl_module, SequenceModule) and isinstance(trainer.strategy, SingleDeviceStrategy)):
            return
        if self.graphs and not isinstance(getattr(pl_module, "model", None), WholeModel):
            pl_module.decoder = ModelGraphs(pl_module)

    def set_arithmetic(self) -> None:
        """Set the float32 precision and block sizes of this process."""
        self._check_earlier_runs()
        set_float32("tf32" if self.float32 == "tf32" else "ieee")
        if not self.autotune:
            fix_block_sizes()

    def _check_earlier_runs(self) -> None:
        """Raise `UserError` if an earlier run of this process has compiled fla's kernels with other settings."""
        if "fla.ops" not in sys.modules:
            return
        own: dict[str, object] = {"gpu.float32": self.float32, "gpu.autotune": self.autotune}
        first = Gpu._first = Gpu._first or own
        if own != first:
            raise UserError(
                f"runs with fla's kernels in one process must have the same settings of the GPU, {first}, got {own}; "
                "start another process"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the module run its steps as graphs."""
        if not (self.graphs and isinstance(pl_module, SequenceModule) and can_record(trainer)):
            return
        # A graph starts sequences from zero states, updates only the learning rate between steps, and needs an
        # optimizer and layers without decisions on the host.
        # Recomputed blocks save the state of the random generators, which a graph can't read.
        others = (pl_module.optimizer_factory, pl_module.scheduler_factory, pl_module.first_state)
        is_plain = not (pl_module.recompute_blocks or isinstance(pl_module.model, WholeModel))
        is_fused = trainer.optimizers[0].defaults.get("fused")  # not with complex parameters
        if is_plain and is_fused and all(one is None for one in others):
            pl_module.graphs = StepGraphs(trainer, pl_module)


def set_float32(precision: Literal["ieee", "tf32"]) -> None:
    """Compute all float32 products on a GPU in IEEE float32 or in TF32; call it when the model is built.

    The defaults differ: PyTorch uses IEEE for matrix products, but TF32 for cuDNN's recurrent layers and convolutions.
    Triton uses TF32, and some of fla's kernels ask for it by name.
    """
    torch.set_float32_matmul_precision("highest" if precision == "ieee" else "high")
    torch.backends.cudnn.rnn.fp32_precision = precision  # type: ignore[attr-defined]
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
    os.environ["TRITON_F32_DEFAULT"] = precision  # Triton reads it when it compiles a kernel
    multiply_in(precision)
