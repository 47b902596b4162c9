"""Every task, distribution and form of query, small, for the tests that hold for all of them."""

import inspect
from collections.abc import Iterable
from typing import Literal

from hops import Hops

import lit_retrieval.tasks
from lit_retrieval.tasks import (
    MQAR,
    AssociativeRecall,
    CompositeRecall,
    Counting,
    Index,
    InductionHeads,
    IsTree,
    JointRecall,
    KHops,
    MADCompression,
    MADCopying,
    MADMemorization,
    MADRecall,
    Mixture,
    ModularArithmetic,
    NGramRetrieval,
    PathStar,
    ReadAgain,
    SelectiveCopying,
    Selectivity,
    SetDisjointness,
    Stacks,
    StateTracking,
    StringCopying,
    StringTransduction,
    Task,
    VariableTracking,
)

CODE: Literal["random_access_code"] = "random_access_code"

# Each with sizes that it has.
TASKS: dict[str, tuple[Task, list[int]]] = {
    "associative_recall": (AssociativeRecall(num_keys=16, num_values=4), [2, 8, 32]),
    "associative_recall_4": (AssociativeRecall(num_keys=16, num_values=4, num_queries=4), [8, 32]),
    "associative_recall_code": (AssociativeRecall(num_keys=16, num_values=4, distribution=CODE), [2, 8, 32]),
    "associative_recall_full": (AssociativeRecall(num_keys=16, num_values=4, query_form="full"), [2, 8, 32]),
    "associative_recall_code_full": (
        AssociativeRecall(num_keys=16, num_values=4, distribution=CODE, query_form="full"),
        [2, 8, 32],
    ),
    "associative_recall_newest": (
        AssociativeRecall(num_keys=8, num_values=4, num_queries=2, values_per_key=2, counts="newest"),
        [8, 32],
    ),
    "composite_recall": (CompositeRecall(num_words=4, num_values=4, num_queries=2), [6, 12, 27]),
    "counting": (Counting(max_size=16, num_words=6, max_threshold=5), [1, 8, 16]),
    "counting_code": (Counting(max_size=16, distribution=CODE), [1, 8, 16]),
    "counting_full": (Counting(max_size=16, num_words=6, max_threshold=5, query_form="full"), [1, 8, 16]),
    "counting_code_full": (Counting(max_size=16, distribution=CODE, query_form="full"), [1, 8, 16]),
    "index": (Index(max_size=16, num_words=5), [1, 8, 16]),
    "index_code": (Index(max_size=16, num_words=5, distribution=CODE), [1, 8, 16]),
    "index_full": (Index(max_size=16, num_words=5, query_form="full"), [1, 8, 16]),
    "index_separated": (Index(16, 5, "separated_code", query_form="recall"), [1, 8, 16]),
    "index_code_full": (Index(max_size=16, num_words=5, distribution=CODE, query_form="full"), [1, 8, 16]),
    "induction_heads": (InductionHeads(max_size=16, vocab_size=6), [3, 8, 16]),
    "is_tree_binary": (IsTree(max_size=16), [4, 8, 16]),
    "is_tree_random": (IsTree(max_size=16, distribution="random"), [4, 8, 16]),
    "is_tree_any": (IsTree(max_size=16, distribution="binary_any"), [4, 8, 16]),
    "is_tree_tour": (IsTree(max_size=16, distribution="random", stop_at_cycle=False), [4, 16]),
    "k_hops": (KHops(num_places=16, max_hops=3, num_queries=2), [4, 8, 32]),
    "mad_in_context_recall": (MADRecall(8), [4, 9, 16]),
    "mad_noisy_in_context_recall_full": (MADRecall(12, noise_vocab_size=4, frac_noise=0.4, query_form="full"), [4, 16]),
    "mad_fuzzy_in_context_recall": (MADRecall(8, k_motif_size=2, v_motif_size=2), [8, 16]),
    "mad_fuzzy_in_context_recall_full": (MADRecall(8, k_motif_size=2, v_motif_size=2, query_form="full"), [8, 16]),
    "mad_selective_copying": (MADCopying(num_tokens_to_copy=3), [8, 16]),
    "mad_compression": (MADCompression(), [2, 8, 16]),
    "mad_memorization": (MADMemorization(vocab_size=16), [2, 8, 16]),
    "mqar": (MQAR(vocab_size=16, num_kv_pairs=2), [8, 16]),
    "mqar_written": (MQAR(vocab_size=16, num_kv_pairs=2, answers="written"), [8, 16]),
    "mqar_full": (MQAR(vocab_size=16, num_kv_pairs=2, random_non_queries=False, query_form="full"), [8, 16]),
    "ngram_retrieval": (NGramRetrieval(max_size=16, num_words=12), [3, 8, 16]),
    "ngram_retrieval_before": (
        NGramRetrieval(16, 12, ngram_size=4, answer_size=2, question="before", copies=2, counts="newest"),
        [8, 16],
    ),
    "ngram_retrieval_full": (NGramRetrieval(max_size=16, num_words=12, ngram_size=4, query_form="full"), [4, 8, 16]),
    "selective_copying": (SelectiveCopying(max_size=16, vocab_size=5, num_tokens=3), [3, 8, 16]),
    "path_star": (PathStar(num_paths=2, num_vertices=16, target="path"), [1, 3, 7]),
    "set_disjointness": (SetDisjointness(num_elements=16), [2, 8, 16]),
    "set_disjointness_whether": (SetDisjointness(32, [0.5], "whether", "razborov"), [2, 8, 16]),
    "stacks": (Stacks(max_size=16, num_stacks=3, vocab_size=5), [2, 8, 16]),
    "string_copying": (StringCopying(max_size=16, vocab_size=5), [1, 8, 16]),
    "string_copying_full": (StringCopying(max_size=16, vocab_size=5, query_form="full"), [1, 8, 16]),
    "read_again": (ReadAgain(AssociativeRecall(num_keys=16, num_values=4, num_queries=4)), [8, 32]),
    "parity": (StateTracking("parity"), [1, 8, 16]),
    "permutations": (StateTracking("s3", "final"), [1, 8, 16]),
    "stack_manipulation": (StringTransduction("stack_manipulation", 16), [1, 8, 16]),
    "binary_addition_full": (StringTransduction("binary_addition", 16, query_form="full"), [3, 8, 16]),
    "equation": (ModularArithmetic("equation"), [3, 8, 16]),
    "variable_tracking": (VariableTracking(2, 2, 16, 4), [18, 32]),
    "selectivity": (Selectivity(4, 3, 0, 3, filler="symbols"), [1, 8, 16]),
    "joint_recall": (JointRecall(num_contexts=4, num_keys=3, num_values=4, num_queries=3), [1, 3, 4]),
    "mixture": (Mixture([Counting(max_size=16), StringCopying(16, 5), IsTree(16)], [2.0, 1.0, 1.0]), [4, 8, 16]),
    "mixture_beside": (Mixture([MQAR(vocab_size=16, num_kv_pairs=2), AssociativeRecall(8, 8)]), [8, 16]),
    "own_task": (Hops(), [1, 8, 16]),
}

CASES = [(name, regime) for name, (task, _) in TASKS.items() for regime in task.regimes]

# Classes whose problems are those of other tasks, of files, or of a construction of a theorem.
OF_OTHERS = {"CircuitRun", "Imported", "MachineRun", "Mixture", "ReadAgain", "SmallSpaceRun"}


def missing(names: Iterable[str]) -> set[str]:
    """The exported classes of tasks that are not among `names`, other than those of `OF_OTHERS`."""
    exported = {name: getattr(lit_retrieval.tasks, name) for name in lit_retrieval.tasks.__all__}
    is_task = {name for name, one in exported.items() if inspect.isclass(one) and issubclass(one, Task)}
    return {name for name in is_task if not inspect.isabstract(exported[name])} - OF_OTHERS - set(names)
