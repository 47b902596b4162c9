"""The checkpoint with the best score."""

import re
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_retrieval.errors import UserError
from lit_retrieval.training.last_checkpoint import LastCheckpoint
from lit_retrieval.training.score_name import falls


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint with the best score, also after the folder was moved.

    Lightning's `ModelCheckpoint` forgets the best score when its folder is renamed, and would then overwrite a better
    checkpoint with a worse one.

    Args:
        monitor: The score to compare; one that a validation logs.
        mode: max if a higher score is better, min if a lower one is.
        save_top_k: Number of checkpoints to keep; more than one needs {step} in filename.
        filename: Name of the file in the folder checkpoints, without .ckpt; may contain {step}.
        enable_version_counter: Add -v1, -v2, ... to the name of an existing file instead of replacing it.
        others: Other arguments of ModelCheckpoint.

    Attributes:
        best_step: The optimizer steps of the best checkpoint; None if it is not known.
    """

    best_step: int | None = None

    def __init__(
        self,
        monitor: str = "val/closed_loop_accuracy",
        mode: str = "max",
        save_top_k: int = 1,
        filename: str = "best",
        enable_version_counter: bool = False,
        **others: Any,
    ) -> None:
        _check_names(filename, save_top_k, bool(others.get("auto_insert_metric_name", True)))
        if monitor and mode == "max" and falls(monitor):
            raise UserError(f"{monitor} is better if it is lower; set checkpoint.mode min")
        super().__init__(
            monitor=monitor, mode=mode, save_top_k=save_top_k, filename=filename,
            enable_version_counter=enable_version_counter, **others,
        )  # fmt: skip

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the model if its score is the best; the extra one at a time limit counts only if it is the first."""
        is_extra = any(isinstance(one, LastCheckpoint) and one.is_extra for one in trainer.checkpoint_callbacks)
        if is_extra and self.best_model_path:
            return
        before = self.best_model_score
        super().on_validation_end(trainer, pl_module)
        if self.best_model_score is not before:
            self.best_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """The best scores, their files and steps."""
        return {**super().state_dict(), "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best scores, with the paths of their files as they are now."""
        files = {
            f"{one}_model_path": self._here(state_dict[f"{one}_model_path"]) for one in ("best", "kth_best", "last")
        }
        best = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **files, "dirpath": self.dirpath, "best_k_models": best})
        self.best_step = state_dict.get("best_step")

    def _here(self, path: str) -> str:
        assert self.dirpath is not None
        return str(Path(self.dirpath) / Path(path).name) if path else ""


def _check_names(filename: str, count: int, writes_names: bool) -> None:
    """Raise `UserError` for file names that collide with each other or with `step_NUMBER.ckpt`, or name a folder."""
    if count not in (0, 1) and "{" not in filename:
        raise UserError(
            f"checkpoint.save_top_k {count} needs a name for each file, got {filename}; set checkpoint.filename, such "
            "as best_{step}"
        )
    if filename.startswith("step_"):
        raise UserError(
            f"checkpoint.filename must not begin with step_, as the checkpoints to resume from do, got {filename}; "
            "write another name"
        )
    if "/" in (filename if writes_names else re.sub(r"{[^}]*}", "", filename)):
        raise UserError(
            f"checkpoint.filename must be a name without /, got {filename}; write best_{{step}}, or set "
            "checkpoint.auto_insert_metric_name false for the number alone"
        )
