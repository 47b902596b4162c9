"""The default callbacks of every run."""

from lightning.pytorch import Callback
from rich import get_console

from lit_retrieval.training.answer_file import AnswerFile
from lit_retrieval.training.best_checkpoint import BestCheckpoint
from lit_retrieval.training.finite_loss import FiniteLoss
from lit_retrieval.training.gpu_setup import Gpu
from lit_retrieval.training.hyperparameters import Hyperparameters
from lit_retrieval.training.inspection import Inspection
from lit_retrieval.training.last_checkpoint import LastCheckpoint
from lit_retrieval.training.memory import Memory
from lit_retrieval.training.next_command import NextCommand
from lit_retrieval.training.preemption import Preemption
from lit_retrieval.training.progress_bar import ProgressBar, ProgressLines
from lit_retrieval.training.score_file import ScoreFile
from lit_retrieval.training.score_table import ScoreTable
from lit_retrieval.training.step_seed import StepSeed
from lit_retrieval.training.throughput import Throughput
from lit_retrieval.training.transcript_printer import TranscriptPrinter


def default_callbacks(
    inspection: Inspection,
    best: BestCheckpoint,
    last: LastCheckpoint,
    gpu: Gpu | None = None,
    writes_scores: bool = True,
    shows_bar: bool = True,
) -> list[Callback]:
    """The callbacks of every run, in Lightning's order of calls, after those of `trainer.callbacks`.

    Args:
        inspection, best, last, gpu: Those that have configuration keys.
        writes_scores: Whether `test` writes `scores.json` and `answers.jsonl`; they need a run folder.
        shows_bar: Whether to show a progress bar in a terminal; otherwise progress is printed in lines.
    """
    progress = ProgressBar() if shows_bar and get_console().is_terminal else ProgressLines()
    return [
        gpu or Gpu(),  # before any kernel runs
        Preemption(),  # stops a run between two steps, before the others count anything of the next step
        StepSeed(),  # before any random number of a step is drawn
        FiniteLoss(),  # ends a run before the others count or show a step that was skipped
        inspection,  # from here on the callbacks log, print or write, and are independent
        Throughput(),
        Hyperparameters(),
        ScoreTable(),
        Memory(),  # prints below the table of scores
        TranscriptPrinter(),
        *([ScoreFile(), AnswerFile()] if writes_scores else []),
        progress,
        NextCommand(),
        best,  # a checkpoint holds the state of all callbacks: Lightning always calls checkpoint callbacks last
        last,  # after best, so that it holds the best score
    ]
