"""Friends: two hops over sentences about people."""

from typing import NamedTuple

import numpy as np

from lit_retrieval.tasks.task import Regime
from lit_retrieval.tasks.text.names import CITIES, check_people, draw_people
from lit_retrieval.tasks.text.text_task import Dialogue, TextTask


class People(NamedTuple):
    """People, and the one that the question asks about.

    Args:
        names: Their names.
        friends: Index of the best friend of each, another one.
        cities: Index of the city of each in `CITIES`.
        asked: Index of the one that the question names.
    """

    names: list[str]
    friends: list[int]
    cities: list[int]
    asked: int


class Friends(TextTask):
    r"""Where does somebody's best friend live? Two hops over sentences, as in bAbI's second task (arXiv:1502.05698).

    The prompt states the best friend (another person) and the city of each person. The size is the number of people.
    The result of a search is a separate line. A sample of size 2::

        Emma Carter's best friend is Hugo Lane.
        Emma Carter lives in Oslo.
        Hugo Lane's best friend is Emma Carter.
        Hugo Lane lives in Cairo.
        Question: In which city does Emma Carter's best friend live?

        vanilla    Answer: Cairo
        cot        Emma Carter's best friend is Hugo Lane.
                   Hugo Lane lives in Cairo.
                   Answer: Cairo
        retrieval  <StartSearch>Emma Carter's best friend is (\w+ \w+)<EndSearch>[Hugo Lane]
                   <StartSearch>Hugo Lane lives in (\w+)<EndSearch>[Cairo]
                   Answer: Cairo
    """

    chance = 1 / len(CITIES)

    def draw(self, rng: np.random.Generator, size: int) -> People:
        """People with their friends and cities."""
        others = rng.integers(1, size, size)
        return People(
            draw_people(rng, size), ((np.arange(size) + others) % size).tolist(),
            rng.integers(len(CITIES), size=size).tolist(), int(rng.integers(size)),
        )  # fmt: skip

    def write_dialogue(self, problem: People, regime: Regime) -> Dialogue:
        """Write the prompt, the reply and the answer; see `TextTask`."""
        names, asked = problem.names, problem.names[problem.asked]
        cities = [CITIES[city] for city in problem.cities]
        facts = "".join(
            f"{name}'s best friend is {names[friend]}.\n{name} lives in {city}.\n"
            for name, friend, city in zip(names, problem.friends, cities, strict=True)
        )
        friend, answer = (found[problem.friends[problem.asked]] for found in (names, cities))
        steps = {
            "vanilla": "",
            "cot": f"{asked}'s best friend is {friend}.\n{friend} lives in {answer}.\n",
            "retrieval": f"<StartSearch>{asked}'s best friend is (\\w+ \\w+)<EndSearch>"
            f"<StartSearch>{friend} lives in (\\w+)<EndSearch>",
        }
        question = f"Question: In which city does {asked}'s best friend live?\n"
        return Dialogue(facts + question, f"{steps[regime]}Answer: {answer}\n", answer)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The longest reply for the fewest people, since replies do not grow with their number."""
        return super().longest_reply(2, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` for fewer than two people, or for more people than there are names."""
        check_people(size, 2)
