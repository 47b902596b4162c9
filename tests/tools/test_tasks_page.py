"""The page of the tasks."""

import re

import pytest
import tasks_page
from pages import docstrings

from lit_retrieval.tasks import Index, Mixture, Task


def test_the_page_is_that_of_the_code():
    assert tasks_page.page() == tasks_page.PAGE.read_text(), f"write it again: {tasks_page.COMMAND}"


def test_every_task_has_a_transcript():
    sections = re.split("^### ", tasks_page.PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert [one.split()[0] for one in sections if "```text" not in one] == []


@pytest.mark.parametrize("one", [one for one in tasks_page._golden() if one is not Mixture])
def test_a_task_names_its_source(one):
    assert re.search(r"\]\(https://(?:arxiv\.org/abs|doi\.org)/", docstrings.definition(one)), "arXiv: or doi:"


class Told(Task):
    """A list. (arXiv:2402.18510, section 2.)

    Two lines of
    prose (`a`, Theorem 5.2). A sample of the machine, as in (b) `c`::

        prompt: <s>

    | a | b |
    |---|---|
    | doi:10.1/x. | 2 |

    A sample::

        prompt: <s>

    Args:
        size: A number.
    """


def test_a_definition_is_the_prose_above_the_arguments():
    assert docstrings.definition(Told) == (
        "A list. ([arXiv:2402.18510](https://arxiv.org/abs/2402.18510), section 2.)\n\n"
        "Two lines of prose (`a`, Theorem 5.2).\n\n"
        "| a | b |\n|---|---|\n| [doi:10.1/x](https://doi.org/10.1/x). | 2 |"
    )


def test_a_sample_has_its_prompt_once_and_no_more_words_than_can_be_read(monkeypatch):
    monkeypatch.setattr(tasks_page, "_MOST_WORDS", 4)
    assert tasks_page._samples(Index(max_size=4, num_words=3), 4).splitlines()[3:] == [
        "prompt:    <s> w2 w1 ... 3", "vanilla:   w1", "cot:       1 2 3 w1",
        "retrieval: <StartSearch> @ 3 ... w1", "```",
    ]  # fmt: skip


def test_a_chance_is_a_fraction_or_a_decimal():
    class Guess:
        chance = 1 / 4096

    assert tasks_page._chance(Guess) == "1/4096"
    Guess.chance = 0.4567
    assert tasks_page._chance(Guess) == "0.457"


def test_a_data_file_of_a_mixture_is_ready_for_it():
    assert docstrings.ready(Mixture, "lit_retrieval.tasks", "data") == ["two_tasks_lengths"]
