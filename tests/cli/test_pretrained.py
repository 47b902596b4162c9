"""Pretrained models on the command line."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pretrained_models import write_folder

import lit_retrieval
from lit_retrieval.models import WholeModel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
STEPS = ["--trainer.max_steps", "2"]


def slow(*values):
    """A longer case."""
    return pytest.param(*values, marks=pytest.mark.slow)


def pretrained(folder, loader="Folder", **arguments):
    """The options for the model of a folder."""
    loader = {"class_path": f"lit_retrieval.pretrained.{loader}", "init_args": {"folder": str(folder), **arguments}}
    return ["--model.pretrained", json.dumps(loader), *STEPS]


def checkpoint(step):
    return torch.load(f"run/checkpoints/step_{step}.ckpt")["state_dict"]


@pytest.mark.parametrize(("architecture", "rank"), [slow("falcon_h1", 2), ("llama", 0), ("mamba2", 2)])
def test_a_pretrained_model_trains_resumes_bit_for_bit_is_tested_and_loaded(architecture, rank, command, capsys):
    if rank:
        pytest.importorskip("peft")
    model = pretrained(write_folder(Path("model"), architecture), lora_rank=rank)
    command("fit", *model, "--run_dir", "run")
    before, after = checkpoint(1), checkpoint(2)
    assert any(not torch.equal(before[name], weights) for name, weights in after.items())
    assert all("lora_" in name for name in after) == bool(rank)
    for path in Path("run/checkpoints").glob("step_2.ckpt*"):
        path.unlink()
    command("fit", *model, "--run_dir", "run")
    assert all(torch.equal(after[name], weights) for name, weights in checkpoint(2).items())
    capsys.readouterr()
    command("test", *model, "--run_dir", "run", "--ckpt_path", "best")
    assert "state elements" in capsys.readouterr().out
    run = lit_retrieval.load("run", "last")
    assert len(run.generate("<s> 1 ~ 2 2 ~ 3 3 ~ 4 ?")) == 1 and isinstance(run.model, WholeModel)
    loaded = {f"model.{name}": weights for name, weights in run.model.state_dict().items()}
    assert all(torch.equal(loaded[name], weights) for name, weights in after.items())


def test_a_loader_of_ones_own_trains_what_it_has_not_frozen(command):
    model = ["--model.pretrained", "own_networks.Loader", "--model.pretrained.width", "4", "--run_dir", "run"]
    command("fit", *model, *STEPS)
    names = {name.removeprefix("model.network.").split(".")[0] for name in checkpoint(2)}
    assert names == {"recurrence", "head"}
    command("test", *model, "--ckpt_path", "best")
    assert lit_retrieval.load("run").model.network.embedding.weight.eq(1).all()


def test_other_weights_in_the_same_folder_are_another_run(command, refuse):
    model = pretrained(write_folder(Path("model"), "llama"))
    command("fit", *model, "--run_dir", "run")
    write_folder(Path("model"), "llama", hidden_size=16)
    assert "run is the folder of another run: model.pretrained.init_args.sha256 is" in refuse(
        *model, "--run_dir", "run"
    )


def test_a_pretrained_model_is_tested_without_a_checkpoint_and_without_a_word(command, capsys, recwarn):
    command("test", *pretrained(write_folder(Path("model"), "llama"))[:2], "--run_dir", "untrained")
    assert "(LlamaForCausalLM 2," in capsys.readouterr().out
    assert json.loads(Path("untrained/scores.json").read_text())["checkpoint"] == "None"
    assert not [one for one in recwarn if "untrained model" in str(one.message)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model.construction", "lit_retrieval.constructions.Theorem47"], "are two models"),
        (["--model.network", "own_networks.Gru"], "are two models"),
        (["--model.readout", "bottleneck"], "leave out model.pretrained or model.readout"),
        (["--model.first_state", "same"], "leave out model.first_state"),
        (["--model.pretrained", "lit_retrieval.tasks.IsTree"], "IsTree must have the methods of a PretrainedLoader"),
        (
            ["--model.pretrained", "{class_path: lit_retrieval.tasks.IsTree, init_args: {max_size: 4}}"],
            "error: lit_retrieval.tasks.IsTree must have the methods of a PretrainedLoader",
        ),
        (["--model.pretrained.init_args.lora_rank", "-1"], "lora_rank must be 0 or more, got -1"),
        (["--model.pretrained.init_args.folder", "nowhere"], "there is no nowhere/config.json"),
    ],
)
def test_what_does_not_fit_is_one_line(arguments, said, refuse):
    write_folder(Path("model"), "llama")
    assert said in refuse(*pretrained("model"), *arguments)


@pytest.mark.parametrize("loader", ["Folder", "Layers"])
def test_samples_longer_than_the_texts_of_the_model_are_refused(loader, command, refuse):
    model = pretrained(write_folder(Path("model"), "llama", max_position_embeddings=24), loader)
    said = "samples must have at most 24 tokens, the places of the model, got "
    assert said in refuse(*model, "--data.max_new_tokens", "40")


@pytest.mark.parametrize("package", ["peft", "transformers"])
def test_without_a_package_the_extra_is_named(package, refuse, monkeypatch):
    write_folder(Path("model"), "llama")
    monkeypatch.setitem(sys.modules, package, None)
    said = refuse(*pretrained("model", lora_rank=2))
    assert f"needs the package {package}: pip install -c constraints.txt -e '.[pretrained]'" in said


@pytest.mark.slow  # tests/test_imports.py reads the imports
def test_the_command_line_imports_no_models_of_others():
    program = (
        "import sys, lit_retrieval.cli; "
        "print([one for one in sys.modules if one in ('peft', 'lm_eval') or 'modeling_' in one])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    of_torchmetrics = {"transformers.modeling_rope_utils", "transformers.models.auto.modeling_auto"}  # lists of names
    assert set(ast.literal_eval(ran.stdout)) <= of_torchmetrics
