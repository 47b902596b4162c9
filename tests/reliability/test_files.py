"""Bad files and full disks: the run falls back to what is whole, or refuses with one line."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lit_retrieval import runs
from lit_retrieval.cli import main

SHORT = ["--trainer.max_steps", "6", "--trainer.val_check_interval", "2", "--run_dir", "run"]


# Runs a command on a small disk, and again when it has grown.
FULL_THEN_NOT = """
import shutil, subprocess, sys
from lit_retrieval.cli import main

for kept in ("full", "room"):
    try:
        main(sys.argv[1:])
        print("status 0", flush=True)
    except SystemExit as stopped:
        print("status", stopped.code, flush=True)
    shutil.copytree("run", kept)
    subprocess.run(["mount", "-o", "remount,size=20m", "run"], check=True)
"""


@pytest.fixture
def command(place, tiny, monkeypatch, capsys):
    """Run commands within this process; returns what they print."""
    monkeypatch.chdir(place.path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    monkeypatch.syspath_prepend(place.path)

    def run(name, *arguments, status=None):
        if status is None:
            main([name, *tiny, *arguments])
        else:
            with pytest.raises(SystemExit) as stopped:
                main([name, *tiny, *arguments])
            assert (stopped.value.code or 0) == status
        shown = capsys.readouterr()
        if status:
            (line,) = [line for line in shown.err.splitlines() if line.startswith("error:")]
            return line
        return shown.out + shown.err

    return run


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def replace_by_another_model(path):
    content = torch.load(path)
    content["hyper_parameters"]["hidden_size"] = 99
    runs.save_checkpoint(content, path)


@pytest.mark.parametrize("damage", [truncate, empty, flip])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(command, damage):
    command("fit", *SHORT)
    whole = torch.load("run/checkpoints/step_6.ckpt")
    damage(Path("run/checkpoints/step_6.ckpt"))
    said = command("fit", *SHORT)
    assert "step_6.ckpt is damaged" in said and "using step_4.ckpt instead" in said
    assert "resuming run after 4 steps" in said
    again = torch.load("run/checkpoints/step_6.ckpt")
    assert all(torch.equal(again["state_dict"][name], tensor) for name, tensor in whole["state_dict"].items())


def test_what_cannot_be_repaired_is_refused_in_one_line(command):
    command("fit", *SHORT)
    flip(Path("run/checkpoints/best.ckpt"))
    assert "best.ckpt is damaged" in command("test", "--run_dir", "run", "--ckpt_path", "best", status=2)
    replace_by_another_model(Path("run/checkpoints/step_6.ckpt"))
    said = command("fit", *SHORT, status=2)
    assert "model.hidden_size is 99 there and 8 here" in said and "--prefer" in said
    for step in (4, 6):
        truncate(Path(f"run/checkpoints/step_{step}.ckpt"))
    assert "no older valid one; add --fresh" in command("fit", *SHORT, status=2)
    command("fit", *SHORT, "--fresh")
    assert Path("run-2/checkpoints/step_6.ckpt").is_file()


def test_a_checkpoint_that_would_run_code_does_not(command):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, ("ran",)

    torch.save({"pytorch-lightning_version": "2", "state_dict": Malicious()}, "bad.ckpt")
    for name in ("fit", "validate", "test", "predict"):
        assert "objects other than tensors" in command(name, "--ckpt_path", "bad.ckpt", status=2)
    assert not Path("ran").exists()


@pytest.mark.parametrize("address", ["https://example.org/best.ckpt", "s3://bucket/best.ckpt"])
def test_an_address_is_refused(command, address):
    assert f"must be a local file, got {address}; download it" in command("test", "--ckpt_path", address, status=2)


def test_a_run_goes_by_its_configuration_and_finds_its_folder_again(command):
    run = SHORT[:-2]
    command("fit", *run)
    (first,) = Path("runs").glob("quickstart-*")
    assert f"{first} is finished after 6 steps" in command("fit", *run, "--data.num_workers", "1", status=0)
    assert "\nall " in command("test", *run, "--ckpt_path", "best", "--data.test_samples", "3")
    with pytest.raises(SystemExit):
        main(["fit", "--config", f"{first}/config.yaml"])
    main(["test", "--config", f"{first}/config.yaml", "--ckpt_path", "best"])
    said = command("test", *run, "--ckpt_path", "best", "--data.eval_sizes", "[4]", status=2)
    assert f"the nearest run of this name is {first}, where data.eval_sizes.0 is not set there and 4 here" in said
    command("test", *run, "--ckpt_path", "best", "--data.eval_sizes", "[4]", "--run_dir", str(first))
    command("fit", *run, "--model.learning_rate", "0.1")
    command("fit", *run, "--fresh")
    assert {path.name for path in Path("runs").glob("quickstart-*")} > {first.name, f"{first.name}-2"}
    assert f"{first}-2 is finished" in command("fit", *run, status=0)


def test_another_configuration_in_the_same_folder_is_refused_unless_it_is_preferred(command):
    command("fit", *SHORT)
    changed = [*SHORT, "--data.seed", "1", "--trainer.max_steps", "8"]
    said = command("fit", *changed, status=2)
    assert (
        "run is the folder of another run: data.seed is 0 there and 1 here, trainer.max_steps is 6 there and 8 here"
        in said
    )
    assert "resuming run after 6 steps" in command("fit", *changed, "--prefer", "command_line")
    assert torch.load("run/checkpoints/step_8.ckpt")["global_step"] == 8


def test_a_run_that_began_with_a_checkpoint_goes_on_with_its_own(command):
    command("fit", *SHORT)
    other = [*SHORT[:-1], "other", "--trainer.max_steps", "8", "--ckpt_path", "run/checkpoints/step_6.ckpt"]
    command("fit", *other)
    assert "other is finished after 8 steps" in command("fit", *other, status=0)
    runs.remove_checkpoint(Path("other/checkpoints/step_8.ckpt"))
    command("fit", *other)
    assert torch.load("other/checkpoints/step_8.ckpt")["global_step"] == 8
    assert "leave out --ckpt_path last" in command("fit", *SHORT, "--ckpt_path", "last", status=2)


def test_hyperparameters_that_differ_are_named_and_either_may_win(command):
    command("fit", *SHORT)
    other = ["--run_dir", "run", "--ckpt_path", "last", "--model.learning_rate", "0.5", "--model.hidden_size", "4"]
    said = command("test", *other, status=2)
    assert "model.hidden_size is 8 there and 4 here, model.learning_rate is 0.003 there and 0.5 here" in said
    assert "the checkpoint is of another model" in command("test", *other, "--prefer", "command_line", status=2)
    assert "\nall " in command("test", *other, "--prefer", "checkpoint")


def test_a_run_that_was_moved_keeps_its_best_checkpoint(command):
    command("fit", *SHORT, "--checkpoint.monitor", "val/searches")
    best = torch.load("run/checkpoints/best.ckpt")["callbacks"]
    shutil.move("run", "moved")
    runs.remove_checkpoint(Path("moved/checkpoints/step_6.ckpt"))
    moved = [*SHORT[:-1], "moved", "--checkpoint.monitor", "val/searches"]
    assert "resuming moved after 4 steps" in command("fit", *moved)
    scores = [
        {key: state["best_model_score"] for key, state in callbacks.items() if "Best" in key}
        for callbacks in (best, torch.load("moved/checkpoints/best.ckpt")["callbacks"])
    ]
    assert scores[0] == scores[1]


def test_a_nan_ends_the_run_before_the_step_and_leaves_finite_checkpoints(command):
    broken = "[{mixers: [{class_path: lit_retrieval.mixers.Mamba}, {class_path: noise.Broken}]}]"
    said = command(
        "fit", "--run_dir", "run", "--model.stages", broken, "--trainer.max_steps", "40",
        "--last_checkpoint.every_n_steps", "10", status=3,
    )  # fmt: skip
    assert "not finite in step 26" in said
    newest = runs.RunFolder(Path("run")).newest().content
    assert newest["global_step"] == 20
    assert all(tensor.isfinite().all() for tensor in newest["state_dict"].values())


def test_more_memory_than_the_machine_has_is_one_line_before_the_first_step(command):
    huge = ["--data.batch_size", "4000000000", "--data.val_samples", "1", "--trainer.max_steps", "1"]
    assert "lower data.batch_size" in command("fit", *huge, "--run_dir", "run", status=2)


@pytest.mark.slow
def test_a_full_disk_leaves_what_is_there_and_the_run_goes_on_when_there_is_room(place, tiny):
    """In a tmpfs of 200 kB, inside a mount namespace of its own."""
    (place.path / "run").mkdir()
    mount = ["unshare", "-rm", "sh", "-c"]
    if subprocess.run([*mount, "mount -t tmpfs tmpfs run"], cwd=place.path, capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a tmpfs")
    often = ["--last_checkpoint.every_n_steps", "5", "--last_checkpoint.keep", "3", "--trainer.max_steps", "60"]
    fit = [sys.executable, "-c", FULL_THEN_NOT, "fit", *tiny, "--run_dir", "run", *often]
    shown = subprocess.run(
        [*mount, f"mount -t tmpfs -o size=200k tmpfs run && {shlex.join(fit)}"],
        cwd=place.path,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert shown.stdout.count("status 5") == 1 and shown.stdout.count("status 0") == 1, shown.stderr
    assert "the disk is full" in shown.stderr and "Traceback" not in shown.stderr
    full = runs.RunFolder(place.path / "full")
    assert full.step_files() and not full.newest().damaged and not list(full.path.rglob("*.part"))
    assert runs.RunFolder(place.path / "room").newest().content["global_step"] == 60
