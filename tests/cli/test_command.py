"""The command line, end to end on the smallest models, and what it says to mistakes."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_retrieval.cli import main
from lit_retrieval.cli.command import _is_news, read_configuration
from lit_retrieval.data import BatchDataset
from lit_retrieval.data.suite import hash_samples
from lit_retrieval.tasks import IsTree, SampleStream, save_samples
from lit_retrieval.tasks.sample_file import describe

QUICKSTART = str(Path(__file__).parents[2] / "configs/experiments/quickstart.yaml")
MIXER = "{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dim: 4}}"
TINY = [
    "--config", QUICKSTART, "--model.hidden_size", "16", "--model.stages", f"[{{repeat: 1, mixers: [{MIXER}]}}]",
    "--data.task.init_args.max_size", "4", "--data.sizes", "[4]", "--data.batch_size", "4",
    "--data.val_samples", "6", "--data.test_samples", "6", "--data.predict_samples", "2",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1",
]  # fmt: skip
PLATEAU = "[{class_path: lit_retrieval.training.PlateauStopping, init_args: {monitor: val/accuracy}}]"
SHORT = ["--trainer.max_steps", "6", "--trainer.val_check_interval", "3"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])  # LightningCLI warns where both this and args are given


def fit(*arguments):
    main(["fit", *TINY, *SHORT, "--run_dir", "run", *arguments])


def refuse(capsys, *arguments):
    """Run a command that must fail; returns what it said, which must be one line."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


def test_fit_writes_checkpoints_scalars_and_a_table(capsys):
    fit()
    names = {"best.ckpt", "step_3.ckpt", "step_6.ckpt"}
    found = {path.name for path in Path("run/checkpoints").iterdir()}
    assert found == names | {f"{name}.sha256" for name in names}
    assert torch.load("run/checkpoints/step_6.ckpt")["global_step"] == 6
    events = EventAccumulator("run").Reload().Tags()["scalars"]
    assert {"train/loss", "val/loss", "val/closed_loop_accuracy", "val/undecided", "val/exact_match"} <= set(events)
    assert re.search(r"validation after 6 steps", capsys.readouterr().out)


def test_a_checkpoint_is_validated_tested_and_shown(capsys):
    fit()
    for command, checkpoint in (("validate", "last"), ("test", "best"), ("predict", "run/checkpoints/step_3.ckpt")):
        main([command, *TINY, "--run_dir", "run", "--ckpt_path", checkpoint])
    shown = capsys.readouterr().out
    assert "test/loss" not in shown, "one table is enough"
    assert shown.count(" decided") == 3 and "right" in shown and "<s> " in shown


def test_scores_of_several_sizes_are_reported_apart(capsys):
    fit("--data.task.init_args.max_size", "6", "--data.eval_sizes", "[4, 6]")
    events = EventAccumulator("run").Reload().Tags()["scalars"]
    assert {"val/size_4/closed_loop_accuracy", "val/size_6/loss"} <= set(events)
    assert re.search(r"\nsize 6 +\d", capsys.readouterr().out)


def test_the_last_checkpoint_is_of_the_last_step_even_between_validations():
    fit("--trainer.max_steps", "5")
    assert torch.load("run/checkpoints/step_5.ckpt")["global_step"] == 5


def test_the_same_seed_gives_the_same_weights():
    fit()
    fit("--fresh")
    first, second = (torch.load(f"{run}/checkpoints/step_6.ckpt") for run in ("run", "run-2"))
    for name, weights in first["state_dict"].items():
        assert torch.equal(weights, second["state_dict"][name]), name


def test_a_resumed_run_goes_on_with_the_samples_it_has_not_seen(monkeypatch):
    taken, take = [], BatchDataset.__getitem__
    monkeypatch.setattr(
        BatchDataset, "__getitem__", lambda stream, indices: (taken.append(list(indices)), take(stream, indices))[1]
    )
    fit("--trainer.max_steps", "3")
    taken.clear()
    fit("--run_dir", "other", "--ckpt_path", "run/checkpoints/step_3.ckpt")
    assert taken[0] == [12, 13, 14, 15], "three batches of four have been seen"
    resumed = torch.load("other/checkpoints/step_6.ckpt")
    assert resumed["global_step"] == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model.hiden_size", "3"], "--model.hiden_size 3; did you mean model.hidden_size?"),
        (["--data.task", "lit_retrieval.tasks.IsBush"], "has no attribute 'IsBush'"),
        (["--data.task", "nowhere.Task"], "No module named 'nowhere'"),
        (["--data.task", "IsTre"], "by its class_path, got IsTre; did you mean lit_retrieval.tasks.IsTree?"),
        (["--data.sizes", "[3]"], "size must be 4 to 4, got 3; set data.sizes"),
        (["--data.sizes", "[5]"], "size must be 4 to 4, got 5; set data.sizes or data.task.init_args.max_size"),
        (["--data.max_new_tokens", "3"], "max_new_tokens must be 12 or more"),
        (["--data.batch_size", "0"], "batch_size must be 1 or more, got 0; set data.batch_size"),
        (["--data.eval_batch_size", "0"], "eval_batch_size must be 1 or more, got 0"),
        (["--data.regime", "rag"], "data.regime must be vanilla, cot or retrieval, got rag"),
        (["--seed_everything", "true"], "seed_everything must be a number, got true"),
        (["--data.seed", str(10**23)], f"got {10**23}; set data.seed"),
        (["--data.sizes", "[4, 4]"], "sizes must be listed once each, got [4, 4]"),
        (["--checkpoint.monitor", "val/closed_lop_accuracy"], "such as val/closed_loop_accuracy"),
        (["--checkpoint.monitor", "val/size_5/exact_match"], "got val/size_5/exact_match; set its monitor"),
        (["--trainer.callbacks", PLATEAU], "PlateauStopping must monitor a score that is logged, got val/accuracy"),
        (["--data.train_file", "none.npz"], "there is no file none.npz"),
        (["--data.val_file", "."], "write the path of a file of samples"),
        (["--ckpt_path", "none.ckpt"], "there is no checkpoint none.ckpt"),
        (["--trainer.max_steps=-1"], "trainer.max_steps must be set"),
        (["--config", "none.yaml"], "there is no file none.yaml"),
        (["--model", "none.yaml"], "there is no file none.yaml; write the path of a YAML in --model"),
        (["--model.learning_rat", "1"], "did you mean model.learning_rate?"),
    ],
)
def test_a_mistake_is_one_line_that_says_the_fix_and_writes_nothing(capsys, arguments, said):
    assert said in refuse(capsys, "fit", *TINY, *arguments)
    assert not list(Path().rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit"], "there is no task; write --config NAME, such as --config quickstart"),
        (["fit", "quickstart"], "unrecognized arguments: quickstart; write --config quickstart"),
        (["tasks"], "tasks is a program of its own; write python -m lit_retrieval.tasks"),
        (["mixers", "check", "a.B"], "write python -m lit_retrieval.mixers"),
    ],
)
def test_a_command_line_without_its_first_words_is_told_them(capsys, arguments, said):
    assert said in refuse(capsys, *arguments)


def test_a_wrong_value_in_a_file_is_named_with_its_whole_key(capsys):
    Path("wide.yaml").write_text("hidden_size: wide\n")
    line = refuse(capsys, "fit", *TINY, "--model", "wide.yaml")
    assert "wide.yaml: model.hidden_size must be a whole number or null, got wide" in line


def test_a_wrong_key_in_a_file_is_named(capsys):
    Path("wrong.yaml").write_text("model:\n  hidden_sise: 4\n")
    assert "'model.hidden_sise'; did you mean model.hidden_size?" in refuse(capsys, "fit", "--config", "wrong.yaml")


def test_a_file_that_an_experiment_names_and_that_is_not_there_is_named_once(capsys):
    Path("experiment.yaml").write_text("model: models/none.yaml\n")
    said = refuse(capsys, "fit", "--config", "experiment.yaml")
    assert said.count("none.yaml") == 1 and "there is no file" in said and "in model" in said


def test_the_checkpoint_of_another_model_is_refused(capsys):
    fit()
    wider = ["test", *TINY, "--model.hidden_size", "32", "--ckpt_path", "run/checkpoints/step_6.ckpt"]
    assert "step_6.ckpt was trained with other hyperparameters: model.hidden_size is 16 there and 32" in refuse(
        capsys, *wider
    )
    said = refuse(capsys, *wider, "--prefer", "command_line")
    assert "the checkpoint is of another model: model.embedding is (16, 16) there and (16, 32) here" in said


def test_a_file_that_is_no_checkpoint_is_refused(capsys):
    fit()
    whole = Path("run/checkpoints/step_6.ckpt").read_bytes()
    for content in (b"not a checkpoint", b"", whole[: len(whole) // 2]):
        Path("last.ckpt").write_bytes(content)
        assert "last.ckpt can't be read as a checkpoint" in refuse(capsys, "test", *TINY, "--ckpt_path", "last.ckpt")


@pytest.mark.parametrize("content", [{"weights": 1}, [1]])
def test_a_file_of_tensors_from_elsewhere_is_refused(capsys, content):
    torch.save(content, "other.ckpt")
    assert "other.ckpt is not a checkpoint of a training run" in refuse(
        capsys, "test", *TINY, "--ckpt_path", "other.ckpt"
    )


SUITE = """
task: {{class_path: lit_retrieval.tasks.IsTree, init_args: {{max_size: 4}}}}
regime: retrieval
sizes: [4]
eval_sizes: [4]
test_samples: 6
suite: {{name: trees, version: 0.0.1, sha256: {{retrieval: '{sha256}'}}}}
"""


@pytest.mark.parametrize("is_right", [True, False])
def test_a_suite_is_tested_on_its_own_samples_or_not_at_all(capsys, is_right):
    found = hash_samples(SampleStream(IsTree(max_size=4), "retrieval", [4], 0, "test"), 6)
    Path("suite.yaml").write_text(SUITE.format(sha256=found if is_right else "0" * 64))
    if is_right:
        main(["test", *TINY, "--data", "suite.yaml"])
        assert "\nall " in capsys.readouterr().out
    else:
        assert "the test samples are not those of the suite trees" in refuse(
            capsys, "test", *TINY, "--data", "suite.yaml"
        )


def test_a_run_trains_and_is_tested_on_files(capsys):
    for name, seed in (("train", 7), ("test", 8)):
        stream = SampleStream(IsTree(max_size=4), "retrieval", [4], seed, "fit")
        manifest = {"regime": "retrieval", "task": describe(stream.task)}
        save_samples(Path(f"{name}.npz"), stream.task.vocabulary, [stream.take(np.arange(10))], manifest)
    fit("--data.train_file", "train.npz", "--data.val_file", "test.npz")
    assert "validation after 6 steps" in capsys.readouterr().out
    task = ["--data.task", "{class_path: lit_retrieval.tasks.IsTree, init_args: {max_size: 5}}", "--data.sizes", "[5]"]
    said = refuse(capsys, "fit", *TINY, *task, "--data.train_file", "train.npz")
    assert "train.npz has another vocabulary than data.task; set data.task to the task that wrote it" in said
    assert '"class_path": "lit_retrieval.tasks.graphs.is_tree.IsTree", "init_args": {"max_size": 4' in said
    content = Path("train.npz").read_bytes()
    Path("train.npz").write_bytes(content[:-1])
    assert "train.npz is damaged: its sha256" in refuse(capsys, "fit", *TINY, "--data.train_file", "train.npz")


def test_a_run_is_one_of_the_samples_in_its_files_whatever_their_names(capsys):
    def write(name, seed):
        stream = SampleStream(IsTree(max_size=4), "retrieval", [4], seed, "fit")
        samples = [stream.take(np.arange(10))]
        save_samples(Path(name), stream.task.vocabulary, samples, {"regime": "retrieval"}, overwrite=True)

    def train(*arguments):
        main(["fit", *TINY, "--trainer.max_steps", "1", "--data.val_samples", "1", *arguments])

    write("a.npz", 1)
    train("--data.train_file", "a.npz")
    write("b.jsonl", 1)
    with pytest.raises(SystemExit) as stopped:
        train("--data.train_file", "b.jsonl")
    assert stopped.value.code is None and "is finished" in capsys.readouterr().out, "the same samples"
    (run,) = Path("runs").glob("quickstart-????????")
    write("a.npz", 2)
    again = ["fit", "--config", f"{run}/config.yaml", "--trainer.max_steps", "2", "--prefer", "command_line"]
    assert "data.train_file must have the samples in data.file_sha256" in refuse(capsys, *again)
    said = refuse(capsys, "fit", *TINY, "--data.train_file", "a.npz", "--run_dir", str(run))
    assert "is the folder of another run: data.file_sha256.train_file is" in said
    train("--data.train_file", "a.npz", "--data.val_file", "b.jsonl")
    assert len(list(Path("runs").glob("quickstart-????????"))) == 2


def test_two_tasks_are_reported_apart_at_sizes_beyond_those_of_training(capsys):
    counting = "{class_path: lit_retrieval.tasks.Counting, init_args: {max_size: 16}}"
    ngrams = "{class_path: lit_retrieval.tasks.NGramRetrieval, init_args: {max_size: 16}}"
    mixture = f"{{class_path: lit_retrieval.tasks.Mixture, init_args: {{tasks: [{counting}, {ngrams}]}}}}"
    Path("mixture.yaml").write_text(f"task: {mixture}\nsizes: {{4: 2, 8: 1}}\neval_sizes: 8..16..4\n")
    main(["fit", *TINY, "--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--data", "mixture.yaml",
          "--data.val_samples", "64"])  # fmt: skip
    shown = capsys.readouterr().out
    for row in ("Counting", "NGramRetrieval", "size 8", "size 12", "size 16", "8-15 back", "all"):
        assert f"\n{row} " in shown


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"]])
def test_help_begins_with_one_line_of_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    usage, empty = capsys.readouterr().out.splitlines()[:2]
    assert usage.startswith("usage: python -m lit_retrieval ") and usage.endswith("--config FILE [--key value ...]")
    assert empty == ""


def test_printed_configuration_is_complete(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", QUICKSTART, "--print_config"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "lit_retrieval.mixers.Mamba" in printed and "closed_loop_accuracy" in printed


@pytest.mark.parametrize(
    ("line", "is_shown"),
    [("TPU available: False, using: 0 TPU cores", False), ("`Trainer.fit` stopped: `max_steps=5` reached.", False),
     ("Time limit reached. Elapsed time is 0:00:03.", False), ("GPU available: True (cuda), used: True", True)],
)  # fmt: skip
def test_lines_of_lightning_that_say_nothing_are_hidden(line, is_shown):
    assert _is_news(logging.LogRecord("lightning", logging.INFO, "", 0, line, None, None)) == is_shown


def test_a_later_command_of_a_process_knows_nothing_of_an_earlier_one(capsys):
    """They share a parser."""
    before = read_configuration(["fit", *TINY])
    other = ["--data.task", "lit_retrieval.tasks.Index", "--model.hidden_size", "8", "--trainer.callbacks+", PLATEAU]
    changed = read_configuration(["fit", *TINY, *other])
    assert "hidden_sise" in refuse(capsys, "fit", *TINY, "--model.hidden_sise", "4")
    assert read_configuration(["test", *TINY, "--data.seed", "3"])["data"]["seed"] == 3
    assert changed != before == read_configuration(["fit", *TINY])
