"""What is asked, and how its answer is written down: words and ids, NumPy and Numba, no torch."""

from lit_retrieval.conversation import Author
from lit_retrieval.tasks.associative_recall import AssociativeRecall
from lit_retrieval.tasks.counting import Counting
from lit_retrieval.tasks.fingerprint import Fingerprint, flatten
from lit_retrieval.tasks.index import Index
from lit_retrieval.tasks.is_tree import IsTree
from lit_retrieval.tasks.machine_run import MachineRun, SmallSpaceRun
from lit_retrieval.tasks.mixture import Mixture
from lit_retrieval.tasks.mqar import MQAR
from lit_retrieval.tasks.ngram_retrieval import NGramRetrieval
from lit_retrieval.tasks.sample_file import SampleFile, describe, load, save
from lit_retrieval.tasks.sample_stream import SampleStream
from lit_retrieval.tasks.sizes import Sizes, SizeSpec
from lit_retrieval.tasks.string_copying import StringCopying
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts
from lit_retrieval.tasks.word_task import Turn, WordTask

__all__ = [
    "MQAR",
    "REGIMES",
    "AssociativeRecall",
    "Author",
    "Counting",
    "Fingerprint",
    "Index",
    "IsTree",
    "MachineRun",
    "Mixture",
    "NGramRetrieval",
    "QueryForm",
    "Regime",
    "SampleFile",
    "SampleStream",
    "SizeSpec",
    "Sizes",
    "SmallSpaceRun",
    "StringCopying",
    "Task",
    "Transcripts",
    "Turn",
    "WordTask",
    "describe",
    "flatten",
    "load",
    "save",
]  # fmt: skip
