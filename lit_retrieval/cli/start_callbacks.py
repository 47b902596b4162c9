"""Callbacks for the start of a run: they print it, write its configuration, and compare that of all ranks."""

from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval import runs
from lit_retrieval.cli.start import Start, differences_in_content
from lit_retrieval.errors import UserError
from lit_retrieval.files import write_atomically
from lit_retrieval.tasks import describe

_ORDERS = ("fresh", "prefer")  # keys of a single command, not of the run


class SaveConfiguration(Callback):
    """Writes the configuration of a training run to `config.yaml` in its folder.

    Args:
        configuration: All keys of the command with their values.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.configuration = {key: value for key, value in configuration.items() if key not in _ORDERS}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write `config.yaml`, with the folder as `run_dir`, so that the next command finds the run."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with write_atomically(folder / "config.yaml") as file:
            yaml.safe_dump({**self.configuration, "run_dir": str(folder)}, file, sort_keys=False)


class SameStart(Callback):
    """Ends a run whose ranks would start with different checkpoints, configurations, files or code.

    Args:
        start: The start that this rank has found.
        configuration: All keys of the command with their values.
    """

    def __init__(self, start: Start, configuration: dict[str, Any]) -> None:
        self.found = "no checkpoint"
        if start.checkpoint is not None:
            self.found = f"{start.checkpoint.name} {runs.after_steps(start.step)} (sha256 {start.sha256})"
        self.configuration = configuration

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise `UserError` on all ranks if one of them has another start than the first rank."""
        if trainer.world_size == 1:
            return
        ranks: list[Any] = [None] * trainer.world_size
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        samples = data.samples_sha256 if stage == "fit" else ""
        torch.distributed.all_gather_object(ranks, (self.found, self.configuration, samples))
        for rank, (found, configuration, drawn) in enumerate(ranks[1:], 1):
            if found != ranks[0][0]:
                raise UserError(
                    f"all ranks must start alike, got {ranks[0][0]} on rank 0 and {found} on rank {rank}; put the "
                    "run's folder where all machines see it, or copy it to each"
                )
            if different := differences_in_content(ranks[0][1], configuration):
                raise UserError(
                    f"all ranks must have one configuration, and between rank 0 and rank {rank} {different[0]}; copy "
                    "the same files and code to all machines"
                )
            if drawn != ranks[0][2]:
                raise UserError(
                    f"ranks 0 and {rank} draw different samples of one index; `python -m lit_retrieval.tasks "
                    f"check-class {describe(data.task)['class_path']}` shows whether they depend on the process"
                )


class News(Callback):
    """Prints the lines of a run's start once training starts: until then the run may be refused.

    Args:
        lines: What to print.
    """

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the lines, before the progress bar is shown."""
        for line in self.lines if trainer.is_global_zero else ():
            print(line, flush=True)
