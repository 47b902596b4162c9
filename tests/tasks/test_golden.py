"""Golden transcripts: what a seed and an index have once given, they must give for ever.

A file in data/golden holds the first three samples of seed 0 in each regime, what was retrieved in brackets. If a
task is meant to change, `python tests/tasks/test_golden.py` writes the files again; say so in CHANGELOG.md.
"""

import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "configs/own_task")]  # run as a script
from catalogue import missing
from reading import reply_of, text_of

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
    VariableTracking,
)
from lit_retrieval.tasks.automata.string_transduction import Function
from lit_retrieval.tasks.text import Friends, HotpotQA, Phonebook

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "data" / "golden"
CODE = "random_access_code"
TASKS = {
    "associative_recall": (AssociativeRecall(num_keys=8, num_values=8, num_queries=2), 8),
    "associative_recall_code": (AssociativeRecall(num_keys=8, num_values=8, distribution=CODE, query_form="full"), 8),
    "associative_recall_newest": (
        AssociativeRecall(num_keys=8, num_values=8, num_queries=2, values_per_key=2, counts="newest"),
        16,
    ),
    "composite_recall": (CompositeRecall(num_words=4, num_values=8, num_queries=2, query_form="full"), 12),
    "counting": (Counting(max_size=8, num_words=12, max_threshold=3), 8),
    "counting_code": (Counting(max_size=12, distribution=CODE, query_form="full"), 12),
    "index": (Index(max_size=12, num_words=8), 12),
    "index_code": (Index(max_size=12, num_words=8, distribution=CODE, query_form="full"), 12),
    "index_separated": (Index(max_size=12, num_words=8, distribution="separated_code", query_form="recall"), 12),
    "induction_heads": (InductionHeads(max_size=10, vocab_size=8), 10),
    "is_tree_binary": (IsTree(max_size=6), 6),
    "is_tree_any": (IsTree(max_size=16, distribution="binary_any"), 6),
    "is_tree_random": (IsTree(max_size=6, distribution="random"), 6),
    "k_hops": (KHops(num_places=8, max_hops=3, num_queries=2), 10),
    "k_hops_cycle": (KHops(num_places=8, min_hops=3, max_hops=3, mapping="cycle"), 12),
    "mad_in_context_recall": (MADRecall(), 16),
    "mad_noisy_in_context_recall": (MADRecall(32, noise_vocab_size=16, frac_noise=0.4, query_form="full"), 16),
    "mad_fuzzy_in_context_recall": (MADRecall(10, k_motif_size=3, v_motif_size=3), 40),
    "mad_selective_copying": (MADCopying(num_tokens_to_copy=5), 24),
    "mad_compression": (MADCompression(), 8),
    "mad_memorization": (MADMemorization(vocab_size=8), 8),
    "joint_recall": (JointRecall(num_contexts=4, num_keys=3, num_values=8, num_queries=2), 2),
    "mqar": (MQAR(vocab_size=16, num_kv_pairs=3), 16),
    "mqar_written": (MQAR(vocab_size=16, num_kv_pairs=3, answers="written"), 16),
    "ngram_retrieval": (NGramRetrieval(max_size=12, num_words=6), 12),
    "ngram_retrieval_before": (
        NGramRetrieval(12, 8, ngram_size=4, answer_size=2, question="before", copies=2, counts="newest"),
        12,
    ),
    "ngram_retrieval_full": (NGramRetrieval(max_size=12, num_words=4, ngram_size=4, query_form="full"), 12),
    "selective_copying": (SelectiveCopying(max_size=12, vocab_size=8, num_tokens=3), 12),
    "path_star": (PathStar(num_paths=3, num_vertices=16), 3),
    "path_star_path": (PathStar(num_paths=2, num_vertices=16, target="path"), 4),
    "read_again": (ReadAgain(SetDisjointness(num_elements=16)), 6),
    "set_disjointness": (SetDisjointness(num_elements=16), 8),
    "set_disjointness_whether": (SetDisjointness(32, [0.5], "whether", "razborov"), 8),
    "stacks": (Stacks(max_size=16, num_stacks=2, vocab_size=8), 16),
    "state_tracking": (StateTracking("s3"), 6),
    "state_tracking_final": (StateTracking("a5", "final"), 6),
    "string_copying": (StringCopying(max_size=5), 5),
    "modular_arithmetic_flat": (ModularArithmetic("flat"), 8),
    "modular_arithmetic_brackets": (ModularArithmetic("brackets", operators="+-*"), 15),
    "modular_arithmetic_equation": (ModularArithmetic("equation"), 15),
    "selectivity": (Selectivity(4, 3, 1, 2), 6),
    "selectivity_next": (Selectivity(4, 3, 0, 2, filler="symbols", asked="next"), 8),
    "string_transduction_full": (StringTransduction("bucket_sort", 6, 5, "full"), 6),
    **{f"string_transduction_{name}": (StringTransduction(name, 6), 6) for name in get_args(Function)},
    "variable_tracking": (VariableTracking(2, 2, 9, 5), 20),
}


OWN = ROOT / "data/hotpotqa"
# Tasks in text, whose dialogues need no tokenizer.
TEXTS = {
    "friends": (Friends(Path("models/smollm2")), 3),
    "phonebook": (Phonebook(Path("models/smollm2")), 3),
    "hotpotqa": (HotpotQA(Path("models/smollm2"), OWN / "own.json").evaluation, 2),
}


def golden_text(name):
    task, size = TEXTS[name]
    parts = []
    for regime in task.regimes:
        for index in range(3):
            dialogue = task.dialogue(0, index, size, regime)
            parts.append(f"{regime}:\n{dialogue.prompt}{reply_of(task, dialogue)}\n")
    return "".join(parts)


@pytest.mark.parametrize("name", TEXTS)
def test_dialogues_are_the_golden_ones(name):
    assert golden_text(name) == (GOLDEN / f"{name}.txt").read_text()


def golden(name):
    task, size = TASKS[name]
    lines = []
    for regime in task.regimes:
        transcripts = task.sample(0, np.arange(3), np.full(3, size), regime)
        lines.extend(f"{regime}: {text_of(transcripts, task, row)}" for row in range(3))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", TASKS)
def test_transcripts_are_the_golden_ones(name):
    assert golden(name) == (GOLDEN / f"{name}.txt").read_text()


def test_every_exported_task_has_golden_transcripts():
    assert not missing(type(task).__name__ for task, _ in TASKS.values())


if __name__ == "__main__":
    for name in TASKS:
        (GOLDEN / f"{name}.txt").write_text(golden(name))
    for name in TEXTS:
        (GOLDEN / f"{name}.txt").write_text(golden_text(name))
