"""The checkpoint with the best score."""

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint with the best score, also after the folder was moved.

    `ModelCheckpoint` forgets the best score when its folder has a new name, and overwrites a better checkpoint with a
    worse one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best scores, with the paths of their files as they are now."""
        files = {
            f"{one}_model_path": self._here(state_dict[f"{one}_model_path"]) for one in ("best", "kth_best", "last")
        }
        best = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **files, "dirpath": self.dirpath, "best_k_models": best})

    def _here(self, path: str) -> str:
        assert self.dirpath is not None
        return str(Path(self.dirpath) / Path(path).name) if path else ""
