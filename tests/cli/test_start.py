"""Which run a command finds, and how its checkpoint is read."""

import contextlib
import gc
import importlib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from lit_retrieval.cli import main, read_configuration
from lit_retrieval.cli.start import Start, differences_in_content
from lit_retrieval.cli.start_callbacks import SameStart
from lit_retrieval.data import BatchDataset
from lit_retrieval.data.suite import hash_samples
from lit_retrieval.errors import UserError
from lit_retrieval.runs import RunFolder, code_hash, own_code, run_hash
from lit_retrieval.runs.checkpoint_file import save_checkpoint
from lit_retrieval.runs.configuration import _OF_THE_MACHINE
from lit_retrieval.tasks import IsTree, SampleStream, save_samples

QUICKSTART = Path(__file__).parents[2] / "configs/experiments/quickstart.yaml"
STREAM = SampleStream(IsTree(max_size=4), "cot", [4], 0, "test")
ONE_STEP = ["--trainer.max_steps", "1"]
WITH_CACHE = """
from pathlib import Path
from lit_retrieval.tasks import IsTree

class Cached(IsTree):
    def __init__(self, cache: Path, max_size: int = 4) -> None:
        super().__init__(max_size=max_size)
        cache.write_text("as it was computed")
"""
SUITE = {"name": "trees", "version": "0.0.1", "sha256": {"cot": hash_samples(STREAM, 3)}}
FOR_TEST = [
    [],
    ["--data.suite", json.dumps(SUITE)],
    ["--data.test_file", "samples.npz"],
    ["--data.test_samples", "2", "--data.eval_batch_size", "1", "--trainer.limit_test_batches", "1"],
]


@pytest.fixture
def run(command):
    """The command, in a folder with a run of one step and a file of samples."""
    save_samples(Path("samples.npz"), STREAM.task.vocabulary, [STREAM.take(np.arange(2))], {"regime": "cot"})
    command("fit", *ONE_STEP)
    return command


@pytest.fixture
def reads(monkeypatch):
    """The checkpoints that are read from now on."""
    read, load = [], torch.load

    def noting(file, **options):
        read.append(Path(file.name).name)
        return load(file, **options)

    monkeypatch.setattr(torch, "load", noting)
    return read


# What the result of a run depends on. A key that is neither here nor in runs/configuration.py is a new one.
HASHED = {
    "seed_everything", "model", "code_sha256",
    "checkpoint.filename", "checkpoint.monitor", "checkpoint.mode", "checkpoint.save_top_k", "checkpoint.save_last",
    "checkpoint.save_on_exception", "checkpoint.save_weights_only", "checkpoint.auto_insert_metric_name",
    "checkpoint.every_n_train_steps", "checkpoint.train_time_interval", "checkpoint.every_n_epochs",
    "checkpoint.save_on_train_epoch_end", "checkpoint.enable_version_counter",
    "data.task", "data.regime", "data.sizes", "data.batch_size", "data.file_sha256", "data.seed",
    "data.train_samples", "data.train_targets",
    # What a validation depends on decides which checkpoint is the best.
    "data.eval_sizes", "data.val_samples", "data.retriever", "data.max_new_tokens",
    "data.budget",
    "trainer.limit_val_batches", "trainer.val_check_interval", "trainer.check_val_every_n_epoch",
    "trainer.max_epochs", "trainer.min_epochs", "trainer.max_steps", "trainer.min_steps", "trainer.callbacks",
    "trainer.precision", "trainer.limit_train_batches", "trainer.overfit_batches", "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val", "trainer.gradient_clip_algorithm", "trainer.reload_dataloaders_every_n_epochs",
    "ckpt_path", "gpu.float32",
}  # fmt: skip


def test_every_key_is_known_to_make_another_run_or_not():
    configuration = read_configuration(["fit", "--config", str(QUICKSTART)])
    keys = {key for key, value in configuration.items() if key == "model" or not isinstance(value, dict)}
    for section in ("data", "trainer", "checkpoint", "gpu"):
        keys |= {f"{section}.{name}" for name in configuration[section]}
    assert keys - HASHED == _OF_THE_MACHINE & keys and not HASHED & _OF_THE_MACHINE


def test_what_only_a_test_uses_leaves_the_run_where_it_is(run):
    for arguments in FOR_TEST:
        run("test", *ONE_STEP, *arguments, "--ckpt_path", "best")
        assert next(Path("runs").glob("quickstart-*/scores.json")).is_file()
    assert len(list(Path("runs").glob("quickstart-*"))) == 1


def test_the_run_with_the_fewest_differences_is_named_and_of_several_the_latest(command, tiny, capsys):
    near = read_configuration(["test", *tiny, "--data.val_samples", "3"])
    far = read_configuration(["test", *tiny, "--data.val_samples", "3", "--model.hidden_size", "8"])
    for age, (name, configuration) in enumerate([("latest", far), ("near", near), ("older", near), ("oldest", far)]):
        path = Path(f"runs/quickstart-{name}/config.yaml")
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(configuration))
        os.utime(path.parent, (1e9 - age, 1e9 - age))
    with pytest.raises(SystemExit):
        command("test", "--ckpt_path", "best")
    said = capsys.readouterr().err
    assert "the nearest run of this name is runs/quickstart-near, where data.val_samples is 3 there and 2 here" in said


@pytest.mark.parametrize("arguments", [("test", "--ckpt_path", "best"), ("test", "--ckpt_path", "last")], ids=" ".join)
def test_a_checkpoint_is_read_once(run, reads, arguments):
    run(*arguments, *ONE_STEP)
    assert len(reads) == 1


def checkpoints_in_memory():
    dicts = [one for one in gc.get_objects() if type(one) is dict]
    return [one for one in dicts if "optimizer_states" in one and "pytorch-lightning_version" in one]


def test_a_run_that_is_resumed_reads_its_checkpoint_once_and_does_not_keep_it(command, reads, monkeypatch):
    command("fit", *ONE_STEP, "--run_dir", "run")
    kept, take = [], BatchDataset.__getitem__
    of_other_tests = {id(one) for one in checkpoints_in_memory()}

    def look_and_take(stream, indices):
        kept.extend(one for one in checkpoints_in_memory() if id(one) not in of_other_tests)
        return take(stream, indices)

    monkeypatch.setattr(BatchDataset, "__getitem__", look_and_take)
    command("fit", "--trainer.max_steps", "2", "--run_dir", "run", "--prefer", "command_line")
    assert reads == ["step_1.ckpt"] and not kept


STEP_LR = ("--model.lr_scheduler", "torch.optim.lr_scheduler.StepLR", "--model.lr_scheduler.step_size", "2")


@pytest.mark.parametrize("schedule", [(), STEP_LR], ids=["ours", "StepLR"])
@pytest.mark.parametrize("other", [False, True], ids=["the same run", "a run from its checkpoint"])
def test_the_rates_of_a_command_that_is_preferred_are_those_that_a_run_goes_on_with(command, schedule, other):
    """As if they had been set from the first step on: rates are in the states of optimizer and schedule, too."""
    four, rates = (
        ["--trainer.max_steps", "4", *schedule],
        ["--model.learning_rate", "0.02", "--model.weight_decay", "0.3"],
    )
    command("fit", *four, *rates, "--run_dir", "right")
    command("fit", *four, "--model.learning_rate", "0.5", "--run_dir", "run")
    (Path("run/checkpoints/step_4.ckpt")).unlink()
    begin = ["--run_dir", "new", "--ckpt_path", "run/checkpoints/step_3.ckpt"] if other else ["--run_dir", "run"]
    command("fit", *four, *rates, *begin, "--prefer", "command_line")
    right, found = (torch.load(f"{run}/checkpoints/step_4.ckpt") for run in ("right", "new" if other else "run"))
    assert found["lr_schedulers"] == right["lr_schedulers"]
    for wanted, group in zip(*(one["optimizer_states"][0]["param_groups"] for one in (right, found)), strict=True):
        assert group["lr"] == pytest.approx(wanted["lr"]) and group["initial_lr"] == 0.02
        assert group["weight_decay"] == wanted["weight_decay"]


OWN = """
from lit_retrieval.mixers import Mamba

class Mine(Mamba):
    factor = FACTOR

    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return self.factor * y, state
"""


def test_an_edited_class_is_another_run(command, capsys, monkeypatch):
    """Also for `test`, for the configuration of a run, and for a run in a folder that is named."""
    monkeypatch.syspath_prepend(".")
    stages = ["--model.stages", "[{mixers: [{class_path: own_mixer_of_a_run.Mine, init_args: {state_dim: 2}}]}]"]

    def edit(factor, note=""):
        Path("own_mixer_of_a_run.py").write_text(OWN.replace("FACTOR", f"{factor}  {note}"))
        sys.modules.pop("own_mixer_of_a_run", None)
        importlib.invalidate_caches()

    def folders():
        return sorted(Path("runs").glob("quickstart-????????"))

    edit(1.0)
    command("fit", *ONE_STEP, *stages)
    (first,) = folders()
    edit(1.0, "# the same, with a note")
    with pytest.raises(SystemExit) as ended:
        command("fit", *ONE_STEP, *stages)
    assert not ended.value.code and "is finished" in capsys.readouterr().out
    edit(0.50)
    with pytest.raises(SystemExit):
        command("test", *ONE_STEP, *stages, "--ckpt_path", "best")
    assert "the nearest run of this name is" in (said := capsys.readouterr().err) and "code_sha256.own_mixer" in said
    with pytest.raises(SystemExit):
        command("fit", *ONE_STEP, *stages, "--run_dir", str(first))
    assert "is the folder of another run: code_sha256.own_mixer_of_a_run.Mine is" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", "--config", f"{first}/config.yaml"])
    assert "the code of own_mixer_of_a_run.Mine is not that of code_sha256; restore it" in capsys.readouterr().err
    with pytest.warns(UserWarning, match=r"own_mixer_of_a_run\.Mine has changed since .* was trained"):
        command("test", *ONE_STEP, *stages, "--ckpt_path", "best", "--run_dir", str(first))
    command("fit", *ONE_STEP, *stages)
    assert len(folders()) == 2


def test_a_preferred_rate_leaves_another_optimizer_its_own_weight_decay(command):
    adam = ["--model.optimizer", "torch.optim.AdamW", "--model.optimizer.weight_decay", "0.2", "--run_dir", "run"]
    command("fit", *ONE_STEP, *adam)
    command("fit", "--trainer.max_steps", "2", *adam, "--model.learning_rate", "0.02", "--prefer", "command_line")
    (group,) = torch.load("run/checkpoints/step_2.ckpt")["optimizer_states"][0]["param_groups"]
    assert (group["initial_lr"], group["weight_decay"]) == (0.02, 0.2)


def test_a_rate_of_zero_goes_on_and_no_other_comes_from_it(command, refuse):
    still = ["--model.learning_rate", "0", "--run_dir", "run"]
    command("fit", *ONE_STEP, *still)
    two = ["--trainer.max_steps", "2", "--prefer", "command_line"]
    said = refuse(*two, *still, "--model.learning_rate", "0.1")
    assert "model.learning_rate must be 0, as in the checkpoint" in said
    command("fit", *two, *still)
    assert torch.load("run/checkpoints/step_2.ckpt")["global_step"] == 2


def test_a_run_of_before_the_hashes_of_code_goes_on(command, capsys, monkeypatch):
    monkeypatch.syspath_prepend(".")
    Path("own_mixer_of_an_old_run.py").write_text(OWN.replace("FACTOR", "1.0"))
    stages = ["--model.stages", "[{mixers: [{class_path: own_mixer_of_an_old_run.Mine, init_args: {state_dim: 2}}]}]"]
    command("fit", *ONE_STEP, *stages)
    (run,) = Path("runs").glob("quickstart-????????")
    configuration = yaml.safe_load((run / "config.yaml").read_text())
    assert list(configuration.pop("code_sha256")) == ["own_mixer_of_an_old_run.Mine"]
    older = run.with_name(f"quickstart-{run_hash(configuration)}")
    run.rename(older)
    (older / "config.yaml").write_text(yaml.safe_dump(configuration))
    for given in ([], ["--run_dir", str(older)]):
        with pytest.raises(SystemExit) as ended:
            command("fit", *ONE_STEP, *stages, *given)
        assert not ended.value.code and f"{older} is finished" in capsys.readouterr().out
    command("test", *ONE_STEP, *stages, "--ckpt_path", "best")


def test_a_run_of_before_the_hashes_of_files_and_one_that_writes_its_file_go_on(command, capsys, monkeypatch):
    monkeypatch.syspath_prepend(".")
    Path("own_task_with_a_cache.py").write_text(WITH_CACHE)
    task = {"class_path": "own_task_with_a_cache.Cached", "init_args": {"max_size": 4, "cache": "cache.txt"}}
    given = ["--data.task", json.dumps(task), *ONE_STEP]
    command("fit", *given)
    assert Path("cache.txt").is_file()
    (run,) = Path("runs").glob("quickstart-????????")
    for more in ([], ["--run_dir", str(run)]):
        with pytest.raises(SystemExit) as ended:
            command("fit", *given, *more)
        assert not ended.value.code and f"{run} is finished" in capsys.readouterr().out
    assert "code_sha256.data.task.init_args.cache" not in str(differences_in_content(*configurations(given)))


def configurations(given):
    """Those of two machines, of which one has the file that a task reads, and another path of a model."""
    here = read_configuration(["fit", *given])
    return {**here, "code_sha256": None}, here


@pytest.mark.parametrize(
    ("drawn", "steps", "said"),
    [("a", 2, ""), ("b", 2, "ranks 0 and 1 draw different samples"), ("a", 3, "all ranks must have one configuration")],
)
def test_ranks_that_start_differently_are_refused(monkeypatch, drawn, steps, said):
    def gather(ranks, own):
        ranks[:] = [own, (own[0], {"trainer": {"max_steps": steps}}, drawn)]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    data = SimpleNamespace(samples_sha256="a", task=IsTree(max_size=4))
    start = SameStart(Start(None), {"trainer": {"max_steps": 2}})
    with pytest.raises(UserError, match=said) if said else contextlib.nullcontext():
        start.setup(SimpleNamespace(world_size=2, datamodule=data), None, "fit")


def test_functions_that_are_named_as_they_are_have_a_hash_too(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_function_of_a_run.py").write_text("def make():\n    return 1\n")
    module = importlib.import_module("own_function_of_a_run")
    found = own_code({"model": {"stages": [{"mixers": ["own_function_of_a_run.make", "lit_retrieval.mixers.Mamba"]}]}})
    assert found == {"own_function_of_a_run.make": code_hash(module.make)} and len(code_hash(module.make)) == 64
    exec("class Here: pass", space := {"__name__": "__main__"})
    assert code_hash(space["Here"]) == "" and code_hash(torch.nn.Linear) == "" and code_hash(pytest.raises) == ""


@pytest.mark.parametrize("key", ["optimizer", "lr_scheduler"])
def test_a_preferred_command_cant_have_another_kind_of_optimizer(command, refuse, key):
    command("fit", *ONE_STEP, "--run_dir", "run")
    given = {"optimizer": ["torch.optim.SGD"], "lr_scheduler": ["torch.optim.lr_scheduler.ConstantLR"]}[key]
    two = ["--trainer.max_steps", "2", "--run_dir", "run", "--prefer", "command_line"]
    assert f"model.{key} must be that of the checkpoint" in refuse(*two, f"--model.{key}", *given)


def test_a_run_says_where_it_is_and_what_comes_next(command, capfd, monkeypatch):
    command("fit", *ONE_STEP, "--trainer.log_every_n_steps", "1", "--trainer.enable_progress_bar", "true")
    (folder,) = Path("runs").glob("quickstart-*")
    first, *lines = capfd.readouterr().out.splitlines()
    assert first == f"new run in {folder}"
    assert any(re.fullmatch(r"step 1/1  loss \d+\.\d{3}  accuracy \d\.\d{3}", line) for line in lines)
    best, following = lines[-2:]
    assert re.fullmatch(
        rf"best val/closed_loop_accuracy: \d\.\d{{4}} after 1 step, in {folder}/checkpoints/best.ckpt", best
    )
    python, m, package, *arguments = shlex.split(following.removeprefix("next: "))
    assert (python, m, package) == ("python", "-m", "lit_retrieval")
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    main(arguments)
    assert json.loads((folder / "scores.json").read_text())["checkpoint"] == "best.ckpt"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--trainer.devices", "0"], "devices"),
        (["--trainer.max_steps", "-1"], "max_steps"),
        (["--model.stages", "[{mixers: [{class_path: broken_layers.DictState}]}]"], "broken_layers.DictState"),
        (["--model.first_state", "same", "--model.recompute", "blocks"], "model.recompute"),
    ],
    ids=["not built", "without an end", "a layer that breaks a rule", "blocks that can't be recomputed"],
)
def test_a_run_that_is_refused_is_not_called_a_new_one(command, capfd, arguments, named):
    with pytest.raises(SystemExit) as stopped:
        command("fit", *ONE_STEP, *arguments)
    said = capfd.readouterr()
    assert stopped.value.code == 2 and named in said.err and said.out == ""
    assert not list(Path.cwd().glob("runs/quickstart-*"))


def test_a_run_prints_its_start_once(command, capfd):
    command("fit", *ONE_STEP, "--run_dir", "run")
    assert capfd.readouterr().out.splitlines().count("new run in run") == 1
    command("fit", "--trainer.max_steps", "2", "--run_dir", "run", "--prefer", "command_line")
    assert capfd.readouterr().out.splitlines().count("resuming run after 1 step, from step_1.ckpt") == 1
    with pytest.raises(SystemExit):
        command("fit", "--trainer.max_steps", "2", "--run_dir", "run")
    assert capfd.readouterr().out.splitlines() == [
        "run is finished after 2 steps; test it with `test --ckpt_path best`, or add --fresh"
    ]


def test_a_run_that_starts_from_a_file_says_what_it_takes_over(command, capfd):
    command("fit", *ONE_STEP, "--run_dir", "one")
    file = ["--ckpt_path", "one/checkpoints/best.ckpt", "--run_dir", "two"]
    with pytest.raises(SystemExit) as stopped:
        command("fit", *ONE_STEP, *file)
    said = capfd.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2 and "max_steps must be above the 1 of one/checkpoints/best.ckpt" in said
    command("fit", "--trainer.max_steps", "2", *file)
    said = capfd.readouterr().out
    assert "new run in two, from one/checkpoints/best.ckpt after 1 step: its weights, optimizer state" in said


def test_a_run_that_starts_from_a_file_has_a_best_checkpoint_of_its_own(command):
    """Whatever the other run's best score was, here one that none can beat."""
    command("fit", *ONE_STEP, "--run_dir", "one")
    path = Path("one/checkpoints/step_1.ckpt")
    content = torch.load(path)
    (best,) = [state for key, state in content["callbacks"].items() if key.startswith("BestCheckpoint")]
    best["best_model_score"] = torch.tensor(9.0)
    best["best_k_models"] = dict.fromkeys(best["best_k_models"], torch.tensor(9.0))
    save_checkpoint(content, path)
    command("fit", "--trainer.max_steps", "2", "--ckpt_path", str(path), "--run_dir", "two")
    assert Path("two/checkpoints/best.ckpt").is_file()


def test_a_file_that_looks_like_a_checkpoint_to_resume_from_is_kept(command):
    command("fit", *ONE_STEP, "--run_dir", "one")
    copy = shutil.copy("one/checkpoints/step_1.ckpt", "one/checkpoints/step_1_kept.ckpt")
    assert [path.name for path in RunFolder(Path("one")).step_files()] == ["step_1.ckpt"]
    RunFolder(Path("one")).prune(1, 1)
    assert Path(copy).is_file()


def test_a_run_folder_in_the_home_folder_is_one_folder(command, monkeypatch, capfd):
    """No shell replaces the ~ after = or in YAML."""
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    command("fit", *ONE_STEP, "--run_dir=~/one")
    assert not Path("~").exists() and Path("home/one/checkpoints/best.ckpt").is_file()
    with pytest.raises(SystemExit):
        command("fit", *ONE_STEP, "--run_dir=~/one")
    assert "is finished after 1 step;" in capfd.readouterr().out
    command("test", "--run_dir=~/one", "--ckpt_path", "~/one/checkpoints/best.ckpt")


def test_a_finished_run_has_no_other_steps_to_do(command, capfd):
    command("fit", *ONE_STEP, "--run_dir", "one")
    with pytest.raises(SystemExit) as stopped:
        command("fit", *ONE_STEP, "--run_dir", "one", "--prefer", "command_line")
    assert not stopped.value.code and "one is finished after 1 step;" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "there"),
    [
        (["--checkpoint.dirpath", "elsewhere"], "elsewhere/best.ckpt"),
        pytest.param(["--checkpoint.filename", "top"], "one/checkpoints/top.ckpt", marks=pytest.mark.slow),
        (["--checkpoint.dirpath", "elsewhere", "--checkpoint.filename", "at-{step}"], "elsewhere/at-step=1.ckpt"),
        (
            ["--trainer.logger", "lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir", "csv"],
            "one/checkpoints/best.ckpt",
        ),
        pytest.param(
            ["--checkpoint.enable_version_counter", "true"], "one/checkpoints/best.ckpt", marks=pytest.mark.slow
        ),
    ],
)
def test_the_best_checkpoint_is_found_where_it_was_written(command, reads, capfd, options, there):
    command("fit", *ONE_STEP, "--run_dir", "one", *options)
    assert f"in {there}" in capfd.readouterr().out
    command("test", "--config", "one/config.yaml", "--ckpt_path", "best")
    assert reads[-1] == Path(there).name and Path(there).is_file()
