"""Tasks that each break one rule, and a right one that they are made from."""

import dataclasses
import random
from itertools import count
from pathlib import Path
from time import time
from typing import Any

import numpy as np

from lit_retrieval.tasks import Task, Turn, WordTask
from lit_retrieval.vocabulary import FIRST_WORD, Vocabulary


class Parity(WordTask):
    """A right one: is the number of ones odd?"""

    def __init__(self) -> None:
        super().__init__(["0", "1", "YES", "NO", "even", "odd"], answers=["YES", "NO"])

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        return rng.integers(0, 2, size).tolist()

    def write_turns(self, problem: Any, regime: str) -> Any:
        answer = "YES" if sum(problem) % 2 else "NO"
        chain = {
            "vanilla": "",
            "cot": " ".join("odd" if sum(problem[:end]) % 2 else "even" for end in range(len(problem))),
            "retrieval": f"<StartSearch> @ {problem[0]} <EndSearch>",
        }
        return [Turn(f"<s> {' '.join(map(str, problem))} ?", f"{chain[regime]} {answer}")]


class Forgotten(Parity):
    """It does not call super().__init__()."""

    def __init__(self) -> None:
        self.words = ["0", "1"]


class Elsewhere(Parity):
    """It is evaluated in other words."""

    @property
    def evaluation(self) -> Task:
        task = Parity()
        task.vocabulary = Vocabulary(["0", "1", "yes", "no"])
        return task


class OtherValidation(Parity):
    """It is validated in other words."""

    @property
    def validation(self) -> Task:
        task = Parity()
        task.vocabulary = Vocabulary(["0", "1", "yes", "no"])
        return task


class Undecided(Parity):
    """Its chain of thought comes to the other answer."""

    def write_turns(self, problem: Any, regime: str) -> Any:
        (turn,) = super().write_turns(problem, regime)
        *steps, answer = turn.reply.split()
        other = {"YES": "NO", "NO": "YES"}[answer] if regime == "cot" else answer
        return [Turn(turn.prompt, " ".join([*steps, other]))]


class AnySize(Parity):
    """It takes sizes that there can't be."""

    def check_size(self, size: int) -> None:
        """Refuses none."""


class FromRandom(Parity):
    """It draws from the global random numbers."""

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        return [random.randint(0, 1) for _ in range(size)]


class FromNumpy(Parity):
    """It draws from NumPy's global random numbers."""

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        return np.random.randint(0, 2, size).tolist()


class Remembering(Parity):
    """Its samples depend on how many were drawn before."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = count()

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        return [int(bit) for bit in f"{next(self.drawn) % 2**size:0{size}b}"]


class ByRow(Parity):
    """Its samples depend on their row in the batch."""

    def write(self, seed: int, indices: Any, sizes: Any, regime: Any) -> Any:
        return super().write(seed, np.arange(len(indices)) + indices.min(), sizes, regime)


class Unseeded(Parity):
    """It ignores the seed."""

    def write(self, seed: int, indices: Any, sizes: Any, regime: Any) -> Any:
        return super().write(0, indices, sizes, regime)


class Constant(Parity):
    """Its random numbers are always the same."""

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        return super().draw(np.random.default_rng(0), size)


class WithoutSearch(Parity):
    """Its retrieval is its chain of thought."""

    def write_turns(self, problem: Any, regime: str) -> Any:
        return super().write_turns(problem, "cot" if regime == "retrieval" else regime)


class Talkative(Parity):
    """Its vanilla is its chain of thought."""

    def write_turns(self, problem: Any, regime: str) -> Any:
        return super().write_turns(problem, "cot" if regime == "vanilla" else regime)


class Mistyped(Parity):
    """None of its searches finds anything."""

    def write_turns(self, problem: Any, regime: str) -> Any:
        (turn,) = super().write_turns(problem, regime)
        return [turn._replace(reply=turn.reply.replace("@ ", "- "))]


class WithoutChances(Parity):
    """It has two kinds, and one chance."""

    kinds = ("even", "odd")


class OneName(Parity):
    """Its kinds have one name."""

    kinds = ("bits", "bits")
    chances = (0.5, 0.5)


class OtherSizes(Parity):
    """Its samples have other sizes than those asked for."""

    def write(self, seed: int, indices: Any, sizes: Any, regime: Any) -> Any:
        return dataclasses.replace(super().write(seed, indices, sizes, regime), sizes=sizes + 1)


class Text(Parity):
    """Its turns are a string."""

    def write_turns(self, problem: Any, regime: str) -> Any:
        return super().write_turns(problem, regime)[0].reply


class Chained(Parity):
    """The steps of its chain of thought are answers."""

    def write_turns(self, problem: Any, regime: str) -> Any:
        (turn,) = super().write_turns(problem, regime)
        return [turn._replace(reply=turn.reply.replace("odd", "YES").replace("even", "NO"))]


class Failing(Parity):
    """It raises an error."""

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        return [0, 1][size]


class WithoutPrompt(Parity):
    """Its transcripts begin with the model."""

    def write(self, seed: int, indices: Any, sizes: Any, regime: Any) -> Any:
        found = super().write(seed, indices, sizes, regime)
        return dataclasses.replace(found, prompt_length=np.zeros_like(found.prompt_length))


class OtherAnswers(Parity):
    """Its answers are not among its answer words."""

    def write(self, seed: int, indices: Any, sizes: Any, regime: Any) -> Any:
        found = super().write(seed, indices, sizes, regime)
        return dataclasses.replace(found, answers=found.tokens[:, 1:2])


class WrongAnswers(Parity):
    """Its answers are not those of its transcripts."""

    def write(self, seed: int, indices: Any, sizes: Any, regime: Any) -> Any:
        found = super().write(seed, indices, sizes, regime)
        return dataclasses.replace(found, answers=self.answer_words.sum() - found.answers)


class Invented(Parity):
    """What its searches find is not in the context."""

    def write(self, seed: int, indices: Any, sizes: Any, regime: Any) -> Any:
        found = super().write(seed, indices, sizes, regime)
        invented = np.where(found.author == 3, self.vocabulary.encode(["odd"]), found.tokens).astype(np.int32)
        return dataclasses.replace(found, tokens=invented)


class Short(Parity):
    """Its replies are longer than it says."""

    def longest_reply(self, size: int, regime: Any) -> int:
        return 2


class Unpicklable(Parity):
    """It holds a function that can't be sent to a data-loader worker."""

    def __init__(self) -> None:
        super().__init__()
        self.key = lambda word: word


class OfHashes(Parity):
    """Its samples depend on the hashes of strings, which each process has others of."""

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        return [hash(str(bit)) % 2 for bit in rng.integers(0, 2**16, size)]


class OfASet(Parity):
    """Its words are in the order of a set."""

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary = Vocabulary(list({*self.vocabulary.words[FIRST_WORD:]}))
        self.answer_words = self.vocabulary.encode(["YES", "NO"])


class OfAFolder(Parity):
    """Its samples depend on the order of the files in a folder."""

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        first = next(Path(__file__).parent.glob("*.py")).name
        return (rng.integers(0, 2, size) ^ sum(map(ord, first)) % 2).tolist()


class OfTheDay(Parity):
    """Its samples depend on the time."""

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        return (np.random.default_rng(int(time() / 86400) + int(rng.integers(99))).integers(0, 2, size)).tolist()


class Abstract(WordTask):
    """It lacks a method."""

    def draw(self, rng: np.random.Generator, size: int) -> Any:
        return None


# The rule that each breaks, and a part of its line.
BROKEN: dict[type[Task], tuple[str, str]] = {
    Forgotten: ("attributes", "Forgotten must have vocabulary and answer_words and chance; call super().__init__(...)"),
    Elsewhere: ("attributes", "evaluation must have the task's vocabulary, and has other words"),
    OtherValidation: ("attributes", "validation must have the task's vocabulary, and has other words"),
    Undecided: ("same answers", "a problem must have the same answers in all regimes, and sample 0 has"),
    AnySize: ("sizes", "check_size(-1) must raise UserError"),
    FromRandom: ("same twice", "draw from `rng` alone"),
    FromNumpy: ("same twice", "draw from `rng` alone"),
    Remembering: ("same twice", "keep nothing from one sample to the next"),
    ByRow: ("index alone", "derive it from its own index, not from its row"),
    Unseeded: ("distinct", "derive them from the seed, too"),
    Constant: ("distinct", "samples must differ, but all 64 are the same; draw from `rng`"),
    WithoutSearch: ("regime", "retrieval must have a search, and samples of it have none"),
    Talkative: ("regime", "vanilla must have the answers alone"),
    Mistyped: ("oracle", "find FAILED; write other queries"),
    WithoutChances: ("bounds", "kinds must have a name and one of `chances` each"),
    OneName: ("bounds", "kinds must have a name and one of `chances` each"),
    OtherSizes: ("bounds", "sizes of samples must be those asked for, (8,), got [9]"),
    Text: ("form", "write_turns of Text must return a list of one or more Turn(prompt, reply), two strings"),
    Chained: ("form", "with 9 answers, and its num_answers is 1"),
    Failing: ("form", "it raised IndexError: list index out of range (broken_tasks.py:"),
    WithoutPrompt: ("form", "set prompt_length and author"),
    OtherAnswers: ("answers", "answers must be one or more of answer_words"),
    WrongAnswers: ("oracle", "end each turn with its answer"),
    Invented: ("oracle", "where the transcript has 'odd'"),
    Short: ("bounds", "correct shortest_reply, longest_reply or longest_distance"),
    Unpicklable: ("workers", "it must be picklable, for workers"),
}

# Those that other processes show alone.
OF_PROCESSES = {OfHashes: "samples", OfASet: "words", OfAFolder: "samples", OfTheDay: "samples"}
