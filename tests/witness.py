"""What each rank of a run has trained on, and how often its ranks have waited for each other."""

import hashlib
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel


class Witness(Callback):
    """Writes two files for each rank, in the current folder, with a line before each batch.

    `rows_RANK.txt` has the number of the global batch and the hashes of this rank's rows; `collectives_RANK.txt` has
    the collectives so far, all that gloo has counted, and those in which DDP reduces gradients.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reductions = 0
        if isinstance(model := trainer.strategy.model, DistributedDataParallel):
            model.register_comm_hook(None, self._reduce)

    def _reduce(self, state: Any, bucket: GradBucket) -> Future[Tensor]:
        self._reductions += 1
        return allreduce_hook(state, bucket)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.total.completed
        world: Any = torch.distributed.group.WORLD
        total = 0 if world is None else world._get_sequence_number_for_group()
        with Path(f"collectives_{trainer.global_rank}.txt").open("a") as file:
            print(done, total, self._reductions, file=file)
        with Path(f"rows_{trainer.global_rank}.txt").open("a") as file:
            for row, length in zip(batch.tokens.tolist(), batch.length.tolist(), strict=True):
                print(done, hashlib.sha256(str(row[:length]).encode()).hexdigest(), file=file)


def copy_witness(folder: Path) -> None:
    """Write this module into a folder, where commands import it."""
    (folder / "witness.py").write_text(Path(__file__).read_text())


def batches(folder: Path) -> dict[int, list[str]]:
    """The hashes of the rows of each global batch, sorted: their order within a batch is the ranks'."""
    found = defaultdict(list)
    for path in folder.glob("rows_*.txt"):
        for line in path.read_text().splitlines():
            number, digest = line.split()
            found[int(number)].append(digest)
    return {number: sorted(rows) for number, rows in found.items()}


def forget(folder: Path, first: int) -> None:
    """Forget the batches from the `first` on, those that a killed run had no checkpoint of."""
    for path in folder.glob("rows_*.txt"):
        lines = [line for line in path.read_text().splitlines() if int(line.split()[0]) < first]
        path.write_text("".join(f"{line}\n" for line in lines))


def collectives(folder: Path, rank: int = 0) -> dict[int, tuple[int, int]]:
    """For each batch but the last: the collectives in it besides those of gradients, and those of gradients."""
    lines = [map(int, line.split()) for line in (folder / f"collectives_{rank}.txt").read_text().splitlines()]
    found = {}
    for (batch, total, gradients), (_, total_after, gradients_after) in pairwise(map(tuple, lines)):
        of_gradients = gradients_after - gradients
        found[batch] = (total_after - total - of_gradients, of_gradients)
    return found
