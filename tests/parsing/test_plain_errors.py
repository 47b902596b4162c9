"""What a parser says to a value of another type: the key, what it must be, and what it was."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from torch import nn

from lit_retrieval.parsing import OneLineErrors
from lit_retrieval.tasks import Task


@dataclass
class Stage:
    """Keys of a part of a configuration."""

    mixers: list[int]
    repeat: int = 1


FAULTS = [
    (int, "wide", "key must be a whole number, got wide"),
    (int | None, "0o64", "key must be a whole number or null, got 0o64"),
    (int | float | None, "inf", "key must be a number or null, got inf"),
    (bool | int, "now", "key must be true or false or a whole number, got now"),
    (list[int] | None, "8", "key must be a list or null, got 8"),
    (dict[str, int] | None, "3", "key must be keys with values or null, got 3"),
    (Literal["a", "b", "c"], "d", "key must be a, b or c, got d"),
    (Literal["a", "b"] | None, "d", "key must be a or b or null, got d"),
    (nn.Module | None, "nowhere.X", "key: Problem with given class_path 'nowhere.X': No module named 'nowhere'"),
    (nn.Module | None, "fractions.Fraction", "key: fractions.Fraction does not correspond to a subclass of Module"),
    (nn.Module | None, "3", "key must be a class by its class_path or null, got 3"),
    (list[nn.Module] | nn.Module | None, "3", "key must be a list, a class by its class_path or null, got 3"),
    (list[nn.Module] | nn.Module, "[{class_path: nowhere.X}]", "given class_path 'nowhere.X': No module named"),
    (nn.Module | Iterable[nn.Module] | bool, "3", "a class by its class_path, a list or true or false, got 3"),
    (
        Callable[[int], nn.Module],
        "torch.nn.Lineer",
        "'torch.nn' has no attribute 'Lineer'; did you mean torch.nn.Linear?",
    ),
    (nn.Module, "torch.nn.lineer", "key: Problem with given class_path 'torch.nn.lineer': module 'torch.nn' has no"),
    (nn.Module, "torch.nn.relu", "did you mean torch.nn.ReLU?"),
    (nn.Module, "nowhere.X", "No module named 'nowhere'; install it, or start in the folder that has it"),
    (Task, "istre", "key must be a class by its class_path, got istre; did you mean lit_retrieval.tasks.IsTree?"),
    (Task | None, "indx", "by its class_path or null, got indx; did you mean lit_retrieval.tasks.Index?"),
    (Task, "Qux", "key must be a class by its class_path, got Qux; write it as my_file.MyClass"),
]


@pytest.mark.parametrize(("kind", "value", "said"), FAULTS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_wrong_value_is_named_with_what_it_must_be(kind, value, said, capsys):
    parser = OneLineErrors()
    parser.add_argument("--key", type=kind)
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["--key", value])
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and said in line and "Union" not in line, line


def test_other_messages_stay_as_they_are(capsys):
    parser = OneLineErrors()
    parser.add_argument("--file", type=Path, required=True)
    with pytest.raises(SystemExit):
        parser.parse_args(["--fil", "x"])
    assert "did you mean file?" in capsys.readouterr().err


def test_a_key_that_is_unlike_all_others_is_answered_with_the_few_that_there_are(capsys):
    parser = OneLineErrors()
    parser.add_argument("--key", type=list[Stage])
    with pytest.raises(SystemExit):
        parser.parse_args(["--key", "[{layers: [1]}]"])
    assert "the keys here are mixers, repeat" in capsys.readouterr().err
