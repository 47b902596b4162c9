"""One trial: what its commands are, and what is left of it after a stop."""

import errno
import math
import threading
import time

import pytest
from sweep import main as sweep
from sweeps import files
from sweeps.commands import start_fresh
from sweeps.curve import read_curve
from sweeps.grid import Trial, read_grid, trials
from sweeps.ledger import CODE
from sweeps.trial import _random_bits, run_trial
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_sweep import TINY, write_grid

from lit_retrieval.cli import main
from lit_retrieval.cli.endings import DISK_FULL
from lit_retrieval.errors import PREEMPTED


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["tools/sweep.py"])
    return tmp_path


@pytest.fixture
def run(place, monkeypatch):
    """Runs a grid's only trial with a shell script as `fit` and `test`; returns the commands of this call."""

    def run(script, **parts):
        (trial,) = trials(read_grid(write_grid(place, **parts)), place)
        program = place / "program"
        program.write_text(f'#!/bin/sh\necho "$@" >> {place}/commands\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(program))
        (place / "commands").write_text("")
        run_trial(trial, place / "sweep", "abc", retries=0, cpus=1)
        return (place / "commands").read_text().splitlines(), files.trial_folder(place / "sweep", trial.hash)

    return run


def test_the_best_checkpoint_is_tested_unless_the_grid_says_last(run):
    for parts, checkpoint in (({}, "best"), ({"checkpoint": "last"}, "last")):
        (fit, test), folder = run('[ "$3" = fit ]', **parts)
        assert "--ckpt_path" not in fit and test.endswith(f"--ckpt_path {checkpoint}")
        (folder / "trial.json").unlink()


@pytest.mark.parametrize(("has_gpu", "gpus", "devices"), [(False, 4, 1), (True, 4, 4), (True, 1, 1), (True, 0.25, 1)])
def test_a_trial_has_the_gpus_that_it_asks_for_and_is_not_forked_there(run, monkeypatch, has_gpu, gpus, devices):
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    forked = []
    monkeypatch.setattr("sweeps.trial.start_warm", lambda *arguments: forked.append(1) or start_fresh(*arguments))
    (fit, *_), _ = run("exit 2", gpus=gpus, warm=True)
    assert f"--trainer.devices {devices} " in fit and bool(forked) != has_gpu


def test_a_curve_has_the_scores_after_each_validation(place):
    grid = write_grid(place)
    (trial,) = trials(read_grid(grid), place)
    main([*["fit", *trial.arguments], "--run_dir", "run", "--trainer.enable_progress_bar", "false"])
    found = read_curve(place / "run")
    events = EventAccumulator("run").Reload()
    assert found.steps == [2, 4]
    for name, values in (("closed_loop_accuracy", found.accuracy), ("exact_match", found.exact_match),
                         ("loss", found.loss)):  # fmt: skip
        assert values == [one.value for one in events.Scalars(f"val/{name}")]
    assert found.loss[0] != found.loss[1] and min(found.loss) > 0.5


def test_a_run_that_writes_no_scalars_has_an_empty_curve(tmp_path):
    steps, *curve, speed = read_curve(tmp_path)
    assert [steps, *curve] == [[], [], [], []] and math.isnan(speed)


def test_training_that_has_ended_is_not_run_again(run):
    """It may have ended at a time limit, after which `fit` would go on."""
    training = """[ "$3" = fit ] || exit 2
    run=$(echo "$@" | sed 's/.*--run_dir \\([^ ]*\\).*/\\1/')
    mkdir -p $run/checkpoints && touch $run/checkpoints/step_4.ckpt"""
    commands, folder = run(training)
    assert [line.split()[2] for line in commands] == ["fit", "test"]
    assert files.read(folder / "trial.json")["status"] == "failed"
    commands, _ = run(training)
    assert [line.split()[2] for line in commands] == ["test"]
    (folder / "run/checkpoints/step_4.ckpt").unlink()
    commands, _ = run("exit 2")
    assert [line.split()[2] for line in commands] == ["fit"], "what is gone is trained again"


@pytest.mark.parametrize(
    ("limit", "minutes", "rest"),
    [
        (None, 7.0, None), ("01:02:03:00", 0.0, "01:02:03:00"), ("00:00:10:00", 7.5, "00:00:02:30"),
        ("02:00:00:00", 60.0, "01:23:00:00"), ("00:00:10:00", 11.0, "00:00:00:01"), ({"minutes": 10}, 9, "00:00:01:00"),
    ],
)  # fmt: skip
def test_a_time_limit_is_for_all_starts_together(run, limit, minutes, rest):
    fixed = {**TINY, **({} if limit is None else {"trainer.max_time": limit})}
    _, folder = run("exit 2", fixed=fixed)
    files.write({"minutes": minutes}, folder / "trial.json")
    (fit,), _ = run("exit 2", fixed=fixed)
    words = fit.split()
    places = [place for place, word in enumerate(words) if word == "--trainer.max_time"]
    assert (words[places[-1] + 1] if places else None) == rest


def test_a_stop_lets_a_trial_save_itself_and_it_waits_to_be_resumed(place, monkeypatch):
    (trial,) = trials(read_grid(write_grid(place)), place)
    program = place / "program"
    program.write_text(
        f"#!/bin/sh\ntrap 'exit {PREEMPTED}' TERM\ntouch {place}/started\nwhile :; do sleep 0.05; done\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    stopping = threading.Event()
    thread = threading.Thread(target=run_trial, args=(trial, place / "sweep", "abc", 0, 1, stopping))
    thread.start()
    while not (place / "started").exists():
        time.sleep(0.02)
    stopping.set()
    thread.join(30)
    notes = files.read(files.trial_folder(place / "sweep", trial.hash) / "trial.json")
    assert not thread.is_alive() and notes["status"] == "waiting" and notes["attempts"] == 1


@pytest.mark.parametrize("note", [1, 2])
def test_a_full_disk_stops_the_training_and_is_one_line(place, monkeypatch, capsys, note):
    """At the first note of a trial, or at a later one while it trains."""
    path, written = write_grid(place), []

    def write(content, path):
        written.append(path)
        if len(written) == note:
            while not (place / "started").exists():
                time.sleep(0.02)
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    program = place / "program"
    program.write_text(
        f"#!/bin/sh\ntrap 'echo ended > {place}/saved; exit {PREEMPTED}' TERM\ntouch {place}/started\n"
        "while :; do sleep 0.05; done\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr("sweeps.trial._NOTE_EVERY", 0.5)
    monkeypatch.setattr("sweeps.files.write", write)
    monkeypatch.setattr("sys.argv", ["tools/sweep.py", str(path), "--on", "here", "--any_commit"])
    with pytest.raises(SystemExit) as ended:
        sweep()
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == DISK_FULL == 5 and line.startswith("error: the disk is full: ") and "trial.json" in line
    assert (place / "saved").read_text() == "ended\n" and len(written) == note


@pytest.mark.parametrize(
    ("task", "bits"),
    [
        ({"class_path": "lit_retrieval.tasks.Index", "init_args": {"distribution": CODE, "max_size": 8}}, {"8": 8}),
        ({"class_path": "lit_retrieval.tasks.AssociativeRecall",
          "init_args": {"distribution": CODE, "values_per_key": 2}}, {"8": 2}),
        ({"class_path": "lit_retrieval.tasks.Index", "init_args": {"max_size": 8}}, {}),
        ({"class_path": "nobody.Has", "init_args": {"distribution": CODE}}, {}),
    ],
)  # fmt: skip
def test_the_random_bits_of_a_code_are_those_of_its_task(task, bits):
    trial = Trial("", "", 0, [], {"data": {"task": task}}, "")
    assert _random_bits(trial, {"samples": {"8": 10}}) == bits
