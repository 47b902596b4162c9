"""Prompts that are written several times, word for word."""

import numpy as np
import pytest
from catalogue import CASES, TASKS

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import AssociativeRecall, Author, ReadAgain, SampleStream


@pytest.mark.parametrize("passes", [1, 2, 3])
@pytest.mark.parametrize(("name", "regime"), [case for case in CASES if case[1] != "retrieval"])
def test_the_first_prompt_comes_again_and_the_rest_once(name, regime, passes):
    task, sizes = TASKS[name]
    again = ReadAgain(task, passes)
    once, found = (one.sample(1, np.arange(9), np.resize(sizes, 9), regime) for one in (task, again))
    for row in range(9):
        tokens, author = (one[row, : once.length[row]].tolist() for one in (once.tokens, once.author))
        read = tokens if Author.ASKED in author else tokens[: once.prompt_length[row]]
        length = found.length[row]
        assert found.tokens[row, :length].tolist() == read * (passes - 1) + tokens
        assert found.author[row, :length].tolist() == [Author.PROMPT] * len(read) * (passes - 1) + author
        assert found.prompt_length[row] == len(read) * (passes - 1) + once.prompt_length[row]
        assert found.answers_of(row) == once.answers_of(row)
    assert (found.distances == once.distances).all() and (found.kinds == once.kinds).all()
    assert again.chances == task.chances and again.kinds == task.kinds


def test_there_is_nothing_to_search():
    with pytest.raises(UserError, match="regime must be vanilla or cot for ReadAgain"):
        ReadAgain(AssociativeRecall(8, 8)).sample(0, np.arange(1), np.full(1, 8), "retrieval")
    task = AssociativeRecall(8, 8)
    task.regimes = ("retrieval",)
    with pytest.raises(UserError, match="ReadAgain has no regime retrieval, and AssociativeRecall no other"):
        ReadAgain(task)
    with pytest.raises(UserError, match="passes must be 1 or more, got 0"):
        ReadAgain(AssociativeRecall(8, 8), 0)


def test_a_task_with_an_end_keeps_it_and_what_it_says_of_its_problems():
    task = AssociativeRecall(8, 8)
    task.num_problems, task.about = 3, lambda problem: {"id": f"p{problem}"}
    again = ReadAgain(task)
    assert SampleStream(again, "vanilla", [4, 8], 0, "test").num_samples == 6 and again.about(2) == {"id": "p2"}
