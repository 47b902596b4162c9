"""The study of HotpotQA from end to end: tests, the questions that all models know, and Figure 6."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hotpot.answers import Answer, join, read_answers
from hotpot.figure import draw as draw_figure
from hotpot.figure import markdown
from hotpotqa import main
from pretrained_models import write_folder
from reports.rows import read_paper
from sweeps.intervals import paired
from text_tokenizers import byte_level, save

from lit_retrieval.cli import main as run_command

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data/hotpotqa"
OWN, SHOTS = str(DATA / "own.json"), str(DATA / "shots.json")
SMOLLM2 = Path(os.environ.get("SMOLLM2", ROOT / "models/smollm2"))
PAPER = read_paper(figures=("6",))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a model's tokenizer in it."""
    monkeypatch.chdir(tmp_path)
    records = json.loads(Path(OWN).read_text())
    save(byte_level(sentence for one in records for _, text in one["context"] for sentence in text), Path("model"))
    return tmp_path


def run(command, *arguments):
    run_command([
        command, "--data.task.class_path", "lit_retrieval.tasks.text.HotpotQA", "--data.task.init_args.tokenizer",
        "model", "--data.task.init_args.file", OWN, "--data.sizes", "[2]", "--trainer.accelerator", "cpu",
        "--trainer.enable_progress_bar", "false", *arguments,
    ])  # fmt: skip


def ask(run_dir, knows, regime="vanilla", order="required", sizes="[2,4]", *arguments):
    """Test a model that knows so many questions at each number of paragraphs."""
    network = {"tokenizer": "model", "file": OWN, "knows": knows, "regime": regime, "order": order}
    network = {"class_path": "oracle_network.Oracle", "init_args": network}
    run("test", "--model.network", json.dumps(network), "--data.regime", regime, "--data.eval_sizes", sizes,
        "--data.task.init_args.order", order, "--run_dir", run_dir, *arguments)  # fmt: skip
    return [json.loads(line) for line in Path(run_dir, "answers.jsonl").read_text().splitlines()]


def tool(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["tools/hotpotqa.py", *arguments])
    main()


def test_the_commands_of_the_study_from_end_to_end(folder, monkeypatch, capsys):
    lines = ask("a", {2: 12}, "vanilla", "required", "[2]")
    assert [line["id"] for line in lines] == [f"own{number:02}" for number in range(20)]
    assert [line["em"] for line in lines] == [1] * 12 + [0] * 8
    right = {"order": "required", "n": 2, "em": 1, "f1": 1.0, "searches": 0}
    assert lines[0] == {"id": "own00", "answer": "Orva", "right": "Orva", **right}
    assert lines[19]["answer"] is None
    scores = json.loads(Path("a/scores.json").read_text())["scores"]
    assert scores["closed_loop_accuracy"] == scores["f1"] == pytest.approx(12 / 20)
    ask("b", {2: 5}, "retrieval", "required", "[2]")
    capsys.readouterr()
    tool(monkeypatch, "keep", "a", "b/answers.jsonl")
    kept = capsys.readouterr().out
    assert kept.split() == [f"own{number:02}" for number in range(5)]
    Path("kept.txt").write_text(kept)
    only = ("--data.task.init_args.only", "kept.txt")
    ask("a_required", {2: 5, 4: 3}, "vanilla", "required", "[2,4]", *only)
    ask("a_free", {4: 5}, "vanilla", "free", "[4]", *only)
    lines = ask("b_required", {2: 5, 4: 4}, "retrieval", "required", "[2,4]", *only)
    assert [line["searches"] for line in lines] == [2] * 9 + [0]
    capsys.readouterr()
    tool(monkeypatch, "draw", "plain=a_required", "plain=a_free", "with searches=b_required", "--dark")
    said = capsys.readouterr().out
    assert "| plain | required | 4 | 5 | 0.600 | " in said and "| plain | free | 2 | 5 | 1.000 | " in said
    assert "| with searches | required | 4 | 5 | 0.800 | " in said and "| +0.200 | " in said
    assert Path("figure6.png").stat().st_size > 10_000 and "figure6.png figure6.pdf figure6_dark.png: 2 curves" in said


def slow(value):
    """A longer case."""
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.mark.parametrize("regime", [slow("vanilla"), slow("cot"), "retrieval"])
def test_a_tiny_random_model_is_tested_in_each_regime(regime, folder):
    write_folder(Path("model"), "mamba", vocab_size=400, hidden_size=8, num_hidden_layers=1)
    task = {"tokenizer": "model", "file": OWN, "shots": SHOTS}
    options = [word for key, value in task.items() for word in (f"--data.task.init_args.{key}", value)]
    run_command([
        "test", "--config", str(ROOT / "configs/experiments/hotpotqa.yaml"), *options, "--data.regime", regime,
        "--model.pretrained.init_args.folder", "model", "--run_dir", "a", "--data.max_new_tokens", "9",
        "--data.eval_sizes", "[2,8]", "--data.test_samples", "6", "--trainer.accelerator", "cpu",
    ])  # fmt: skip
    answers = read_answers(Path("a"))
    assert [(one.id, one.n) for one in answers] == [(f"own0{number}", n) for number in range(3) for n in (2, 8)]


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="python tools/smollm2.py models/smollm2, or name a folder in SMOLLM2")
def test_smollm2_answers_a_third_of_our_questions_or_more(tmp_path):
    task = {"tokenizer": SMOLLM2, "file": OWN, "shots": SHOTS}
    options = [str(word) for key, value in task.items() for word in (f"--data.task.init_args.{key}", value)]
    run_command([
        "test", "--config", str(ROOT / "configs/experiments/hotpotqa.yaml"), *options, "--data.regime", "vanilla",
        "--model.pretrained.init_args.folder", str(SMOLLM2), "--run_dir", str(tmp_path), "--data.eval_sizes", "[2]",
        "--trainer.accelerator", "cpu", "--trainer.logger", "false",
    ])  # fmt: skip
    answers = read_answers(tmp_path)
    assert len(answers) == 20 and sum(one.em for one in answers) >= 7


@pytest.mark.slow
def test_two_ranks_write_the_answers_of_both(folder):
    write_folder(Path("model"), "mamba", vocab_size=400, hidden_size=8, num_hidden_layers=1)
    task = ["--data.task.class_path", "lit_retrieval.tasks.text.HotpotQA", "--data.task.init_args.tokenizer", "model",
            "--data.task.init_args.file", OWN, "--data.sizes", "[2,4]", "--data.eval_batch_size", "6"]  # fmt: skip
    model = ["--model.pretrained.class_path", "lit_retrieval.pretrained.Folder", "--model.pretrained.init_args.folder",
             "model", "--trainer.accelerator", "cpu", "--trainer.devices", "2"]  # fmt: skip
    command = [sys.executable, "-m", "lit_retrieval", "test", *task, *model, "--data.max_new_tokens", "9", "--run_dir"]
    subprocess.run([*command, "run"], check=True, timeout=300)
    assert [(one.id, one.n) for one in read_answers(Path("run"))] == [
        (f"own{at:02}", n) for at in range(20) for n in (2, 4)
    ]


@pytest.mark.slow
def test_answers_to_other_tasks_in_text_have_the_index_of_the_sample(folder):
    write_folder(Path("model"), "mamba", vocab_size=400, hidden_size=8, num_hidden_layers=1)
    model = ["--model.pretrained.class_path", "lit_retrieval.pretrained.Folder", "--model.pretrained.init_args.folder"]
    task = ["--data.task", "lit_retrieval.tasks.text.Friends", "--data.task.init_args.tokenizer", "model"]
    run_command(["test", *task, *model, "model", "--data.sizes", "[2,3]", "--data.test_samples", "6", "--run_dir", "a",
                 "--data.eval_batch_size", "4", "--trainer.accelerator", "cpu"])  # fmt: skip
    lines = [json.loads(line) for line in Path("a/answers.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == list(range(6)) and {"n", "answer", "em", "f1"} < lines[0].keys()


@pytest.mark.slow
def test_a_model_is_trained_on_other_questions_than_it_is_tested_on(folder):
    records = json.loads(Path(OWN).read_text())
    Path("train.json").write_text(json.dumps(records[:10]))
    Path("test.json").write_text(json.dumps(records[10:]))
    write_folder(Path("model"), "llama", vocab_size=400)
    model = ["--model.pretrained.class_path", "lit_retrieval.pretrained.Folder", "--model.pretrained.init_args.folder",
             "model", "--data.max_new_tokens", "9", "--data.task.init_args.file", "test.json",
             "--data.regime", "retrieval", "--data.task.init_args.train_file", "train.json"]  # fmt: skip
    run("fit", *model, "--run_dir", "run", "--data.batch_size", "2", "--trainer.max_steps", "2")
    run("test", *model, "--run_dir", "run", "--ckpt_path", "best")
    checkpoint = ["--ckpt_path", "run/checkpoints/best.ckpt", "--run_dir", "free"]
    run("test", *model, *checkpoint, "--data.task.init_args.order", "free")
    for run_dir, order in (("run", "required"), ("free", "free")):
        found = {(one.id, one.order) for one in read_answers(Path(run_dir))}
        assert found == {(f"own{number}", order) for number in range(10, 20)}


def answers(right, n=4, order="required", count=10):
    return [Answer(f"q{at}", n, order, int(at in right), 0.5, 2) for at in range(count)]


def test_figure_6_has_our_curves_beside_the_24_points_of_the_paper():
    assert len(PAPER) == 24
    curves = {
        label: join([(Path(label), answers(range(10), 2) + answers(right) + answers(right, 4, "free"))], label)
        for label, right in (("ours", range(6)), ("with searches", range(1, 9)))
    }
    figure = draw_figure(curves, PAPER)
    for axes, order in zip(figure.axes, ("required", "free"), strict=True):
        lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
        paper = {name.removeprefix("paper: ").partition(",")[0]: line for name, line in lines.items()}
        for value in PAPER:
            if value.regime == f"retrieval_{order}":
                line = paper[value.architecture]
                assert (value.n, value.accuracy) in zip(line.get_xdata(), line.get_ydata(), strict=True)
        drawn = [container.lines[0].get_ydata().tolist() for container in axes.containers]
        assert drawn == [[1.0, 0.6], [1.0, 0.8]]
    table = markdown(curves).splitlines()
    assert table[3].startswith("| ours | required | 4 | 10 | 0.600 | 0.313 to 0.832 | 0.500 | 2.00 |  |  |")
    least, most = paired(3, 1, 10)
    assert table[7].endswith(f"| +0.200 | {least:+.3f} to {most:+.3f} |") and table[7].startswith("| with searches | r")


def test_a_paired_interval_is_narrower_where_the_models_are_right_on_the_same_questions():
    """By hand, with b = 3.5, c = 1.5 and N = 12: 1/6 +- 1.96 sqrt(5 - 1/3) / 12."""
    assert paired(3, 1, 10) == pytest.approx((1 / 6 - 0.352833, 1 / 6 + 0.352833), abs=1e-5)
    assert paired(2, 0, 10)[1] - paired(2, 0, 10)[0] < paired(5, 3, 10)[1] - paired(5, 3, 10)[0]
    assert paired(10, 0, 10)[1] <= 1 and paired(0, 10, 10)[0] >= -1


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (None, ["keep", "no"], "no can't be read: No such file or directory; write it with `python -m lit_retrieval"),
        ("{", ["keep", "file"], "file is not a file of JSON lines"),
        ("", ["keep", "file"], "file has no answers"),
        ('{"id": "a"}', ["keep", "file"], "line 1 of file must have id, n, order, em, f1, searches"),
        ([("a", 2, "last", 1)], ["keep", "file"], "order must be required or free in line 1 of file, got 'last'"),
        ([("a", 4, "free", 1)], ["keep", "file"], "file has no answers at n = 2; test it with --data.eval_sizes '[2]'"),
        ([("a", 2, "free", 0)], ["keep", "file"], "no question is right at n = 2 in all runs; leave out"),
        ([("a", 2, "free", 1)], ["draw", "file", "file", "-o", "a.png"], "file has question 'a' at n = 2"),
        ([("a", 2, "free", 1), ("b", 4, "free", 1)], ["draw", "file", "-o", "a.png"],
         "all tests must have the same questions, got 1 in file (free, n = 2) and 1 in file (free, n = 4), 0 of them"),
        ([("a", 2, "free", 1)], ["draw", "file", "-o", "a.doc"], "output must be a .png file, got a.doc; set --output"),
        ([("a", 2, "free", 1)], ["draw"], "the following arguments are required: draw.runs"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(content, arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        rest = {"f1": 1.0, "searches": 0}
        lines = content if isinstance(content, str) else "\n".join(
            json.dumps({"id": name, "n": n, "order": order, "em": em, **rest}) for name, n, order, em in content
        )  # fmt: skip
        Path("file").write_text(lines)
    with pytest.raises(SystemExit) as stopped:
        tool(monkeypatch, *arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith("error: ") and said in line
