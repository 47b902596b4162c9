"""python -m lit_retrieval.tasks, from its arguments to its files."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lit_retrieval.tasks import Index, SampleStream, load_samples
from lit_retrieval.tasks.__main__ import main

INDEX = ["--task", "lit_retrieval.tasks.Index", "--task.max_size", "16", "--task.num_words", "5"]
TEXT = [*INDEX, "--form", "text"]


def refuse(capsys, *arguments):
    """Run a command that must fail; returns what it said, which must be one line."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert not said.out, "no progress bar begins"
    return line


def test_samples_are_written_checked_and_the_trainers_own(tmp_path, capsys):
    path = tmp_path / "index.jsonl"
    main(["write", *INDEX, "--output", str(path), "--samples", "1500", "--sizes", "{4: 1, 16: 3}", "--form", "words"])
    main(["check", str(path)])
    said = capsys.readouterr().out
    assert "1,500 samples" in said and '"sha256"' in said
    file = load_samples(path)
    stream = SampleStream(Index(16, 5), "retrieval", {4: 1, 16: 3}, 0, "fit")
    assert (file.take(np.arange(1500)).tokens == stream.take(np.arange(1500)).tokens).all()
    assert file.manifest["task"]["init_args"]["num_words"] == 5
    first = json.loads(path.read_text().splitlines()[0])
    assert (
        first["tokens"][0] == "<s>"
        and first["author"][0] == "prompt"
        and first["author"][-2:] == ["retriever", "model"]
    )


def test_samples_are_shown_in_words(capsys):
    main(["show", *INDEX, "--samples", "2", "--sizes", "4..6"])
    shown = capsys.readouterr().out
    assert len(re.findall(r"^<s> .* \? (\d+)\n<StartSearch> @ \1 <EndSearch> \[(w\d)\] \2$", shown, re.M)) == 2


@pytest.mark.parametrize(
    ("task", "size"),
    [("SelectiveCopying", 16), ("CompositeRecall", 9), ("MQAR", 32), ("VariableTracking", 15), ("JointRecall", 5)],
)
def test_without_sizes_one_is_found_that_the_task_has(task, size, capsys, tmp_path):
    few = {"JointRecall": ["--task.num_contexts", "5"]}.get(task, [])
    main(["check-class", task, *few])
    assert capsys.readouterr().out.splitlines()[0].endswith(f".{task}, sizes [{size}]")
    main(["show", "--task", task, *few])
    assert capsys.readouterr().out.count("<s>") == 3
    main(["write", "--task", task, *few, "--samples", "2", "--output", str(tmp_path / "a.npz")])
    (written,) = load_samples(tmp_path / "a.npz").manifest["sizes"]
    assert written >= size


@pytest.mark.parametrize("task", ["StateTracking", "Selectivity", "Stacks"])
def test_without_a_regime_a_task_without_searches_shows_its_last(task, capsys):
    main(["show", "--task", task])
    assert capsys.readouterr().out.count("<s>") == 3


def test_a_file_of_arguments_is_read(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("task: {class_path: lit_retrieval.tasks.Counting}\nregime: cot\nsamples: 1\n")
    main(["show", "--config", str(config)])
    assert re.search(r"(YES|NO)\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "--task", "lit_retrieval.tasks.Indx"], "did you mean lit_retrieval.tasks.Index?"),
        (["show", "--task", "Indx"], "got Indx; did you mean lit_retrieval.tasks.Index?"),
        (["show", *INDEX, "--sizs", "4"], "did you mean sizes?"),
        (["show", *INDEX, "--sizes", "[17]"], "size must be 1 to 16, got 17; set --sizes or --task.max_size"),
        (["show", *INDEX, "--sizes", "[8, 8]"], "sizes must be listed once each, got [8, 8]; set --sizes"),
        (["show", *INDEX, "--seed", str(10**23)], f"got {10**23}; set --seed"),
        (["check", "."], "write the path of a file of samples"),
        (["show", *INDEX, "--sizes", "4-6"], "sizes must be a range such as 4..8"),
        (["show", *INDEX, "--regime", "rag"], "rag"),
        (["show", *INDEX, "--split", "foo"], "foo"),
        (["show", *INDEX, "--samples", "0"], "samples must be 1 or more, got 0; set --samples"),
        (["show", *INDEX, "--samples=-1"], "samples must be 1 or more, got -1"),
        (["show", *INDEX, "--sizes", "{4: .nan, 8: 1}"], "with weights above 0 and a finite sum, got"),
        (["show", "--task", "MQAR", "--task.power_a", ".nan"], "power_a must be above 0 and at most 16, got nan"),
        (["write", *INDEX, "--output", "samples.txt"], "suffix must be .npz or .jsonl, got samples.txt"),
        (["write", *INDEX, "--output", "samples.npz", "--sizes", "[16, 17]"], "error: size must be 1 to 16, got 17"),
        (["write", *INDEX, "--output", "s" * 300 + ".npz"], ".npz can't be written: File name too long"),
        (["write", *INDEX], "error: the following arguments are required: --output"),
        (["write"], "error: the following arguments are required: --task, --output"),
        (["check"], "error: the following arguments are required: file"),
        (["import"], "error: the following arguments are required: file, output"),
        (["show", "--task", "Mixture"], "error: the following arguments are required: --task.tasks"),
        (["check-class", "MachineRun"], "error: the following arguments are required: --task.table"),
        (
            ["show", "--task", "StateTracking", "--task.automaton", "{steps: [[0, 1], [1, 0]]}"],
            "automaton must be text or keys with values, got {'steps': [[0, 1], [1, 0]]}",
        ),
        (["write", *INDEX, "--output", "samples.npz", "--samples", "0"], "samples must be 1 or more, got 0"),
        (
            ["write", *TEXT, "--output", "a.jsonl", "--regime", "retrieval"],
            "must be vanilla or cot for prompts in text",
        ),
        (["write", *TEXT, "--output", "a.npz"], "the suffix must be .jsonl for prompts in text, got a.npz"),
        (["write", *TEXT, "--output", "a.jsonl", "--shots=-1"], "shots must be 0 or more, got -1; set --shots"),
        (
            ["write", *INDEX, "--output", "a.jsonl", "--shots", "8"],
            "shots are for the forms text and lm_eval, got",
        ),
        (["write", *INDEX, "--form", "lm_eval", "--output", "a.b"], "of letters, digits, _ and -, got 'a.b'"),
        (["write", *INDEX, "--form", "lm_eval", "--output", "none/a"], "there is no folder none; create it first"),
        (["check", "nothing.npz"], "there is no file nothing.npz; write the path of a file of samples"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refuse(capsys, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["text", "lm_eval"])
def test_what_exists_is_not_overwritten_and_prompts_are_not_samples(form, capsys, tmp_path):
    path = tmp_path / ("a.jsonl" if form == "text" else "a")
    main(["write", *INDEX, "--form", form, "--samples", "2", "--output", str(path)])
    capsys.readouterr()
    line = refuse(capsys, "write", *INDEX, "--form", form, "--samples", "2", "--output", str(path))
    assert "already exists; write another name, or --overwrite true" in line
    if form == "text":
        assert "has prompts for language models; write samples with --form ids or words" in refuse(
            capsys, "check", str(path)
        )


@pytest.mark.parametrize("name", ["samples.npz", "samples.npz.manifest.json"])
@pytest.mark.parametrize("overwrite", ["true", "false"])
def test_a_folder_in_the_place_of_the_output_is_refused(name, overwrite, capsys, tmp_path):
    (tmp_path / name).mkdir()
    path = tmp_path / "samples.npz"
    line = refuse(capsys, "write", *INDEX, "--output", str(path), "--overwrite", overwrite)
    assert f"{tmp_path / name} is a folder; write another name" in line
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT], ids=lambda asked: asked.name)
def test_what_is_stopped_leaves_nothing_and_says_so_in_one_line(asked, tmp_path):
    command = [sys.executable, "-m", "lit_retrieval.tasks", "write", *INDEX, "--samples", "100_000_000"]
    with subprocess.Popen(
        [*command, "--output", str(tmp_path / "samples.npz")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(tmp_path.iterdir()) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(asked)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + asked
    assert said.splitlines() == [f"error: stopped by {asked.name}; run it again"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT], ids=lambda asked: asked.name)
def test_a_signal_stops_between_two_batches(asked, tmp_path, monkeypatch, capsys):
    """An exception while LLVM works would be lost, or crash the process."""
    take, taken = SampleStream.take, []

    def take_and_ask(stream, indices):
        taken.append(len(indices))
        os.kill(os.getpid(), asked)
        return take(stream, indices)

    monkeypatch.setattr(SampleStream, "take", take_and_ask)
    with pytest.raises(SystemExit) as stopped:
        main(["write", *INDEX, "--samples", "5000", "--output", str(tmp_path / "samples.npz")])
    assert stopped.value.code == 128 + asked and len(taken) == 1 and not list(tmp_path.iterdir())
    assert f"error: stopped by {asked.name}; run it again" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["write", "show", "check"])
def test_help_says_what_a_command_does(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0 and "samples" in capsys.readouterr().out
