"""Every precision that Lightning has, through every command."""

import sys
from pathlib import Path

import pytest
import torch

from lit_retrieval.training import SequenceModule

MIXERS = {
    "attention": "{class_path: lit_retrieval.mixers.Attention, init_args: {num_heads: 2}}",
    "Mamba": "{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dim: 2}}",
    "GLA": "{class_path: fla.layers.GatedLinearAttention, init_args: {num_heads: 1}}",
}
# The dtype of the weights. On a CPU Lightning takes 16-mixed as bf16-mixed.
DTYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "bf16-mixed": torch.float32}
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="fla needs Linux")
CASES = [pytest.param(name, marks=ON_LINUX if name == "GLA" else ()) for name in MIXERS]


@pytest.fixture
def run(command):
    def in_precision(precision, mixer, name, *arguments):
        stages = f"[{{mixers: [{MIXERS[mixer]}, lit_retrieval.mixers.SwiGLU]}}]"
        command(
            name, "--model.hidden_size", "16", "--model.stages", stages, "--trainer.precision", precision, "--run_dir",
            "run", "--trainer.log_every_n_steps", "1", *arguments,
        )  # fmt: skip

    return in_precision


@pytest.fixture
def scored(monkeypatch):
    """The scores of each command, by name."""
    found, log = [], SequenceModule._log_scores

    def take(module, split):
        log(module, split)
        found.append({name: float(value) for name, value in module.trainer.callback_metrics.items()})

    monkeypatch.setattr(SequenceModule, "_log_scores", take)
    return found


@pytest.mark.parametrize("mixer", CASES)
@pytest.mark.parametrize("precision", DTYPES)
def test_a_precision_trains_and_scores(run, scored, precision, mixer):
    run(precision, mixer, "fit", "--trainer.max_steps", "2", "--inspection.log_images_every", "1")
    content = torch.load(Path("run/checkpoints/step_2.ckpt"), weights_only=True)
    floats = {one.dtype for one in content["state_dict"].values() if one.is_floating_point()}
    assert DTYPES[precision] in floats and floats <= {DTYPES[precision], torch.float32}
    assert len(scored) == 2 and all(0 < one["val/loss"] < 20 for one in scored)


@pytest.mark.parametrize(
    "precision", [pytest.param(one, marks=() if one == "bf16-true" else pytest.mark.slow) for one in DTYPES]
)
def test_a_run_of_a_precision_resumes_and_is_scored(run, scored, precision):
    run(precision, "Mamba", "fit", "--trainer.max_steps", "1")
    run(precision, "Mamba", "fit", "--trainer.max_steps", "2", "--prefer", "command_line")
    for name in ("validate", "test"):
        run(precision, "Mamba", name, "--trainer.max_steps", "2", "--ckpt_path", "last")
    _, trained, validated, tested = scored
    assert validated["val/loss"] == pytest.approx(trained["val/loss"], rel=1e-6) and 0 < tested["test/loss"] < 20


@pytest.mark.parametrize("precision", ["transformer-engine", "transformer-engine-float16"])
def test_a_precision_whose_package_is_missing_is_a_mistake_of_one_line(run, capsys, precision):
    with pytest.raises(SystemExit) as stopped:
        run(precision, "Mamba", "fit", "--trainer.max_steps", "1")
    assert stopped.value.code == 2 and "transformer_engine" in capsys.readouterr().err.splitlines()[-1]


def test_adam_is_not_trained_in_float16(run, capsys):
    """Its second moments underflow: the weights are NaN after a few steps."""
    with pytest.raises(SystemExit) as stopped:
        run("16-true", "Mamba", "fit", "--trainer.max_steps", "1")
    assert stopped.value.code == 2
    assert "trainer.precision 16-true can't train" in capsys.readouterr().err.splitlines()[-1]


def test_a_model_is_scored_in_float16(run, scored):
    run("32-true", "Mamba", "fit", "--trainer.max_steps", "1")
    run("16-true", "Mamba", "validate", "--ckpt_path", "last", "--prefer", "command_line")
    assert scored[1]["val/loss"] == pytest.approx(scored[0]["val/loss"], rel=1e-2)
