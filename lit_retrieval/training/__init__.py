"""Training and scoring with Lightning: the LightningModule, its scores, its schedule and its callbacks."""

from lit_retrieval.training.curriculum import Curriculum
from lit_retrieval.training.last_checkpoint import LastCheckpoint
from lit_retrieval.training.memory import Memory
from lit_retrieval.training.progress_bar import ProgressBar
from lit_retrieval.training.score_table import ScoreTable
from lit_retrieval.training.sequence_module import SequenceModule
from lit_retrieval.training.throughput import Throughput
from lit_retrieval.training.transcript_printer import TranscriptPrinter

__all__ = [
    "Curriculum", "LastCheckpoint", "Memory", "ProgressBar", "ScoreTable", "SequenceModule", "Throughput",
    "TranscriptPrinter",
]  # fmt: skip
