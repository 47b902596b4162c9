"""Golden transcripts: what a seed and an index have once given, they must give for ever.

A file in data/golden holds the first three samples of seed 0 in each regime, in words, retrieved ones in brackets. If a
task is meant to change, `python tests/tasks/test_golden.py` writes the files again; say so in CHANGELOG.md.
"""

from pathlib import Path

import numpy as np
import pytest

from lit_retrieval.tasks import REGIMES, AssociativeRecall, Author, IsTree

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
TASKS = {
    "is_tree_binary": (IsTree(max_size=6), 6),
    "is_tree_random": (IsTree(max_size=6, graphs="random"), 6),
    "associative_recall": (AssociativeRecall(num_keys=8, num_values=8, num_queries=2), 8),
}


def text_of(name):
    task, size = TASKS[name]
    lines = []
    for regime in REGIMES:
        transcripts = task.sample(0, np.arange(3), np.full(3, size), regime)
        for row in range(3):
            words = task.vocabulary.decode(transcripts.tokens[row, : transcripts.length[row]])
            marked = zip(words, transcripts.author[row], strict=False)
            lines.append(
                f"{regime}: " + " ".join(f"[{word}]" if by == Author.RETRIEVER else word for word, by in marked)
            )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", TASKS)
def test_transcripts_are_the_golden_ones(name):
    assert text_of(name) == (GOLDEN / f"{name}.txt").read_text()


if __name__ == "__main__":
    for name in TASKS:
        (GOLDEN / f"{name}.txt").write_text(text_of(name))
