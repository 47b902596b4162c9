"""The classes of a run are checked before its first step, and the run does not notice."""

import math
from contextlib import nullcontext

import broken_layers
import broken_tasks
import pytest
import torch
from broken_layers import BROKEN, Average, Unsaved
from tiny_fit import fit
from torch import nn

from lit_retrieval.cli import main
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import GRU, Attention, Mamba
from lit_retrieval.mixers.checks import RULES, report
from lit_retrieval.training.conformance import distinct

CHEAP = {rule.name for rule in RULES if rule.is_cheap} | {"built"}
REFUSED = {one: said for one, (rule, said) in BROKEN.items() if rule in CHEAP and one is not Unsaved}


@pytest.mark.parametrize("layer", REFUSED, ids=lambda layer: layer.__name__)
def test_a_broken_layer_ends_a_fit_in_one_line(layer, tmp_path):
    with pytest.raises(UserError) as refused:
        fit(tmp_path, mixer=layer)
    line = str(refused.value)
    assert line.startswith(f"broken_layers.{layer.__name__} ") and "\n" not in line
    said = REFUSED[layer].removesuffix(" float32").replace("16", "8").replace("32", "16")  # the model is half as wide
    assert said in line


@pytest.mark.parametrize("task", [broken_tasks.FromRandom, broken_tasks.ByRow, broken_tasks.Chained, broken_tasks.Text])
def test_a_broken_task_ends_a_fit_in_one_line(task, tmp_path):
    with pytest.raises(UserError) as refused:
        fit(tmp_path, task=task())
    line = str(refused.value)
    assert "\n" not in line and task.__name__ in line and broken_tasks.BROKEN[task][1].replace("9", "5") in line


@pytest.mark.parametrize("word", ["broken_layers.DictState", "broken_layers.NoIndex", "math.sqrt"])
def test_the_command_line_ends_with_that_line_and_status_2(word, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    stages = f"[{{mixers: [{{class_path: {word}}}]}}]"
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", "quickstart", "--model.stages", stages, "--trainer.accelerator", "cpu",
              "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "2"])  # fmt: skip
    err = capfd.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert ended.value.code == 2 and "Traceback" not in err and word in line


def test_the_command_line_names_a_class_with_other_arguments(monkeypatch, capfd):
    for stages, said in (
        ("[{mixers: [{class_path: broken_layers.OtherNames}]}]", "but a mixer gets hidden_size and layer_idx; rename"),
        ("[{mixers: [{class_path: lit_retrieval.mixers.Parallel}]}]", "needs mixers; write init_args beside its class"),
    ):
        with pytest.raises(SystemExit):
            main(["fit", "--config", "quickstart", "--model.stages", stages])
        line = capfd.readouterr().err.splitlines()[-1]
        assert line.startswith(("error: broken_layers.OtherNames", "error: lit_retrieval.mixers.")) and said in line


def test_a_layer_that_does_not_use_a_weight_trains_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match=r"broken_layers\.Unused: gate got no gradient"):
        fit(tmp_path, mixer=broken_layers.Unused)


def test_a_layer_is_checked_at_the_length_of_the_training_samples(tmp_path, monkeypatch):
    lengths = []
    monkeypatch.setattr("lit_retrieval.training.conformance.check_mixer", lambda *given: lengths.append(given[2]))
    _, trainer = fit(tmp_path)
    data = trainer.datamodule
    assert lengths == [data.some_of_size(16, 8).length.max()]


def test_a_function_that_makes_no_module_is_refused(tmp_path):
    def make(hidden_size, layer_idx):
        return math.sqrt(hidden_size)

    with pytest.raises(UserError, match=r"make must make an nn.Module, got a float; write a class derived from it"):
        fit(tmp_path, mixer=make)


class Drawing(Average):
    """It draws random numbers while it trains, and when it is copied."""

    def forward(self, x, state=None):
        torch.rand(3)
        return super().forward(x, state)


@pytest.mark.parametrize("mixer", [Mamba, Drawing])
def test_a_training_is_bit_identical_with_and_without_the_check(mixer, tmp_path, monkeypatch):
    trained, _ = fit(tmp_path, mixer=mixer)
    called = []
    monkeypatch.setattr("lit_retrieval.training.sequence_module.check_classes", lambda *_: called.append(1))
    unchecked, _ = fit(tmp_path, mixer=mixer)
    assert called and all(torch.equal(one, unchecked.state_dict()[name]) for name, one in trained.state_dict().items())


def test_layers_that_differ_in_their_index_alone_are_checked_once():
    class Numbered(nn.Linear):
        def __init__(self, layer_idx, scale):
            super().__init__(4, 4)
            self.layer_idx, self.scale = layer_idx, scale

    checked = distinct([Numbered(0, 1.0), Numbered(1, 1.0), Numbered(2, 2.0)])
    assert [one.scale for one in checked] == [1.0, 2.0]


class HalfOnly(Average):
    """It can't take float32, as some kernels of GPUs."""

    def forward(self, x, state=None):
        u = self.in_proj(x)
        if u.dtype != torch.bfloat16:
            raise TypeError(f"bfloat16 only, got {u.dtype}")
        return super().forward(x, state)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true", "32-true"])
@pytest.mark.parametrize("mixer", [Mamba, Attention, GRU, Average, HalfOnly, broken_layers.Forgetful])
def test_layers_are_checked_in_the_precision_of_the_run(mixer, precision, tmp_path):
    if mixer is broken_layers.Forgetful:
        said = "breaks the rule `reads its state`"
    else:
        said = "TypeError: bfloat16 only" if mixer is HalfOnly and "16" not in precision else ""
    with pytest.raises(UserError, match=said) if said else nullcontext():
        fit(tmp_path, mixer=mixer, precision=precision)


class Rotating(Average):
    """Its decays and its state are complex."""

    def __init__(self, hidden_size, layer_idx):
        super().__init__(hidden_size, layer_idx)
        self.decay = nn.Parameter(torch.polar(torch.full((hidden_size,), 0.9), torch.linspace(0.1, 3, hidden_size)))

    def forward(self, x, state=None):
        u, outputs = self.in_proj(x), []
        h = torch.zeros_like(self.decay) if state is None else state
        for step in u.unbind(1):
            h = self.decay * h + step
            outputs.append(h.real)
        return torch.stack(outputs, 1), h


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "bf16-true", "16-true"])
def test_a_layer_with_complex_numbers_trains_where_they_stay_complex(precision, tmp_path):
    said = rf"^mixers\.0\.decay has complex numbers, which {precision} can't have; set trainer\.precision to 32-true$"
    with pytest.raises(UserError, match=said) if precision.endswith("16-true") else nullcontext():
        one, _ = fit(tmp_path, mixer=Rotating, precision=precision)
        assert all(mixer.decay.is_complex() and mixer.decay.imag.min() > 0 for mixer in one.model.mixers)
    assert not [verdict for verdict in report(Rotating, 8, 0) if verdict.result == "FAIL"]


def test_a_layer_that_can_not_be_copied_trains(tmp_path):
    class Computed(Average):
        def __init__(self, hidden_size, layer_idx):
            super().__init__(hidden_size, layer_idx)
            self.scale = self.decay * 2  # deepcopy refuses what is not a leaf

        def forward(self, x, state=None):
            self.scale = self.decay * 2
            return super().forward(x, state)

    one, _ = fit(tmp_path, mixer=Computed)
    assert all(mixer.training for mixer in one.model.mixers)
