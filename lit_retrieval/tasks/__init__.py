"""Tasks, which generate problems and write their transcripts in NumPy and Numba, without torch."""

from lit_retrieval.conversation import Author
from lit_retrieval.renamed import take_old_names
from lit_retrieval.tasks.automata.circuit_run import CircuitRun
from lit_retrieval.tasks.automata.machine_run import MachineRun, SmallSpaceRun
from lit_retrieval.tasks.automata.modular_arithmetic import ModularArithmetic
from lit_retrieval.tasks.automata.state_tracking import StateTracking
from lit_retrieval.tasks.automata.string_transduction import StringTransduction
from lit_retrieval.tasks.grammars.selectivity import Selectivity
from lit_retrieval.tasks.graphs.is_tree import IsTree
from lit_retrieval.tasks.graphs.k_hops import KHops
from lit_retrieval.tasks.graphs.path_star import PathStar
from lit_retrieval.tasks.graphs.variable_tracking import VariableTracking
from lit_retrieval.tasks.imported import Imported
from lit_retrieval.tasks.mad.compression import MADCompression
from lit_retrieval.tasks.mad.copying import MADCopying
from lit_retrieval.tasks.mad.memorization import MADMemorization
from lit_retrieval.tasks.mad.recall import MADRecall
from lit_retrieval.tasks.mixture import Mixture
from lit_retrieval.tasks.read_again import ReadAgain
from lit_retrieval.tasks.recall.associative_recall import AssociativeRecall
from lit_retrieval.tasks.recall.composite_recall import CompositeRecall
from lit_retrieval.tasks.recall.counting import Counting
from lit_retrieval.tasks.recall.index import Index
from lit_retrieval.tasks.recall.induction_heads import InductionHeads
from lit_retrieval.tasks.recall.joint_recall import JointRecall
from lit_retrieval.tasks.recall.mqar import MQAR
from lit_retrieval.tasks.recall.ngram_retrieval import NGramRetrieval
from lit_retrieval.tasks.recall.selective_copying import SelectiveCopying
from lit_retrieval.tasks.recall.set_disjointness import SetDisjointness
from lit_retrieval.tasks.recall.stacks import Stacks
from lit_retrieval.tasks.recall.string_copying import StringCopying
from lit_retrieval.tasks.sample_file import SampleFile, describe, load_samples, read_manifest, save_samples
from lit_retrieval.tasks.sample_hash import SampleHash, flatten
from lit_retrieval.tasks.sample_stream import SampleStream
from lit_retrieval.tasks.sizes import Sizes, SizeSpec
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts
from lit_retrieval.tasks.word_task import Turn, WordTask

__all__ = [
    "MQAR",
    "REGIMES",
    "AssociativeRecall",
    "Author",
    "CircuitRun",
    "CompositeRecall",
    "Counting",
    "Imported",
    "Index",
    "InductionHeads",
    "IsTree",
    "JointRecall",
    "KHops",
    "MADCompression",
    "MADCopying",
    "MADMemorization",
    "MADRecall",
    "MachineRun",
    "Mixture",
    "ModularArithmetic",
    "NGramRetrieval",
    "PathStar",
    "QueryForm",
    "ReadAgain",
    "Regime",
    "SampleFile",
    "SampleHash",
    "SampleStream",
    "SelectiveCopying",
    "Selectivity",
    "SetDisjointness",
    "SizeSpec",
    "Sizes",
    "SmallSpaceRun",
    "Stacks",
    "StateTracking",
    "StringCopying",
    "StringTransduction",
    "Task",
    "Transcripts",
    "Turn",
    "VariableTracking",
    "WordTask",
    "describe",
    "flatten",
    "load_samples",
    "read_manifest",
    "save_samples",
]

__getattr__ = take_old_names(__name__, Fingerprint="SampleHash", load="load_samples", save="save_samples")
