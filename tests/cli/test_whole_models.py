"""Whole models, optimizers and schedules that a configuration names."""

import json
from pathlib import Path

import pytest
import torch

import lit_retrieval
from lit_retrieval.cli import main
from lit_retrieval.decoding import begin, generate
from lit_retrieval.models import HuggingFaceModel, WholeModel
from lit_retrieval.retrieval import EitherFormRetriever
from lit_retrieval.tasks import IsTree

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
GPT = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 64}
GRU = ["--model.network", "own_networks.Gru", "--model.network.width", "4"]


def hugging_face(model_type, config):
    arguments = {"model_type": model_type, "config": config}
    return [
        "--model.network",
        json.dumps({"class_path": "lit_retrieval.models.HuggingFaceModel", "init_args": arguments}),
    ]


LLAMA = hugging_face("llama", SMALL)
STEPS = ["--trainer.max_steps", "2", "--run_dir", "run"]


def checkpoint(step):
    return torch.load(f"run/checkpoints/step_{step}.ckpt")


@pytest.mark.parametrize("network", [GRU, LLAMA], ids=["gru", "llama"])
def test_a_network_trains_resumes_is_tested_and_loaded(network, command, capsys):
    command("fit", *network, *STEPS, "--inspection.log_images_every", "1")
    before, after = (checkpoint(step)["state_dict"] for step in (1, 2))
    assert any(not torch.equal(before[name], weights) for name, weights in after.items())
    for path in Path("run/checkpoints").glob("step_2.ckpt*"):
        path.unlink()
    command("fit", *network, *STEPS)
    assert all(torch.equal(after[name], weights) for name, weights in checkpoint(2)["state_dict"].items())
    command("test", *network, "--run_dir", "run", "--ckpt_path", "best")
    elements = 4 if network is GRU else 2 * 2 * 8 * 19  # keys and values of two layers after 19 tokens
    said = capsys.readouterr().out
    assert f"memory after 19 tokens: {elements:,} state elements, {32 * elements:,} bits" in said
    run = lit_retrieval.load("run")
    (written,) = run.generate("<s> 1 ~ 2 2 ~ 3 3 ~ 4 ?")
    assert len(written.answers) == 1 and isinstance(run.model, WholeModel)


def test_the_checkpoint_of_another_network_is_refused(command, refuse, capsys):
    command("fit", *GRU, "--trainer.max_steps", "1", "--run_dir", "run")
    with pytest.raises(SystemExit):
        command("test", "--ckpt_path", "run/checkpoints/step_1.ckpt", *GRU[:2], "--model.network.width", "5")
    assert "model.network.init_args.width is 4 there and 5 here" in capsys.readouterr().err


def test_samples_longer_than_the_vectors_of_places_are_refused(command, refuse):
    """Of a network with random weights; one that rotates has no longest text."""
    short = {"n_positions": 18}
    said = "samples must have at most 18 tokens, the places of the model, got 20"
    assert said in refuse(*hugging_face("gpt2", {**GPT, **short}))
    command("fit", *hugging_face("llama", {**SMALL, "max_position_embeddings": 18}), *STEPS)


QWEN = {**SMALL, "head_dim": 4, "num_key_value_heads": 1}
MAMBA2 = {"hidden_size": 8, "num_hidden_layers": 2, "state_size": 4, "num_heads": 2, "head_dim": 8, "n_groups": 1}


@pytest.mark.parametrize(
    ("model_type", "config"), [("llama", SMALL), ("gpt2", GPT), ("qwen3", QWEN), ("mamba2", MAMBA2)]
)
def test_a_model_of_transformers_decodes_as_without_a_cache(model_type, config):
    task = IsTree(max_size=4)
    torch.manual_seed(0)
    model = WholeModel(len(task.vocabulary), lambda vocab_size: HuggingFaceModel(vocab_size, model_type, config)).eval()
    prompts = [
        task.vocabulary.encode(text.split()) for text in ("<s> 1 ~ 2 ?", "<s> 1 ~ 2 2 ~ 3 3 ~ 4 ?", "<s> 2 ~ 3 ?")
    ]

    def replies(decoder):
        return generate(decoder, begin([[one] for one in prompts], task, EitherFormRetriever(), 20))

    def without_cache(tokens, state=None, positions=None):
        """Reads all tokens so far again, in place of a state."""
        seen = tokens if state is None else torch.cat([state, tokens], 1)
        logits = model(seen)[0][:, -tokens.shape[1] :]
        return logits.flatten(0, 1)[positions], seen

    for one, other in zip(replies(model), replies(without_cache), strict=True):
        assert one.tokens == other.tokens


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NoState", "`in pieces`"),
        ("SilentNoState", "`in pieces`"),
        ("LogitsAlone", "forward must return (logits, state), got Tensor"),
        ("LayersFirst", "must have the batch of 2 first, got (1, 2, 8)"),
        ("DictAsState", "a state holds a dict"),
        ("HalfTheWords", "logits must be (batch, time, vocab_size) = (2, 5, "),
        ("MixesRows", "`rows leave`"),
        ("IgnoresPositions", "logits at positions must be (2, "),
        ("Raises", "it raised IndexError: no such token"),
    ],
)
def test_a_network_that_breaks_a_rule_is_refused_before_the_first_step(name, said, refuse):
    line = refuse("--model.network", f"own_networks.{name}")
    assert f"own_networks.{name} breaks the rule" in line and said in line
    assert not list(Path().rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (hugging_face("llama", {"hidden_sise": 8}), "llama has no hidden_sise; did you mean hidden_size?"),
        (hugging_face("lama", {}), "transformers refuses lama"),
        (["--model.network", "own_networks.Gru", "--model.network.widht", "5"], "did you mean width?"),
        (["--model.network", "lit_retrieval.tasks.IsTree"], "model.network"),
        ([*GRU, "--model.first_state", "same"], "leave out model.first_state"),
        ([*GRU, "--model.construction", "lit_retrieval.constructions.Theorem47"], "are two models"),
        ([*GRU, "--model.residual", "rescaled"], "is for model.stages; leave out model.network or model.residual"),
        ([*GRU, "--model.norm_eps", "1e-6"], "is for model.stages; leave out model.network or model.norm_eps"),
        (["--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "1"], "--model.learning_rate; leave out"),
        (["--optimizer.lr", "1"], "is --model.learning_rate; leave out lr"),
        (["--optimizer", "torch.optim.SGD"], "write --model.optimizer torch.optim.SGD"),
        (["--lr_scheduler", "StepLR"], "write --model.lr_scheduler StepLR"),
        (["--model.optimizer", "torch.optim.LBFGS"], "LBFGS can't take steps of batches"),
        (["--model.optimizer", "torch.optim.SGD", "--model.optimizer.momentum", "-1"], "SGD refuses its arguments"),
        (["--model.optimizer", "lit_retrieval.mixers.Mamba"], "model.optimizer: Expected 'lit_retrieval.mixers.Mamba'"),
        (["--model.lr_scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau"], "does not move every step"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(arguments, said, refuse):
    assert said in refuse(*arguments)


SCHEDULE = ["--model.lr_scheduler", "torch.optim.lr_scheduler.StepLR", "--model.lr_scheduler.step_size", "1"]


@pytest.mark.parametrize(
    ("arguments", "groups", "rates"),
    [
        ([], 2, None),
        (["--model.optimizer", "torch.optim.SGD"], 1, None),
        (["--model.optimizer", "torch.optim.SGD", "--model.weight_decay", "0.1"], 2, None),
        (["--model.optimizer", "torch.optim.RMSprop", *SCHEDULE], 1, [0.5, 0.005]),
        (SCHEDULE, 2, [0.5, 0.005]),
    ],
)
def test_the_learning_rate_is_the_same_key_for_all_optimizers(arguments, groups, rates, command):
    command("fit", *STEPS, "--model.learning_rate", "0.5", *arguments)
    (state,) = checkpoint(2)["optimizer_states"]
    (schedule,) = checkpoint(2)["lr_schedulers"]
    assert len(state["param_groups"]) == groups
    assert {group["initial_lr"] for group in state["param_groups"]} == {0.5}
    if rates:
        assert [schedule["base_lrs"][0], schedule["_last_lr"][0]] == pytest.approx(rates)


@pytest.mark.parametrize("optimizer", ["SGD", "RMSprop", "Adam"])
def test_no_optimizer_takes_a_step_that_is_not_finite(optimizer, command, capsys):
    with pytest.raises(SystemExit) as stopped:
        command("fit", *STEPS, "--model.optimizer", f"torch.optim.{optimizer}", "--model.learning_rate", "1e30")
    assert stopped.value.code == 3
    assert "the loss or its gradient is not finite in step 2" in capsys.readouterr().err


def test_a_run_with_another_optimizer_resumes_bit_by_bit(command):
    sgd = ["--model.optimizer", "torch.optim.SGD", "--model.optimizer.momentum", "0.9", *SCHEDULE]
    command("fit", *sgd, *STEPS)
    whole = checkpoint(2)
    for path in Path("run/checkpoints").glob("step_2.ckpt*"):
        path.unlink()
    command("fit", *sgd, *STEPS)
    resumed = checkpoint(2)
    assert all(torch.equal(whole["state_dict"][name], weights) for name, weights in resumed["state_dict"].items())
    assert whole["lr_schedulers"] == resumed["lr_schedulers"]


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "64-true"])
def test_a_network_and_another_optimizer_run_in_every_precision(precision, command, capsys):
    command("fit", *GRU, *STEPS, "--model.optimizer", "torch.optim.SGD", "--trainer.precision", precision)
    assert checkpoint(2)["global_step"] == 2 and "validation after 2 steps" in capsys.readouterr().out


def test_no_command_knows_the_keys_of_another_optimizer_by_default(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    with pytest.raises(SystemExit):
        main(["fit", "--config", "quickstart", "--print_config"])
    printed = capsys.readouterr().out
    assert all(f"  {key}: null" in printed for key in ("network", "optimizer", "lr_scheduler"))
