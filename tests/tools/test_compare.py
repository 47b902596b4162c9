"""Comparisons: budgets, choice of the learning rate, significance, rows, the page, and what is left of a killed one."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from compare import Comparison, main
from comparisons import page, rows, verify
from comparisons.cells import find_points, grid, of_code, trials_of
from comparisons.layers import Layer, find_layers
from comparisons.protocol import find_protocol, read_protocol
from comparisons.settings import find_setting
from freeze import freeze
from sweeps import files
from sweeps import trial as sweep_trial
from sweeps.grid import trials
from sweeps.intervals import wilson
from sweeps.runners import run_here

from lit_retrieval.cli import main as lit_retrieval
from lit_retrieval.errors import PREEMPTED, RunEndedError, UserError
from lit_retrieval.runs.checkpoint_file import save_checkpoint

ROOT = Path(__file__).parents[2]
PARITY = {
    "task": {
        "class_path": "lit_retrieval.tasks.StateTracking", "init_args": {"automaton": "parity", "supervision": "dense"},
    },
    "regime": "vanilla", "sizes": [2], "eval_sizes": [2, 3], "val_samples": 4, "test_samples": 12, "seed": 0,
}  # fmt: skip
TINY = {
    "version": 1,
    "shape": {
        "hidden_size": 8, "conv_kernel": 2, "repeat": 1, "parameters": 700, "state_bits": 2600, "length": 4,
    },
    "suites": {"parity": {"data": "parity.yaml"}},
    "learning_rates": [0.01],
    "seeds": [0, 1],
    "minutes": 5,
    "fixed": {
        "model.embedding": "learned", "trainer.max_steps": 2, "trainer.val_check_interval": 1, "data.batch_size": 2,
        "trainer.accelerator": "cpu", "trainer.log_every_n_steps": 1,
    },
}  # fmt: skip
OWN = """
from lit_retrieval.mixers import LinearRNN

class Mine(LinearRNN):
    def __init__(self, hidden_size: int, layer_idx: int, diagonal: bool = True) -> None:
        super().__init__(hidden_size, layer_idx, diagonal)
"""


# A layer whose state begins after six tokens, and one that does not say so.
LATE = """
import torch
from torch import nn

class Late(nn.Module):
    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__()
        self.size = hidden_size

    def forward(self, x, state=None):
        return x, x[:, 6:]

    def state_size(self, length: int) -> int:
        return max(0, length - 6) * self.size

class Liar(Late):
    def state_size(self, length: int) -> int:
        return 0
"""


class Here:
    """A command that runs in this process, to its end, when it is started."""

    def __init__(self, arguments, folder, log, environment):
        self.status = 0
        try:
            lit_retrieval(arguments)
        except SystemExit as error:
            self.status = error.code

    def poll(self):
        return self.status


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a tiny protocol and a layer; trainings run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COMMIT", "abc")  # whatever somebody changes in the checkout meanwhile
    monkeypatch.setattr(sweep_trial, "start_warm", Here)
    (tmp_path / "mine.py").write_text(OWN)
    write(tmp_path, {})
    return tmp_path


def write(place, changes, suite=PARITY):
    (place / "parity.yaml").write_text(yaml.safe_dump(suite))
    freeze(place / "parity.yaml", again=True)
    (place / "tiny.yaml").write_text(yaml.safe_dump({**TINY, **changes}))
    return place / "tiny.yaml"


def compare(*words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["tools/compare.py", *map(str, words)])
        main()


def status_of(*words):
    with pytest.raises(SystemExit) as ended:
        compare(*words)
    return ended.value.code


def refused(capsys, *words):
    status, line = status_of(*words), capsys.readouterr().err.strip()
    assert status == 2 and "\n" not in line
    return line


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_layer_that_is_too_large_is_told_so_and_its_rows_say_refused(place):
    protocol = read_protocol(write(place, {"shape": {**TINY["shape"], "parameters": 100}}))
    with pytest.raises(UserError, match=r"must have about 100 parameters in 1 blocks of width 8, got \d+ or more"):
        find_setting(Layer("Mine", "mine.Mine"), protocol.shape, 10_000)
    assert status_of("mine.Mine", "--protocol", "tiny.yaml", "-o", "out") == 1
    found = read(place / "out/tiny.csv")
    assert [(row["size"], row["status"], row["accuracy"]) for row in found] == [
        ("2", "refused", ""), ("3", "refused", ""),
    ]  # fmt: skip
    assert all("must have about 100 parameters" in row["reason"] for row in found)


def test_a_state_that_grows_late_is_told_and_one_that_is_not_as_said_is_refused(place):
    protocol = read_protocol(place / "tiny.yaml")
    (place / "late.py").write_text(LATE)
    assert find_setting(Layer("Late", "late.Late"), protocol.shape, 2600).growth == 2 * 8 * 32 // 4
    with pytest.raises(UserError, match=r"state_size\(8\) of late\.Liar must be 16, the elements .*, got 0; correct"):
        find_setting(Layer("Liar", "late.Liar"), protocol.shape, 2600)


def test_each_further_budget_of_state_is_a_point_unless_no_setting_is_new(place):
    path = write(place, {"frontier": {"suites": ["parity"], "state_bits": [2500, 2000, 1200]}})
    protocol = read_protocol(path)
    layer = Layer("window", "lit_retrieval.mixers.SlidingWindowAttention", {"num_heads": 1})
    points = find_points(layer, protocol, place / "window")
    bits = [point.setting.state_bits for point in points]
    assert bits == sorted(bits, reverse=True) == list(dict.fromkeys(bits)) and len(bits) == 3
    assert [point.state_bits for point in points] == [2600, 2000, 1200]
    assert find_points(layer, protocol, place / "window") == points, "and is kept"


def test_the_trials_of_a_layer_are_those_of_its_grid(place):
    """Of which one is read for each suite."""
    protocol = read_protocol(write(place, {"learning_rates": [0.01, 3e-05], "seeds": [0, 3]}))
    layer = Layer("Mine", "mine.Mine")
    points = find_points(layer, protocol, place / "points")
    (found,) = trials_of(layer, points, protocol)
    of_grid = [of_code(trial, layer.code()) for trial in trials(grid(layer, points[0], protocol), protocol.folder)]
    assert len(found) == 4 and found == of_grid


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frontier": {"repairs": {"no": "recall"}}}, "frontier.repairs must be names of suites, got no"),
        ({"fixed": {"model.learning_rate": 1.0}}, "a comparison sets model.learning_rate; leave it out of fixed"),
    ],
)
def test_what_a_protocol_would_ignore_is_refused(place, changes, said):
    with pytest.raises(UserError, match=said):
        read_protocol(write(place, changes))


def test_a_protocols_hash_is_that_of_what_it_fixes(place):
    before = read_protocol(place / "tiny.yaml")
    text = (place / "tiny.yaml").read_text()
    (place / "tiny.yaml").write_text(f"# a comment\n{text}")
    assert read_protocol(place / "tiny.yaml").identity == before.identity
    hashes = []
    for changes, suite in (
        ({"learning_rates": [0.02]}, PARITY), ({"version": 2}, PARITY), ({}, {**PARITY, "sizes": [3]}),
        ({}, {**PARITY, "test_samples": 13}),
    ):  # fmt: skip
        hashes.append(read_protocol(write(place, changes, suite)).sha256)
    assert len({*hashes, before.sha256}) == 5


class Page(HTMLParser):
    """Reads a page, and fails where a tag is not closed."""

    VOID = ("meta", "br", "link")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.attributes, self.cells = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        self.cells += tag == "td"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_users_own_layer_gets_its_rows_again_after_a_kill_and_a_page(place, capsys, monkeypatch):
    """The comparison is stopped after a training; the same command goes on, and rows can be verified."""
    path = write(place, {"frontier": {"suites": ["parity"], "state_bits": []}})
    protocol, started = read_protocol(path), []

    def stopped(waiting, grid, folder, commit, slots=1):
        started.append([trial.hash for trial in waiting])
        run_here(waiting[: 1 if len(started) == 1 else None], grid, folder, commit)
        if len(started) == 1:
            raise RunEndedError("stopped", PREEMPTED)

    layers = find_layers(["mine.Mine"], "{diagonal: false}")
    for _ in range(3):
        try:
            Comparison(protocol, place / "out", stopped, any_commit=False, again=False).run(layers)
        except RunEndedError:
            kept = {path: path.stat().st_mtime_ns for path in place.glob("out/trials/*/result.json")}
            assert len(kept) == 1 and not (place / "out/tiny.csv").exists()
    assert [len(hashes) for hashes in started] == [2, 1], "what has finished is skipped"
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
    found = read(place / "out/tiny.csv")
    assert [row["size"] for row in found] == ["2", "3"] and {row["status"] for row in found} == {"ok"}
    assert {row["recurrence"] for row in found} == {"Mine,diagonal=false"}
    check_rows(place, found)
    check_verified(place, capsys, found)
    compare("page", "out/tiny.csv", "--protocol", "tiny.yaml", "-o", "page.html")
    check_page((place / "page.html").read_text(), found)


def check_rows(place, found):
    """Accuracy, interval, spread and ratios, against the scores that `test` wrote."""
    scores = [json.loads(path.read_text()) for path in sorted(place.glob("out/trials/*/result.json"))]
    for row in found:
        of_seeds = [one["scores"][f"size_{row['size']}/closed_loop_accuracy"] for one in scores]
        assert float(row["accuracy"]) == pytest.approx(np.mean(of_seeds), abs=1e-4)
        assert float(row["lowest_seed"]) == pytest.approx(min(of_seeds), abs=1e-4)
        low, high = wilson(float(np.mean(of_seeds)), scores[0]["samples"][row["size"]])
        assert (float(row["low"]), float(row["high"])) == pytest.approx((low, high), abs=1e-4)
        assert row["samples"] == "4", "two steps of two"
        assert int(row["test_samples"]) == scores[0]["samples"][row["size"]]
        assert int(row["state_bits"]) == scores[0]["state_bits_of_sizes"][row["size"]] and row["rate_is_at_end"] == "0"
        assert int(row["parameters"]) <= 735 and row["learning_rate"] == "0.01"
        assert float(row["training"]) > 0 and float(row["decoding"]) > 0
    samples = read(place / "out/tiny.samples.csv")
    assert len(samples) == 4
    for row in samples:
        (one,) = (score for score in scores if score["seed"] == int(row["seed"]))
        share = one["scores"][f"size_{row['size']}/closed_loop_accuracy"]
        assert rows.decode(row["right"]).sum() / int(row["size"]) == pytest.approx(
            share * len(rows.decode(row["right"])), abs=1e-3
        )


def check_verified(place, capsys, found):
    """A row that is run again holds; one whose accuracy was changed does not."""
    capsys.readouterr()
    words = ["verify", "out/tiny.csv", "--protocol", "tiny.yaml", "-o", "again"]
    with pytest.raises(SystemExit) as stopped:
        compare(*words)
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and said.count("the same samples right: holds") == 2
    false = {**found[0], **dict.fromkeys(("accuracy", "low", "high", "lowest_seed", "highest_seed"), "0.0001")}
    rows.write([false, found[1]], rows.COLUMNS, place / "false.csv")
    with pytest.raises(SystemExit) as stopped:
        compare(words[0], "false.csv", *words[2:])
    said = capsys.readouterr().out
    assert stopped.value.code == 1 and said.count("DIFFERS") == 1 and said.count("holds") == 1
    larger = str(int(found[0]["parameters"]) + 1)
    rows.write([{**found[0], "parameters": larger}, found[1]], rows.COLUMNS, place / "false.csv")
    with pytest.raises(SystemExit) as stopped:
        compare(words[0], "false.csv", *words[2:])
    said = capsys.readouterr().out
    assert stopped.value.code == 1 and f" parameters, published {larger}: DIFFERS" in said


def check_page(text, found):
    """The page is closed, loads nothing, and has each row."""
    parsed = Page()
    parsed.feed(text.replace("<!DOCTYPE html>", ""))
    assert parsed.open == [] and len(set(parsed.ids)) == len(parsed.ids)
    assert not [value for name, value in parsed.attributes if name == "src" or str(value).startswith("http")]
    assert {row["recurrence"] for row in found} <= set(parsed.ids) and parsed.cells == 7
    for row in found:
        assert f"95% interval {row['low']} to {row['high']}" in text
    start = text.index('<svg class="frontier"')
    ElementTree.fromstring(text[start : text.index("</svg>", start) + 6])
    names = json.loads(text.split("const NAMES = ")[1].split(", DIFFERENT")[0])
    assert names == ["Mine,diagonal=false"]


def test_a_diverged_training_is_a_row_and_its_speed_is_not_measured(place, monkeypatch):
    """Also if another seed has finished; and a backward that fails in training would fail in the measurement."""
    monkeypatch.setattr("compare.speed_ratios", lambda *_: pytest.fail("measured"))
    protocol = read_protocol(place / "tiny.yaml")

    def failing(waiting, grid, folder, commit):
        for trial in waiting:
            reason = "fit ended with a loss that is not finite: error: the loss"
            files.write({"status": "failed", "reason": reason, "commit": commit},
                        files.trial_folder(folder, trial.hash) / "trial.json")  # fmt: skip

    comparison = Comparison(protocol, place / "out", failing, any_commit=False, again=False)
    comparison.run(find_layers(["mine.Mine"], None))
    found = read(place / "out/tiny.csv")
    assert [row["status"] for row in found] == ["diverged"] * 2 and "not finite" in found[0]["reason"]
    assert "diverged" in page.html(found, [], protocol)
    layer = Layer("Mine", "mine.Mine")
    points = find_points(layer, protocol, comparison.folder(layer))
    (trained,) = trials_of(layer, points, protocol)
    last = files.trial_folder(place / "out", trained[-1].hash)
    (last / "trial.json").unlink()
    files.write({}, last / "result.json")
    again, _ = rows.rows_of_point(layer, points[0], protocol, comparison.suites, trained, place / "out", {})
    assert {row["status"] for row in again} == {"diverged"}


def test_a_training_that_crashed_runs_again_and_until_then_the_row_says_what_is_left_out(place, capsys):
    protocol, started = read_protocol(write(place, {"learning_rates": [0.01, 0.02], "seeds": [0]})), []

    def crashing(waiting, grid, folder, commit):
        started.append([trial.configuration["model"]["learning_rate"] for trial in waiting])
        run_here([trial for trial in waiting if len(started) > 1 or trial is waiting[0]], grid, folder, commit)
        for trial in waiting[1:] if len(started) == 1 else []:
            reason = "fit crashed 2 times, the last with status 4: error: out of memory"
            files.write({"status": "failed", "reason": reason, "commit": commit},
                        files.trial_folder(folder, trial.hash) / "trial.json")  # fmt: skip

    layers = find_layers(["mine.Mine"], None)
    for _ in range(2):
        assert Comparison(protocol, place / "out", crashing, any_commit=False, again=False).run(layers)
        if len(started) == 1:
            left_out = "the learning rate 0.02 is left out until the same command runs it again: fit crashed 2 times"
            assert all(left_out in row["reason"] and row["accuracy"] for row in read(place / "out/tiny.csv"))
            assert f"Mine ok: {left_out}" in capsys.readouterr().out
    assert started == [[0.01, 0.02], [0.02]]
    assert {row["reason"] for row in read(place / "out/tiny.csv")} == {""}


def test_what_diverged_runs_again_if_asked_but_not_at_another_commit(place):
    protocol = read_protocol(write(place, {"seeds": [0]}))
    layer, started = Layer("Mine", "mine.Mine"), []
    ((trial,),) = trials_of(layer, find_points(layer, protocol, place / "points"), protocol)
    notes = {"status": "failed", "reason": "fit ended with a loss that is not finite: error", "commit": "another"}
    files.write(notes, files.trial_folder(place / "out", trial.hash) / "trial.json")

    def run(again, any_commit=False):
        Comparison(protocol, place / "out", lambda *parts: started.append(parts[0]), any_commit, again).run([layer])

    run(again=False)
    with pytest.raises(UserError, match="was begun at commit another"):
        run(again=True)
    assert started == []
    run(again=True, any_commit=True)
    assert len(started) == 1


def test_a_folder_with_rows_of_another_protocol_is_refused_before_any_training(place):
    def run(path, runner):
        return Comparison(read_protocol(path), place / "out", runner, False, False).run([Layer("No", "mine.No")])

    run(place / "tiny.yaml", None)
    other = write(place, {"version": 2})
    with pytest.raises(UserError, match=r"out must have rows of tiny-2-.* alone, got tiny-1-.*set another folder"):
        run(other, lambda *_: pytest.fail("trained"))


@pytest.mark.parametrize(("accelerator", "used"), [("cpu", "cpu"), ("auto", "auto")])
def test_speed_is_measured_where_the_protocol_trains(place, monkeypatch, accelerator, used):
    fixed, asked = {**TINY["fixed"], "trainer.accelerator": accelerator}, []
    protocol = read_protocol(write(place, {"fixed": fixed, "seeds": [0]}))
    monkeypatch.setattr("compare.speed_ratios", lambda *parts: asked.append(parts[-1]) or {})
    Comparison(protocol, place / "out", lambda *_: None, False, False).run([Layer("Mine", "mine.Mine")])
    assert asked == [used]


def test_two_classes_of_one_name_are_refused_and_rows_are_kept(place, capsys):
    for name in ("one", "two"):
        (place / f"{name}.py").write_text(OWN)
    assert "one.Mine and two.Mine would have the same name" in refused(capsys, "one.Mine", "two.Mine")
    files.write({"asked": {"layer": ["one.Mine", {}]}}, place / "out/layers/Mine/points.json")
    said = refused(capsys, "two.Mine", "--protocol", "tiny.yaml", "-o", "out")
    assert "Mine is one.Mine in" in said and "not two.Mine; rename the class, or set another folder" in said


def test_other_code_of_a_users_layer_is_trained_again(place):
    """Comments do not count; the layers of the package and of fla are those of a row's version."""
    protocol, hashes = read_protocol(place / "tiny.yaml"), []
    for number, code in enumerate((OWN, "# a comment\n" + OWN, OWN.replace("diagonal)", "not diagonal)"))):
        (place / f"own_{number}.py").write_text(code)
        layer = Layer("Mine", f"own_{number}.Mine")
        points = find_points(layer, protocol, place / f"points_{number}")
        hashes.append(trials_of(layer, points, protocol)[0][0].hash.partition("-")[2])
    assert hashes[0] == hashes[1] != hashes[2]
    known = [Layer("a", "lit_retrieval.mixers.Mamba"), Layer("b", "fla.layers.GatedDeltaNet")]
    assert {layer.code() for layer in known} == {""}


def test_rows_are_verified_by_trainings_of_this_commit(place, capsys):
    compare("mine.Mine", "--protocol", "tiny.yaml", "-o", "out")
    words = ["verify", "out/tiny.csv", "--protocol", "tiny.yaml", "-o", "again"]
    assert status_of(*words) == 0
    for path in place.glob("again/trials/*/trial.json"):
        files.write({**files.read(path), "commit": "another"}, path)
    assert "was begun at commit another" in refused(capsys, *words)
    assert status_of(*words, "--any_commit") == 0
    for output, again in (("again", words), ("out", ["mine.Mine", "--protocol", "tiny.yaml", "-o", "out"])):
        for path in place.glob(f"{output}/trials/*/result.json"):
            files.write({**files.read(path), "tested": {}}, path)
        assert "the tests are others now than when" in refused(capsys, *again, "--any_commit")


def test_a_training_that_its_time_limit_has_stopped_is_too_slow(place):
    """What counts is what its last checkpoint says: a solved one may have taken as long."""
    compare("mine.Mine", "--protocol", "tiny.yaml", "-o", "out")
    for path in place.glob("out/trials/*/result.json"):
        files.write({**files.read(path), "minutes": 99.0}, path)
    compare("mine.Mine", "--protocol", "tiny.yaml", "-o", "out")
    assert {row["status"] for row in read(place / "out/tiny.csv")} == {"ok"}
    for path in place.glob("out/trials/*/run/checkpoints/step_*.ckpt"):
        content = torch.load(path, weights_only=False)
        save_checkpoint({**content, "is_finished": False}, path)
    compare("mine.Mine", "--protocol", "tiny.yaml", "-o", "out")
    assert {row["status"] for row in read(place / "out/tiny.csv")} == {"too slow"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere must be a class such as my_package.MyRecurrence, all, or one of attention"),
        (["lstm", "gru", "--init_args", "{}"], "--init_args must follow a single class"),
        (["lstm", "--init_args", "{state_dim: 4}"], "lstm has its init_args in"),
        (["mine.Mine", "--init_args", "[1]"], "--init_args must be keys with values"),
        (["mine.Mine", "--init_args", "{num_heads"], "--init_args must be keys with values"),
        (["lstm", "--protocol", "nothing"], "there is no protocol nothing"),
        (["lstm", "--protocol", "parity.yaml"], "a protocol must have the keys"),
        (["lstm", "--protocol", "text.yaml"], "learning_rates must be numbers such as 1.0e-3, got the text 1e-3"),
        (["lstm", "--protocol", "seed.yaml"], "each of seeds must be a whole number, got one"),
        (["lstm", "--protocol", "other.yaml"], "recurrences.yaml, got nobody; set it in the protocol"),
        (["lstm", "--protocol", "file.yaml"], "suites.parity.data must be the file of a frozen test set, got None"),
        (["lstm", "--slots", "0"], "slots must be 1 or more"),
        (["lstm", "--protocol", "rate.yaml"], "learning_rates must be a list, got 0.01; set it in rate.yaml"),
        (["lstm", "--protocol", "seeds.yaml"], "seeds must be a list, got 3; set it in seeds.yaml"),
        (["lstm", "--protocol", "minutes.yaml"], "minutes must be a number, got ten; set it in minutes.yaml"),
        (["verify", "tiny.yaml"], "has no column protocol"),
        (["verify", "tiny.csv", "--slots", "0"], "slots must be 1 or more, got 0"),
        (["page", "nowhere.csv", "-o", "x.html"], "nowhere.csv: No such file"),
    ],
)
def test_a_mistake_is_one_line(place, capsys, words, said):
    wrong = {
        "text": {"learning_rates": ["1e-3", 0.01]}, "seed": {"seeds": [0, "one"]}, "other": {"reference": "nobody"},
        "file": {"suites": {"parity": "parity.yaml"}}, "rate": {"learning_rates": 0.01}, "seeds": {"seeds": 3},
        "minutes": {"minutes": "ten"},
    }  # fmt: skip
    for name, changes in wrong.items():
        (place / f"{name}.yaml").write_text(yaml.safe_dump({**TINY, **changes}))
    assert said in refused(capsys, *words)


def test_a_class_that_is_not_there_is_a_refused_row_and_said(place, capsys):
    assert status_of("mine.Yours", "--protocol", "tiny.yaml", "-o", "out") == 1
    assert capsys.readouterr().out.count("\nYours refused: mine.Yours can't be imported: module 'mine' has no") == 1
    assert {row["reason"].partition(":")[0] for row in read(place / "out/tiny.csv")} == {"mine.Yours can't be imported"}


def test_a_class_that_raises_a_warning_refuses_its_arguments():
    layer = Layer("mom", "fla.layers.MomAttention", {"use_short_conv": False})
    with pytest.raises(UserError, match="MomAttention refuses its arguments: UserWarning: ShortConvolution is crucial"):
        find_setting(layer, read_protocol(find_protocol("laptop")).shape, 10_000)


def test_verify_chooses_rows_by_their_words():
    found = [
        {"recurrence": name, "suite": suite, "state_budget": "9", "accuracy": "1"}
        for name, suite in product(("a", "b"), ("s", "t"))
    ]
    assert verify.choose(found, ["a", "t"]) == [found[1]] and verify.choose(found, ["a", "b", "s"]) == found[::2]
    with pytest.raises(UserError, match="got c"):
        verify.choose(found, ["c"])


@pytest.mark.slow
def test_a_comparison_that_is_killed_goes_on_without_what_is_done(tmp_path):
    """In processes of its own, forked from a warm one, which end with it."""
    (tmp_path / "mine.py").write_text(OWN)
    write(tmp_path, {"learning_rates": [0.01, 0.02]})
    command = [sys.executable, str(ROOT / "tools/compare.py"), "mine.Mine", "--protocol", "tiny.yaml", "-o", "out",
               "--slots", "2", "--any_commit"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    deadline = time.monotonic() + 1800
    while not (done := sorted(tmp_path.glob("out/trials/*/result.json"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = {path: path.stat().st_mtime_ns for path in done}
    assert 0 < len(done) < 4
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=1800)
    results = sorted(tmp_path.glob("out/trials/*/result.json"))
    assert len(results) == 4 and before.items() <= {path: path.stat().st_mtime_ns for path in results}.items()
    assert {row["status"] for row in read(tmp_path / "out/tiny.csv")} == {"ok"}
