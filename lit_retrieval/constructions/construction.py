"""The classes of the theorems, which a configuration names by `class_path`."""

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Literal, Protocol, cast, get_args

import torch

from lit_retrieval.circuits import Circuit
from lit_retrieval.circuits import Table as CircuitTable
from lit_retrieval.constructions import (
    proposition_5_1,
    theorem_4_1,
    theorem_4_6,
    theorem_4_7,
    theorem_4_8,
    theorem_5_2,
    theorem_5_3,
    theorem_5_4,
    theorem_5_6,
    theorem_5_7,
    theorem_5_8,
)
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.errors import UserError
from lit_retrieval.machines import Table, TuringMachine
from lit_retrieval.ranges import check_numbers
from lit_retrieval.vocabulary import Vocabulary, read_word

Problem = Literal["index", "associative_recall", "ngram_retrieval", "counting"]
Precision = Literal["float64", "float32"]
# Logits of words up to the number n, and their sums, are integers up to 6 n^2 + 4 (`write_head`): below 2^24.
_LARGEST = 1672


class Construction(Protocol):
    """The interface of a construction: it builds a model for a vocabulary."""

    def write(self, vocabulary: Vocabulary) -> ConstructedModel:
        """Construct the model; raises `UserError` if it needs words that are not in the vocabulary."""
        ...


class _Theorem(ABC):
    """A construction whose words must be in the vocabulary."""

    number: str
    problem: str = ""
    precision: Precision
    _module: ModuleType

    def write(self, vocabulary: Vocabulary) -> ConstructedModel:
        """Construct the model; see `Construction`."""
        model = self._construct(vocabulary)
        if unsaid := model.registers.unsaid(vocabulary):
            of = f" for {self.problem}" if self.problem else ""
            raise UserError(
                f"theorem {self.number}{of} writes words that must be in the task's vocabulary, such as {unsaid!r}; "
                "set data.task to the task that it is for, with query_form: full for theorem 5.2"
            )
        largest = max(abs(read_word(word)[1]) for word in vocabulary.words)
        if self.precision == "float32" and "say number" in model.registers and largest > _LARGEST:
            raise UserError(
                f"float32 tells words with numbers up to {_LARGEST:,} apart, and the task has {largest:,}; set "
                "model.construction.init_args.precision float64, or a smaller task"
            )
        return model.to(getattr(torch, self.precision))

    @abstractmethod
    def _construct(self, vocabulary: Vocabulary) -> ConstructedModel: ...


class _SimpleProblems(_Theorem):
    """A theorem with a model for each of the four simple problems.

    Args:
        problem: The task of the model: index, associative_recall, ngram_retrieval or counting.
        ngram_size: Number of words of an n-gram, for ngram_retrieval.
        precision: float64, or float32, which is exact for short contexts only.
    """

    def __init__(self, problem: Problem, ngram_size: int = 3, precision: Precision = "float64") -> None:
        if problem not in get_args(Problem):
            names = ", ".join(get_args(Problem))
            raise UserError(f"problem of theorem {self.number} must be one of {names}, got {problem!r}")
        self.problem, self.ngram_size, self.precision = problem, ngram_size, precision

    def _construct(self, vocabulary: Vocabulary) -> ConstructedModel:
        options = {"ngram_size": self.ngram_size} if self.problem == "ngram_retrieval" else {}
        return cast(ConstructedModel, getattr(self._module, self.problem)(vocabulary, **options))


class _IsTree(_Theorem):
    """A theorem with a model for IsTree.

    Args:
        precision: float64, or float32.
    """

    def __init__(self, precision: Precision = "float64") -> None:
        self.precision = precision

    def _construct(self, vocabulary: Vocabulary) -> ConstructedModel:
        return cast(ConstructedModel, self._module.is_tree(vocabulary))


class _Machine(_Theorem):
    """A theorem with a model for each Turing machine.

    Args:
        table: The same machine as in the task; see `lit_retrieval.machines.TuringMachine`.
        precision: float64, or float32, which is exact for short runs only.
    """

    def __init__(self, table: Table, precision: Precision = "float64") -> None:
        self.machine, self.precision = TuringMachine(table), precision

    def _construct(self, vocabulary: Vocabulary) -> ConstructedModel:
        return cast(ConstructedModel, self._module.turing_machine(vocabulary, self.machine))


class Theorem46(_SimpleProblems):
    """Transformers of constant size, which answer at once (arXiv:2402.18510, Theorem 4.6)."""

    number, _module = "4.6", theorem_4_6


class Theorem47(_IsTree):
    """A Transformer of constant size that decides IsTree by an Euler tour (arXiv:2402.18510, Theorem 4.7)."""

    number, _module = "4.7", theorem_4_7


class Theorem48(_Theorem):
    """An RNN's circuit as a Transformer of constant size that writes its gates (arXiv:2402.18510, Theorem 4.8).

    Args:
        circuit: The same RNN as in the task; see `lit_retrieval.circuits.Circuit`.
        precision: float64, or float32.
    """

    number = "4.8"

    def __init__(self, circuit: CircuitTable, precision: Precision = "float64") -> None:
        self.circuit, self.precision = Circuit.from_table(circuit), precision

    def _construct(self, vocabulary: Vocabulary) -> ConstructedModel:
        return theorem_4_8.recurrent_circuit(vocabulary, self.circuit)


class Proposition51(_Theorem):
    """A linear RNN that keeps some words and searches by associative recall (arXiv:2402.18510, Proposition 5.1).

    It is for Index with `distribution: separated_code`, and can't answer all questions.

    Args:
        kept: Number of words at the end of the list that it keeps.
        precision: float64, or float32.
    """

    number = "5.1"

    def __init__(self, kept: int = 16, precision: Precision = "float64") -> None:
        check_numbers("model.construction.init_args", kept=(kept, 1))
        self.kept, self.precision = kept, precision

    def _construct(self, vocabulary: Vocabulary) -> ConstructedModel:
        return proposition_5_1.index(vocabulary, self.kept)


class Theorem52(_SimpleProblems):
    """Linear RNNs of constant size, which answer with one search in their context (arXiv:2402.18510, Theorem 5.2)."""

    number, _module = "5.2", theorem_5_2


class Theorem53(_IsTree):
    """A linear RNN of constant size that decides IsTree by searches (arXiv:2402.18510, Theorem 5.3 and Algorithm 2)."""

    number, _module = "5.3", theorem_5_3


class Theorem54(_Machine):
    """Any Turing machine as a linear RNN that searches its own trace (arXiv:2402.18510, Theorem 5.4)."""

    number, _module = "5.4", theorem_5_4


class Theorem56(_SimpleProblems):
    """Linear RNNs with one Transformer layer on top, which answer at once (arXiv:2402.18510, Theorem 5.6)."""

    number, _module = "5.6", theorem_5_6


class Theorem57(_IsTree):
    """A linear RNN with one Transformer layer on top that decides IsTree by 12 n - 6 words (arXiv:2402.18510, 5.7).

    The task has no regime with this chain of thought. Score it in `vanilla`, with `data.max_new_tokens` of at least
    this many words, and in the closed loop only, since teacher forcing makes it answer at once.
    """

    number, _module = "5.7", theorem_5_7


class Theorem58(_Machine):
    """Any Turing machine as a linear RNN with one Transformer layer on top (arXiv:2402.18510, Theorem 5.8)."""

    number, _module = "5.8", theorem_5_8


class Theorem41(_Theorem):
    """A machine with little space as a linear RNN that rewrites its tape in every step (arXiv:2402.18510, Theorem 4.1).

    Args:
        table: The same machine as in the task; see `lit_retrieval.machines.TuringMachine`.
        space: Number of cells of the tape, at least 3; with fewer, the model would mix words of two tapes.
        precision: float64, or float32.
    """

    number = "4.1"

    def __init__(self, table: Table, space: int, precision: Precision = "float64") -> None:
        check_numbers("model.construction.init_args", space=(space, 3))
        self.machine, self.space, self.precision = TuringMachine(table), space, precision

    def _construct(self, vocabulary: Vocabulary) -> ConstructedModel:
        return theorem_4_1.turing_machine(vocabulary, self.machine, self.space)
