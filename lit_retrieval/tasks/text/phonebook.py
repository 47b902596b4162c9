"""Phonebook: one hop over sentences with phone numbers."""

from typing import NamedTuple

import numpy as np

from lit_retrieval.tasks.task import Regime
from lit_retrieval.tasks.text.names import check_people, draw_people
from lit_retrieval.tasks.text.text_task import Dialogue, TextTask

_NUMBERS = (1000, 10_000)  # from the first to the one after the last


class Entries(NamedTuple):
    """The entries of a phone book, and the one that the question asks for.

    Args:
        names: The names.
        numbers: The number of each.
        asked: Index of the one that the question names.
    """

    names: list[str]
    numbers: list[int]
    asked: int


class Phonebook(TextTask):
    r"""What is somebody's number? One hop over sentences, the phone book of arXiv:2402.01032.

    The size is the number of people, each with a number of four digits. The result of a search is a separate line. A
    sample of size 2::

        Emma Carter's number is 4821.
        Hugo Lane's number is 1033.
        Question: What is Hugo Lane's number?

        vanilla    Answer: 1033
        cot        Hugo Lane's number is 1033.
                   Answer: 1033
        retrieval  <StartSearch>Hugo Lane's number is (\d+)<EndSearch>[1033]
                   Answer: 1033
    """

    chance = 1 / (_NUMBERS[1] - _NUMBERS[0])

    def draw(self, rng: np.random.Generator, size: int) -> Entries:
        """The entries of a phone book."""
        return Entries(draw_people(rng, size), rng.integers(*_NUMBERS, size).tolist(), int(rng.integers(size)))

    def write_dialogue(self, problem: Entries, regime: Regime) -> Dialogue:
        """Write the prompt, the reply and the answer; see `TextTask`."""
        entries = zip(problem.names, problem.numbers, strict=True)
        facts = "".join(f"{name}'s number is {number}.\n" for name, number in entries)
        asked, answer = problem.names[problem.asked], str(problem.numbers[problem.asked])
        steps = {
            "vanilla": "",
            "cot": f"{asked}'s number is {answer}.\n",
            "retrieval": f"<StartSearch>{asked}'s number is (\\d+)<EndSearch>",
        }
        question = f"Question: What is {asked}'s number?\n"
        return Dialogue(facts + question, f"{steps[regime]}Answer: {answer}\n", answer)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The longest reply for one person, since replies do not grow with the number of people."""
        return super().longest_reply(1, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` for more people than there are names."""
        check_people(size, 1)
