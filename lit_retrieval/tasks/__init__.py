"""What is asked, and how its answer is written down: words and ids, NumPy and Numba, no torch."""

from lit_retrieval.tasks.associative_recall import AssociativeRecall
from lit_retrieval.tasks.is_tree import IsTree
from lit_retrieval.tasks.task import REGIMES, Author, Regime, Task, Transcripts

__all__ = ["REGIMES", "AssociativeRecall", "Author", "IsTree", "Regime", "Task", "Transcripts"]
