"""What a run leaves on the disk: its folder, and in it checkpoints that are whole or not there."""

from lit_retrieval.runs.checkpoint_file import load, remove, save
from lit_retrieval.runs.configuration import differences, effective, fingerprint
from lit_retrieval.runs.run_folder import Found, RunFolder

__all__ = ["Found", "RunFolder", "differences", "effective", "fingerprint", "load", "remove", "save"]
