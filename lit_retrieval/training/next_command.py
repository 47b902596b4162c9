"""Prints the next command after a training run."""

import shlex
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.runs import after_steps
from lit_retrieval.training.best_checkpoint import BestCheckpoint


class NextCommand(Callback):
    """When `fit` ends, prints the best score, its checkpoint, and the command that tests it."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the lines, in a run folder."""
        configuration = Path(trainer.default_root_dir) / "config.yaml"
        if not trainer.is_global_zero or trainer.fast_dev_run or not configuration.is_file():  # type: ignore[attr-defined]
            return
        (best,) = [one for one in trainer.checkpoint_callbacks if isinstance(one, BestCheckpoint)]
        score = best.best_model_score if Path(best.best_model_path).is_file() else None
        if score is not None:
            step = f" {after_steps(best.best_step)}" if best.best_step is not None else ""
            print(f"best {best.monitor}: {float(score):.4f}{step}, in {_short(best.best_model_path)}")
        command = ["test", "--config", str(configuration), "--ckpt_path", "last" if score is None else "best"]
        print(f"next: python -m lit_retrieval {shlex.join(command)}")


def _short(path: str) -> Path:
    """The path relative to the current folder, if it is inside it."""
    whole = Path(path).absolute()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole
