"""`mixers check`: right layers pass, and each broken layer fails on the rule that it breaks and on no other."""

import sys
from functools import partial

import pytest
import torch
from broken_layers import BROKEN, Average, Unsaved
from fla_layers import HIDDEN_SIZE, SMALL
from mixer_cases import MIXERS
from torch import nn

from lit_retrieval.conformance import path_of
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import FlaLayer, Mamba, as_mixer
from lit_retrieval.mixers.__main__ import main
from lit_retrieval.mixers.checks import RULES, Case, check_mixer, constants_moved, describe_unused, report
from lit_retrieval.mixers.checks.along_time import is_causal_over

WITHOUT_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it runs")
CHEAP = {rule.name for rule in RULES if rule.is_cheap}
SLOW_RULE = "torch.compile"  # takes seconds


FLA = {**SMALL, "Mamba": {"state_size": 8, "intermediate_size": 2 * HIDDEN_SIZE}}


@pytest.fixture
def without_compiling(monkeypatch):
    monkeypatch.setattr("lit_retrieval.mixers.checks.check.RULES", [one for one in RULES if one.name != SLOW_RULE])


def make_fla(name, hidden_size, layer_idx):
    import fla.layers
    from fla.layers.simple_gla import SimpleGatedLinearAttention

    return getattr(fla.layers, name, SimpleGatedLinearAttention)(
        hidden_size=hidden_size, layer_idx=layer_idx, **FLA[name]
    )


def results(factory, hidden_size=16):
    return {verdict.rule: verdict for verdict in report(factory, hidden_size, 0)}


@pytest.mark.parametrize("name", [*MIXERS, *(FLA if sys.platform == "linux" else ())])
def test_every_mixer_keeps_all_rules(name, without_compiling):
    factory = MIXERS[name] if name in MIXERS else partial(make_fla, name)
    found = results(factory, HIDDEN_SIZE)
    assert not [verdict for verdict in found.values() if verdict.result not in ("pass", "n/a")]
    does_not_apply = {name for name, verdict in found.items() if verdict.result == "n/a"}
    of_some = {"auxiliary loss", "auxiliary loss: rows"}
    assert does_not_apply <= {"CUDA", "causal with NaN", "decoding", "gradient: state", *of_some}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MIXERS, *(FLA if sys.platform == "linux" else ())])
def test_every_mixer_can_be_compiled(name, monkeypatch):
    kept = [rule._replace(needs=()) for rule in RULES if rule.name == SLOW_RULE]
    monkeypatch.setattr("lit_retrieval.mixers.checks.check.RULES", kept)
    assert results(MIXERS.get(name) or partial(make_fla, name), HIDDEN_SIZE)[SLOW_RULE].result == "pass"


@pytest.mark.parametrize("layer", BROKEN, ids=lambda layer: layer.__name__)
def test_a_broken_layer_fails_on_the_rule_that_it_breaks(layer, without_compiling):
    rule, said = BROKEN[layer]
    (failed,) = [verdict for verdict in results(layer).values() if verdict.result == "FAIL"]
    assert failed.rule == rule and said in failed.shown and "\n" not in failed.shown


@pytest.mark.parametrize(
    "layer", [one for one, (rule, _) in BROKEN.items() if rule in CHEAP and one is not Unsaved], ids=path_of
)  # of Unsaved a run has no second one, only copies
def test_what_is_cheap_to_see_is_refused_in_one_line(layer):
    rule, said = BROKEN[layer]
    with pytest.raises(UserError) as refused:
        check_mixer(layer(16, 0).eval(), 16)
    line = str(refused.value)
    assert line.startswith(f"broken_layers.{layer.__name__} breaks the rule `{rule}`: ") and said in line
    assert f"python -m lit_retrieval.mixers check broken_layers.{layer.__name__}" in line and "\n" not in line


class LongForeseeing(Average):
    """Each token sees those after it in inputs of 200 tokens or more."""

    def forward(self, x, state=None):
        return super().forward(x - 0.1 * x.mean(1, keepdim=True) if x.shape[1] >= 200 else x, state)


def test_a_layer_that_sees_the_future_in_long_inputs_only_is_refused_before_a_run_of_that_length():
    mixer = LongForeseeing(16, 0).eval()
    for length in (0, 199):
        check_mixer(mixer, 16, length)
    with pytest.raises(UserError, match="LongForeseeing breaks the rule `causal`: the first 147 of 294 outputs must"):
        check_mixer(mixer, 16, 294)
    with pytest.raises(UserError, match="the first 512 of 1024 outputs"):
        check_mixer(mixer, 16, 10**6)


def test_outputs_that_overflow_in_long_inputs_are_not_taken_for_the_future():
    class Growing(Average):
        def forward(self, x, state=None):
            y, h = super().forward(x, state)
            return y * (3e38 if x.shape[1] > 200 else 1), h

    check_mixer(Growing(16, 0).eval(), 16, 294)


@pytest.mark.parametrize("name", [*MIXERS, *(FLA if sys.platform == "linux" else ())])
def test_a_ready_mixer_is_causal_in_long_inputs_and_uses_all_weights(name):
    factory = MIXERS[name] if name in MIXERS else partial(make_fla, name)
    mixer = as_mixer(factory(hidden_size=HIDDEN_SIZE, layer_idx=0)).eval()
    with constants_moved(mixer):
        is_causal_over(300, Case(mixer, HIDDEN_SIZE))
    assert not describe_unused(mixer, HIDDEN_SIZE)


def test_weights_that_are_used_in_one_mode_or_by_the_auxiliary_loss_alone_are_used():
    class ByMode(Average):
        has_auxiliary_loss = True

        def __init__(self, hidden_size, layer_idx):
            super().__init__(hidden_size, layer_idx)
            for name in ("noise", "sharpness", "router", "gate", "bias"):
                setattr(self, name, nn.Parameter(torch.zeros(hidden_size)))

        def forward(self, x, state=None, is_token=None):
            y, h = super().forward(x, state)
            y = y + (self.noise if self.training else self.sharpness)
            return (y, h) if is_token is None else (y, h, self.router.square().sum())

    told = describe_unused(ByMode(16, 0).eval(), 16)
    assert "ByMode: gate and 1 more got no gradient" in told


def test_a_layer_without_a_gradient_gets_no_warning():
    class Refusing(Average):
        def forward(self, x, state=None):
            if torch.is_grad_enabled():
                raise NotImplementedError
            return super().forward(x, state)

    assert not describe_unused(Refusing(16, 0).eval(), 16)


def test_noise_in_training_mode_is_no_mistake():
    class Dropped(Average):
        def __init__(self, hidden_size, layer_idx):
            super().__init__(hidden_size, layer_idx)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x, state=None):
            y, h = super().forward(x, state)
            return self.dropout(y), h

    check_mixer(Dropped(16, 0).eval(), 16)


def test_a_buffer_that_grows_while_it_decodes_is_no_mistake_where_it_is_added():
    class Biased(Average):
        def __init__(self, hidden_size, layer_idx):
            super().__init__(hidden_size, layer_idx)
            self.register_buffer("bias", torch.ones(1, 1), persistent=False)

        def forward(self, x, state=None):
            if len(self.bias) < x.shape[1]:
                self.bias = torch.ones(x.shape[1], 1)
            y, h = super().forward(x, state)
            return y + self.bias[: x.shape[1]], h

    check_mixer(Biased(16, 0).eval(), 16)


def test_weights_that_are_not_trained_are_not_moved():
    class Counted(Average):
        def __init__(self, hidden_size, layer_idx):
            super().__init__(hidden_size, layer_idx)
            self.window = nn.Parameter(torch.full((2,), 64), requires_grad=False)

    mixer = Counted(16, 0).eval()
    with constants_moved(mixer):
        assert mixer.window.tolist() == [64, 64] and len(mixer.decay.unique()) > 1
    assert len(mixer.decay.unique()) == 1
    check_mixer(mixer, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["ReGLU", "SwiGLU"])
def test_rounding_in_half_precision_is_not_taken_for_a_memory(name, dtype):
    """A product of nine rows may be rounded in another way than one of four."""
    for seed in range(20):
        torch.manual_seed(seed)
        check_mixer(MIXERS[name](hidden_size=64, layer_idx=0).to(dtype).eval(), 64)


def test_a_check_does_not_change_weights():
    mixer = Mamba(16, 0).eval()
    before = {name: one.clone() for name, one in mixer.state_dict().items()}
    check_mixer(mixer, 16)
    assert all(torch.equal(one, before[name]) for name, one in mixer.state_dict().items())
    assert all(one.grad is None for one in mixer.parameters())


def test_a_dtype_that_is_refused_is_said(without_compiling):
    class Single(Average):
        def forward(self, x, state=None):
            if x.dtype != torch.float32:
                raise TypeError("float32 only")
            return super().forward(x, state)

    verdict = results(Single)["bfloat16"]
    assert verdict.result == "n/a" and verdict.shown.startswith("it refuses bfloat16: TypeError: float32 only (test_ch")


def test_a_layer_that_is_another_when_compiled_is_told(monkeypatch):
    class Branching(Average):
        def forward(self, x, state=None):
            y, h = super().forward(x, state)
            return (2 * y if torch.compiler.is_compiling() else y), h

    kept = [rule._replace(needs=()) for rule in RULES if rule.name == SLOW_RULE]
    monkeypatch.setattr("lit_retrieval.mixers.checks.check.RULES", kept)
    verdict = results(Branching)[SLOW_RULE]
    assert verdict.result == "FAIL" and "torch.compile with aot_eager must give what plain" in verdict.shown


def test_the_report_fits_80_columns_and_the_status_says_how_it_went(without_compiling, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for word, status, last in (
        ("broken_layers.Average", 0, "all "),
        ("broken_layers.Balanced", 0, "all "),
        ("broken_layers.Unused", 1, "broken: gradient: w"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["check", word, "--hidden_size", "16"])
        assert ended.value.code == status
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{word}, hidden_size 16" and lines[-1].startswith(last)
        assert max(len(line.rstrip()) for line in lines) <= 80


@pytest.mark.parametrize("given", [["--init_args", "{state_dim: 3}"], ["--mixer.state_dim", "3"]], ids=str)
def test_arguments_of_the_class_are_taken(given, without_compiling, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["check", "lit_retrieval.mixers.GRU", *given, "--hidden_size", "16"])
    assert ended.value.code == 0 and "1, 5, 20, 130 tokens: 3, 3, 3, 3 elements" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "nowhere.Layer"], "nowhere"),
        (["check", "math.sqrt"], "math.sqrt"),
        (["check", "lit_retrieval.mixers.Mamba", "--mixer.state_dmi", "3"], "state_dmi"),
        (["check", "lit_retrieval.mixers.Mamba", "--hiden_size", "3"], "--hiden_size 3; did you mean hidden_size?"),
        (["check", "lit_retrieval.mixers.Mamba", "--conv", "3"], "an argument of the class is --mixer.conv"),
        (["check", "torch.nn.GRUCell"], "GRUCell needs input_size beside hidden_size and layer_idx; set --mixer.input"),
        (["check", "broken_layers.OtherNames"], "OtherNames needs dim, but a mixer gets hidden_size and layer_idx; re"),
        (["check"], "the following arguments are required: check.mixer"),
        pytest.param(["check", "lit_retrieval.mixers.GRU", "--device", "cuda"], "no CUDA device", marks=WITHOUT_CUDA),
        (["check", "lit_retrieval.mixers.GRU", "--hidden_size", "0"], "1 or more, got 0; set --hidden_size"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and line.startswith("error: ") and said in line


@WITHOUT_CUDA
@pytest.mark.skipif(sys.platform != "linux", reason="fla needs Linux")
def test_a_layer_that_runs_on_a_gpu_only_says_so():
    class Unknown(nn.Linear):
        """A layer whose kernel is Triton's, as Triton says it where it finds no GPU."""

        def forward(self, hidden_states, past_key_values=None, use_cache=False):
            raise RuntimeError("0 active drivers ([]). There should only be one.")

    layer = as_mixer(Unknown(HIDDEN_SIZE, HIDDEN_SIZE))
    assert isinstance(layer, FlaLayer)
    with pytest.raises(UserError, match=r"\.Unknown runs on a GPU only"):
        check_mixer(layer.eval(), HIDDEN_SIZE)
