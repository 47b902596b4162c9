"""Training and scoring with Lightning: the LightningModule, its scores, its schedule and its callbacks."""

from lit_retrieval.training.answer_file import AnswerFile
from lit_retrieval.training.best_checkpoint import BestCheckpoint
from lit_retrieval.training.callbacks import default_callbacks
from lit_retrieval.training.checkpoint_io import AtomicCheckpointIO
from lit_retrieval.training.csv_rows import keep_rows
from lit_retrieval.training.curriculum import Curriculum
from lit_retrieval.training.finite_loss import FiniteLoss
from lit_retrieval.training.gpu_setup import Gpu
from lit_retrieval.training.hyperparameters import Hyperparameters
from lit_retrieval.training.inspection import Inspection
from lit_retrieval.training.kept_heads import KeptHeads
from lit_retrieval.training.last_checkpoint import LastCheckpoint
from lit_retrieval.training.memory import Memory, ceiling
from lit_retrieval.training.new_rates import put_rates
from lit_retrieval.training.next_command import NextCommand
from lit_retrieval.training.plateau import PlateauStopping
from lit_retrieval.training.preemption import Preemption
from lit_retrieval.training.progress_bar import ProgressBar, ProgressLines
from lit_retrieval.training.right_answers import RightAnswers
from lit_retrieval.training.score_file import ScoreFile
from lit_retrieval.training.score_table import ScoreTable
from lit_retrieval.training.sequence_module import SequenceModule, logged_names
from lit_retrieval.training.solved import SolvedStopping
from lit_retrieval.training.step_seed import StepSeed
from lit_retrieval.training.tensorboard import ScalarLogger, drop_points
from lit_retrieval.training.throughput import Throughput
from lit_retrieval.training.transcript_printer import TranscriptPrinter

__all__ = [
    "AnswerFile",
    "AtomicCheckpointIO",
    "BestCheckpoint",
    "Curriculum",
    "FiniteLoss",
    "Gpu",
    "Hyperparameters",
    "Inspection",
    "KeptHeads",
    "LastCheckpoint",
    "Memory",
    "NextCommand",
    "PlateauStopping",
    "Preemption",
    "ProgressBar",
    "ProgressLines",
    "RightAnswers",
    "ScalarLogger",
    "ScoreFile",
    "ScoreTable",
    "SequenceModule",
    "SolvedStopping",
    "StepSeed",
    "Throughput",
    "TranscriptPrinter",
    "ceiling",
    "default_callbacks",
    "drop_points",
    "keep_rows",
    "logged_names",
    "put_rates",
]
