"""An example of your own task, in words: follow links from word to word."""

from typing import NamedTuple

import numpy as np

from lit_retrieval.ranges import check_between, check_numbers
from lit_retrieval.tasks import Regime, Turn, WordTask


class Links(NamedTuple):
    """A problem: place p leads to `follows[p]`, and links are listed in the order of `order`."""

    order: list[int]
    follows: dict[int, int]
    start: int
    hops: int


class Hops(WordTask):
    """Links between places, then a start and a number of hops: where do they lead?

    A sample with 3 links, with retrieved tokens in brackets::

        prompt:    <s> n2> n3 n1> n2 n3> n2 ? n1 2
        vanilla:   n3
        cot:       n1> n2> n3
        retrieval: <StartSearch> n1> <EndSearch> [n2] <StartSearch> n2> <EndSearch> [n3] n3

    The size of a problem is its number of links.

    Args:
        num_places: Number of places in the vocabulary.
        max_hops: Largest number of hops.
    """

    def __init__(self, num_places: int = 16, max_hops: int = 3) -> None:
        check_numbers("data.task.init_args", num_places=(num_places, 1), max_hops=(max_hops, 1))
        self.num_places = num_places
        self.max_hops = max_hops
        places = [f"n{place}" for place in range(1, num_places + 1)]
        links = [f"{place}>" for place in places]
        super().__init__([*places, *links, *map(str, range(1, max_hops + 1))], answers=places)

    def draw(self, rng: np.random.Generator, size: int) -> Links:
        """Draw a random link from each of `size` places."""
        places = (1 + rng.permutation(self.num_places)[:size]).tolist()
        follows = {place: int(rng.choice(places)) for place in places}
        return Links(places, follows, int(rng.choice(places)), int(rng.integers(1, self.max_hops + 1)))

    def write_turns(self, problem: Links, regime: Regime) -> list[Turn]:
        """Return the question and its answer."""
        passed = [problem.start]
        for _ in range(problem.hops):
            passed.append(problem.follows[passed[-1]])
        told = " ".join(f"n{place}> n{problem.follows[place]}" for place in problem.order)
        steps = {
            "vanilla": "",
            "cot": " ".join(f"n{place}>" for place in passed[:-1]),
            "retrieval": " ".join(f"<StartSearch> n{place}> <EndSearch>" for place in passed[:-1]),
        }
        return [Turn(f"<s> {told} ? n{problem.start} {problem.hops}", f"{steps[regime]} n{passed[-1]}")]

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there are that many places."""
        check_between("size", size, 1, self.num_places, "data.sizes, or raise num_places")
