"""Every number that a user may write: in range it works, and out of range one line says what to write."""

import inspect
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from fla_layers import HIDDEN_SIZE, SMALL, make_layer
from hops import Hops
from torch import nn

from lit_retrieval import mixers, tasks
from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import GRU, FlaLayer, make_mixer
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.models.rms_norm import RMSNorm
from lit_retrieval.ranges import check_above, check_at_least, check_between, check_choice, check_memory, check_numbers
from lit_retrieval.retrieval import RegularExpressionRetriever
from lit_retrieval.tasks import Counting, IsTree, Task
from lit_retrieval.vocabulary import Vocabulary

TABLE = {"A": {0: "1RHALT", 1: "0RYES"}}
CIRCUIT = {"reads": ["x0"], "writes": [], "answers": ["YES"], "gates": {"a": "one"}, "says": {"YES": "a"}}
RENAMED = {"budget": "max_new_tokens"}
NEEDED: dict[str, dict[str, Any]] = {  # arguments without a default
    "MachineRun": {"table": TABLE}, "SmallSpaceRun": {"table": TABLE, "space": 8},
    "Parallel": {"mixers": [mixers.GRU, mixers.Mamba]}, "Mixture": {"tasks": [Counting(16), IsTree(16)]},
    "Imported": {"vocab_size": 4}, "CircuitRun": {"circuit": CIRCUIT}, "ReadAgain": {"task": Counting(16)},
}  # fmt: skip


def run_mixer(mixer: nn.Module) -> None:
    y, state = mixer(torch.randn(1, 5, 16))
    assert y.shape == mixer(torch.randn(1, 5, 16), state)[0].shape and mixer.state_size(5) >= 0


def run_task(task: Task) -> None:
    sizes = []
    for size in range(80):
        try:
            task.check_size(size)
            sizes.append(size)
        except UserError as error:
            assert "size" in str(error)
    for regime in task.regimes if sizes else ():
        for size in (sizes[0], sizes[-1]):
            written = task.sample(0, np.arange(3), np.full(3, size), regime)
            longest = (written.length - written.prompt_length).max()
            assert task.shortest_reply(regime) <= longest <= task.longest_reply(size, regime)


def run_retriever(retriever: RegularExpressionRetriever) -> None:
    vocabulary = Vocabulary(["a", "b", r"\s+(\S+)"])
    retriever(vocabulary.encode(["a", "b"]), vocabulary.encode(["a", r"\s+(\S+)"]), vocabulary)


def run_data(data: TranscriptData) -> None:
    for loader in (data.train_dataloader, data.val_dataloader, data.test_dataloader, data.predict_dataloader):
        assert len(next(iter(loader())).tokens)


def run_norm(norm: RMSNorm) -> None:
    assert norm(torch.zeros(1, norm.weight.numel())).isfinite().all()


def classes_of(module: Any, kind: type) -> list[type]:
    found = [one for one in vars(module).values() if inspect.isclass(one) and issubclass(one, kind)]
    return [one for one in found if not inspect.isabstract(one) and one is not FlaLayer]


small_data = partial(TranscriptData, IsTree(8), "vanilla", [4], batch_size=2, eval_batch_size=2)
small_model = partial(SequenceModel, vocab_size=9, hidden_size=16, stages=[Stage([mixers.SwiGLU])])
MAKERS: dict[str, tuple[Callable[..., Any], Callable[[Any], None]]] = {
    **{
        one.__name__: (partial(one, hidden_size=16, layer_idx=0, **NEEDED.get(one.__name__, {})), run_mixer)
        for one in classes_of(mixers, nn.Module)
    },
    **{one.__name__: (partial(one, **NEEDED.get(one.__name__, {})), run_task) for one in classes_of(tasks, Task)},
    "Hops": (Hops, run_task),
    "Imported": (partial(tasks.Imported, vocab_size=4), lambda task: None),  # its samples are those of files
    "RegularExpressionRetriever": (RegularExpressionRetriever, run_retriever),
    "TranscriptData": (small_data, run_data),
    "SequenceModel": (small_model, lambda model: model(torch.zeros(1, 3, dtype=torch.int64))),
    "Stage": (lambda repeat=1: small_model(stages=[Stage([mixers.SwiGLU], repeat)]), lambda model: None),
    "RMSNorm": (partial(RMSNorm, hidden_size=16), run_norm),
}


def numbers_of(maker: Callable[..., Any]) -> Iterator[tuple[str, float]]:
    """Each argument that is a number, with values that may be out of its range."""
    for name, parameter in inspect.signature(maker).parameters.items():
        kinds = {parameter.annotation, *get_args(parameter.annotation), type(parameter.default)}
        is_list = get_origin(parameter.annotation) is list
        numbers = (0, -1) if kinds & {int, float} and bool not in kinds else ()
        for value in (*numbers, *((math.nan, math.inf, -math.inf) if float in kinds else ())):
            yield name, [value] if is_list else value


def choices_of(maker: Callable[..., Any]) -> list[str]:
    """The arguments that are one of several words."""
    parameters = inspect.signature(maker).parameters
    return [name for name, one in parameters.items() if get_origin(one.annotation) is Literal]


TASKS_WITH_CHOICES = [one.__name__ for one in classes_of(tasks, Task) if choices_of(one)]


@pytest.mark.parametrize("name", TASKS_WITH_CHOICES)
def test_a_choice_of_a_task_that_it_does_not_have_is_refused_with_its_key(name):
    maker, _ = MAKERS[name]
    for argument in choices_of(maker):
        with pytest.raises(UserError, match=rf"^{argument} must be .*'none'; set data\.task\.init_args\.{argument}$"):
            maker(**{argument: "none"})


def test_there_are_numbers_and_choices_to_try():
    tried = {name: {argument for argument, _ in numbers_of(maker)} for name, (maker, _) in MAKERS.items()}
    assert tried["SlidingWindowAttention"] == {
        "hidden_size",
        "layer_idx",
        "window",
        "num_heads",
        "num_kv_heads",
        "rope_base",
    }
    assert tried["MQAR"] == {"vocab_size", "num_kv_pairs", "power_a"} and tried["Stage"] == {"repeat"}
    assert sum(map(bool, tried.values())) > 0.8 * len(tried) and choices_of(tasks.MQAR) == ["query_form", "answers"]


@pytest.mark.parametrize("name", MAKERS)
def test_a_number_is_in_range_or_refused_in_one_line(name):
    maker, run = MAKERS[name]
    run(maker())
    for argument, value in numbers_of(maker):
        try:
            run(maker(**{argument: value}))
        except UserError as error:
            assert RENAMED.get(argument, argument) in str(error) and "\n" not in str(error), (argument, value)
            assert f"got {value}" in str(error) or not str(error).startswith(f"{argument} must be"), (argument, value)


@pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
@pytest.mark.parametrize("num_heads", [0, -1, 3])
@pytest.mark.parametrize(
    "name", [name for name in SMALL if "num_heads" in SMALL[name] and "head_dim" not in SMALL[name]]
)
def test_what_fla_refuses_is_one_line(name, num_heads):
    def factory(hidden_size: int, layer_idx: int) -> nn.Module:
        return make_layer(name, num_heads=num_heads)

    with pytest.raises(UserError, match=r"refuses its arguments: \w+: .+; it gets hidden_size=32") as refused:
        make_mixer(factory, HIDDEN_SIZE, 0)
    assert "\n" not in str(refused.value)


def test_an_error_of_ones_own_mixer_is_one_line_that_says_where():
    def factory(hidden_size: int, layer_idx: int) -> nn.Module:
        raise ValueError("mine")

    with pytest.raises(UserError, match=r"factory refuses its arguments: ValueError: mine \(test_ranges.py:\d+\)"):
        make_mixer(factory, 16, 0)


def test_an_error_of_our_own_mixer_is_a_bug(monkeypatch):
    def fail(*_, **__):
        raise ValueError("ours")

    monkeypatch.setattr(GRU, "__init__", fail)
    with pytest.raises(ValueError, match=r"^ours$"):
        make_mixer(GRU, 16, 0)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: check_at_least("window", 0, 1, "model.stages...window"), "window must be 1 or more, got 0; set model"),
        (lambda: check_at_least("rate", math.inf, 0, "x"), "rate must be 0 or more, got inf; set x"),
        (lambda: check_above("timeout", 0, 0, "x"), "timeout must be above 0 and finite, got 0; set x"),
        (lambda: check_between("share", math.nan, 0, 1, "x"), "share must be 0 to 1, got nan; set x"),
        (lambda: check_numbers("data", a=(1, 1), b=(0, 2)), "b must be 2 or more, got 0; set data.b"),
        (lambda: check_numbers("data", 9, a=(9, 1), b=(10, 2)), "b must be 9 or less, got 10; set data.b"),
        (lambda: check_choice("form", "c", ("a", "b"), "x"), "form must be a or b, got 'c'; set x.form"),
        (lambda: check_memory("a list", 1e18, "x"), "a list would take 1,000,000,000 GB of memory or more, and this"),
    ],
)
def test_a_check_says_what_must_hold_what_was_given_and_where(check, said):
    with pytest.raises(UserError) as refused:
        check()
    assert str(refused.value).startswith(said)


def test_what_is_in_range_passes():
    check_at_least("a", 1, 1, "a")
    check_above("a", 1e-9, 0, "a")
    check_between("a", 1, 0, 1, "a")
