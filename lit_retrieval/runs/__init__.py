"""Run folders, their checkpoints and configurations."""

from lit_retrieval.runs.checkpoint_file import load_checkpoint, read_checkpoint, remove_checkpoint, save_checkpoint
from lit_retrieval.runs.configuration import differences, effective, run_hash
from lit_retrieval.runs.own_code import code_hash, own_code
from lit_retrieval.runs.run_folder import Found, RunFolder, after_steps

__all__ = [
    "Found", "RunFolder", "after_steps", "code_hash", "differences", "effective", "load_checkpoint", "own_code",
    "read_checkpoint", "remove_checkpoint", "run_hash", "save_checkpoint",
]  # fmt: skip
