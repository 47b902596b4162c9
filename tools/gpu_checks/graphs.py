"""The phases that compare training steps in Lightning's loop with steps as CUDA graphs and with compiled blocks."""

import time
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
import yaml
from benchmarks.models import MODEL_FILES
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from gpu_checks.check import Check
from gpu_checks.ready import OWN, Length
from lit_retrieval.data import TranscriptData
from lit_retrieval.models import CudaGraphs
from lit_retrieval.tasks import IsTree
from lit_retrieval.training import Gpu, SequenceModule
from lit_retrieval.training.step_graph import StepGraphs

# Lightning's steps, steps that are taken whole but not recorded, and graphs.
Way = Literal["lightning", "whole", "graph"]
# Steps: the weights after the first are compared, and those that follow are timed; whether the check is tiny.
_STEPS = {False: (20, 25), True: (3, 2)}
_RATE_STEPS = {False: (150, 100), True: (3, 2)}  # a graph for each number of target tokens comes first
_LENGTHS: list[Length] = [(16, "vanilla"), (16, "retrieval")]
_OF_FLA = ("lstm_0.5M", "retnet_0.5M", "deltanet_0.5M", "gla_0.5M")


class _Steps(Callback):
    """Chooses how steps are taken, times the last ones, and keeps the weights before them."""

    def __init__(self, check: Check, way: Way, counts: tuple[int, int]) -> None:
        self.check, self.way = check, way
        self.compared, self.timed = counts
        self.recorded = 0
        self.weights = torch.zeros(0)
        self.start = self.ms = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SequenceModule)
        if self.way != "lightning":
            pl_module.graphs = StepGraphs(trainer, pl_module, self._recorder())

    def _recorder(self) -> Callable[[Callable[[], None]], Callable[[], None]]:
        record = CudaGraphs() if self.way == "graph" and self.check.device == "cuda" else lambda run: run

        def counted(run: Callable[[], None]) -> Callable[[], None]:
            replay = record(run)
            self.recorded += 1
            return replay

        return counted

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        if trainer.global_step == self.compared:
            self.weights = torch.cat([one.detach().flatten().clone() for one in pl_module.parameters()])
            self.check.wait()
            self.start = time.perf_counter()
            trainer.should_stop = self.way == "whole"
        elif trainer.global_step == trainer.max_steps:
            self.check.wait()
            self.ms = 1000 * (time.perf_counter() - self.start) / self.timed


def graphs(check: Check) -> None:
    """Compare steps with and without a CUDA graph: milliseconds, and whether the weights are equal after 20 steps.

    `same` compares graphs with the same steps unrecorded, bit for bit, and `whole_off` relative to the weights' norm;
    `off` compares with Lightning's steps, whose learning rate is not rounded.
    """
    cases = [(name, length) for length in _LENGTHS for name in OWN] + [(name, _LENGTHS[0]) for name in _OF_FLA]
    for name, (size, regime) in [("mamba_0.5M", (4, "vanilla"))] if check.is_tiny else cases:
        with check.attempt(name=name, regime=regime):
            _compare(check, name, (size, regime))  # type: ignore[arg-type]


def _compare(check: Check, name: str, length: Length) -> None:
    found = {way: _train(check, name, length, way) for way in ("graph", "lightning", "whole")}
    graph, whole, plain = (found[way].weights for way in ("graph", "whole", "lightning"))
    check.row(
        name=name, size=length[0], regime=length[1], graph_ms=found["graph"].ms, lightning_ms=found["lightning"].ms,
        graphs=found["graph"].recorded, same=torch.equal(graph, whole), whole_off=_off(graph, whole),
        off=_off(graph, plain),
    )  # fmt: skip


def blocks(check: Check) -> None:
    """Compare steps as a graph with and without compiled blocks: milliseconds, and the distance of the weights."""
    cases = [*((name, _LENGTHS[0]) for name in OWN), ("transformer_0.5M", _LENGTHS[1])]
    for name, (size, regime) in [("transformer_0.5M", (4, "vanilla"))] if check.is_tiny else cases:
        with check.attempt(name=name, regime=regime):
            plain, compiled = (_train(check, name, (size, regime), "graph", one) for one in (None, "blocks"))  # type: ignore[arg-type]
            check.row(
                name=name, size=size, regime=regime, plain_ms=plain.ms, blocks_ms=compiled.ms, graphs=compiled.recorded,
                off=_off(compiled.weights, plain.weights),
            )  # fmt: skip


def rates(check: Check) -> None:
    """Samples per second of the paper's nine models on chains of thought at 16 vertices, each alone on the GPU."""
    names = [f"{kind}_{size}" for kind in ("transformer", "mamba", "hybrid") for size in ("0.5M", "1M", "2M")]
    for name in ("transformer_tiny",) if check.is_tiny else names:
        with check.attempt(name=name):
            steps = _train(check, name, (4 if check.is_tiny else 16, "cot"), "graph", counts=_RATE_STEPS)
            check.row(
                name=name, graphs=steps.recorded, ms_a_step=steps.ms, samples_per_second=1000 * _batch(check) / steps.ms
            )


def _off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def _train(
    check: Check, name: str, length: Length, way: Way, compiles: Literal["blocks"] | None = None,
    counts: dict[bool, tuple[int, int]] = _STEPS,
) -> _Steps:  # fmt: skip
    """Train a fresh model; warnings about failed graphs become rows."""
    (size, regime), steps = length, _Steps(check, way, counts[check.is_tiny])
    task = IsTree(max_size=size)
    data = TranscriptData(task, regime, [size], batch_size=_batch(check), val_samples=4)
    trainer = Trainer(
        max_steps=steps.compared + steps.timed, accelerator="gpu" if check.device == "cuda" else "cpu", devices=1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, use_distributed_sampler=False, gradient_clip_val=1.0,
        callbacks=[Gpu(graphs=False), steps],
    )  # fmt: skip
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.fit(_module(name, len(task.vocabulary), compiles), data)
    for one in said:
        if "CUDA graph" in str(one.message):
            check.row(name=name, way=way, note=str(one.message)[:300])
    peak = torch.cuda.max_memory_reserved() / 2**30 if check.device == "cuda" else 0.0
    check.row(
        is_printed=False, name=name, way=compiles or way, regime=regime, s=time.perf_counter() - start, peak_gib=peak
    )
    return steps


def _module(name: str, vocab_size: int, compiles: Literal["blocks"] | None) -> SequenceModule:
    """A fresh module of a file in configs/model, with the same weights each time."""
    torch.manual_seed(0)
    parser = ArgumentParser()
    parser.add_class_arguments(SequenceModule, sub_configs=True)
    config = yaml.safe_load((MODEL_FILES / f"{name}.yaml").read_text())
    return SequenceModule(
        **parser.instantiate(parser.parse_object({"vocab_size": vocab_size, "compile": compiles, **config}))
    )


def _batch(check: Check) -> int:
    return 4 if check.is_tiny else 64


PHASES = {"graphs": graphs, "blocks": blocks, "rates": rates}
