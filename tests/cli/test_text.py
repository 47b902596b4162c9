"""Tasks in text on the command line, with a tiny pretrained model of random weights."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from pretrained_models import write_folder
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from text_tokenizers import byte_level, save, sentences

import lit_retrieval
from lit_retrieval import runs
from lit_retrieval.cli import main, read_configuration
from lit_retrieval.cli.start import check_code
from lit_retrieval.errors import UserError
from lit_retrieval.tasks.__main__ import main as tasks

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
FRIENDS = "lit_retrieval.tasks.text.Friends"
TASK = json.dumps({"class_path": FRIENDS, "init_args": {"tokenizer": "model"}})
MODEL = json.dumps({"class_path": "lit_retrieval.pretrained.Folder", "init_args": {"folder": "model"}})
TINY = [
    "--data.sizes", "[2]", "--data.eval_sizes", "[2, 3]", "--data.batch_size", "2", "--data.val_samples", "4",
    "--data.test_samples", "4", "--data.predict_samples", "1", "--data.max_new_tokens", "6", "--run_dir", "run",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a model and its tokenizer, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    return save(byte_level(sentences(samples=8), 300), tmp_path / "model")


@pytest.fixture
def run(capsys):
    """Runs a command, and returns what it has printed."""

    def run(*arguments, command=main):
        capsys.readouterr()
        command(list(arguments))
        return capsys.readouterr().out

    return run


@pytest.fixture
def refuse(run, capsys):
    """Runs a command that must end with a mistake, and returns its line."""

    def refuse(*arguments, command=main):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments, command=command)
        assert stopped.value.code == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        return line

    return refuse


def test_a_pretrained_model_trains_on_text_is_tested_printed_and_loaded(folder, run, refuse):
    write_folder(folder, "llama", vocab_size=300, max_position_embeddings=400, num_hidden_layers=1)
    options = ["--data.task", TASK, "--model.pretrained", MODEL, *TINY]
    run("fit", *options)
    said = run("test", *options, "--ckpt_path", "best")
    assert "size 3" in said and "f1" in said
    said = run("predict", *options, "--ckpt_path", "best")
    assert "'s best friend is " in said and "Question: In which city does " in said and "(undecided, not " in said
    events = EventAccumulator("run", size_guidance={"tensors": 0}).Reload()
    (shown,) = events.Tensors("val/transcripts/text_summary")[0].tensor_proto.string_val
    assert "'s best friend is " in shown.decode() and "(should be **" in shown.decode()
    loaded = lit_retrieval.load("run", "last")
    with pytest.raises(UserError, match=r"^a reply in text has one answer, got num_answers=2; leave it out$"):
        loaded.generate("Anna lives in Oslo.\nWhere?\n", num_answers=2)
    (written,) = loaded.generate("Anna lives in Oslo.\nWhere?\n")
    assert str(written).startswith("Anna lives in Oslo.\nWhere?\n") and written.answers == [None]
    (written,) = loaded.sample(1)
    assert written.expected[0] in str(written) and loaded.score(2) == 0
    sized = [*options, "--data.sizes", "[40]", "--run_dir", "other"]
    assert "must have at most 400 tokens, the places of the model" in refuse("fit", *sized)
    save(byte_level(sentences(samples=8), 299), folder)
    assert "run is the folder of another run: data.task.init_args.sha256 is" in refuse("fit", *options)


def test_the_model_of_one_folder_with_the_tokenizer_of_another_is_refused(folder, refuse):
    save(byte_level(sentences(samples=8), 299), write_folder(folder.parent / "other", "llama", vocab_size=300))
    said = refuse("fit", "--data.task", TASK, "--model.pretrained", MODEL.replace('"model"', '"other"'), *TINY)
    assert "the model must have the tokenizer of the task, got that of other and that of model" in said
    assert "set model.pretrained.init_args.folder and data.task.init_args.tokenizer to the same folder" in said


def test_our_own_models_train_on_text_too(run, refuse):
    stages = "[{mixers: [{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dim: 2}}]}]"
    options = ["--data.task", TASK, "--model.hidden_size", "4", "--model.stages", stages, *TINY]
    assert "size 3" in run("fit", *options)
    assert "model.readout needs a task in words, got Friends" in refuse(
        "fit", *options, "--model.readout", "bottleneck", "--run_dir", "other"
    )
    theorem = ["--model.construction", "lit_retrieval.constructions.Theorem56", "--model.construction.problem", "index"]
    options = ["--data.task", TASK, *theorem, *TINY]
    assert "model.construction needs a task in words, got Friends" in refuse("test", *options)


def test_samples_are_shown_checked_and_written(run, refuse):
    task = ["--task", FRIENDS, "--task.tokenizer", "model", "--sizes", "[2]", "--samples", "2"]
    said = run("show", *task, command=tasks)
    assert said.count("<EndSearch>[") == 4 and "]\nAnswer: " in said
    for name in ("samples.npz", "samples.jsonl"):
        run("write", *task, "--output", name, command=tasks)
        assert '"words": 1' in run("check", name, command=tasks)
    for form in ("words", "text", "lm_eval"):
        assert "in text" in refuse("write", *task, "--form", form, "--output", f"{form}.jsonl", command=tasks)
    task[3] = "other"
    said = refuse("show", *task, command=tasks)
    assert "there is no other/tokenizer.json; write the folder of a pretrained model, with its tokenizer.json" in said
    assert "in --task.tokenizer" in said


def test_the_files_that_a_task_reads_and_the_tokens_that_end_a_text_belong_to_the_run(folder):
    questions = Path("questions.json")
    shutil.copy(Path(__file__).parents[2] / "data/hotpotqa/own.json", questions)
    arguments = {"tokenizer": "model", "file": "questions.json"}
    task = json.dumps({"class_path": "lit_retrieval.tasks.text.HotpotQA", "init_args": arguments})
    before = read_configuration(["fit", "--data.task", task])
    for key, path, text in (
        ("file", questions, questions.read_text() + " "),
        ("tokenizer", folder / "generation_config.json", json.dumps({"eos_token_id": 5})),
    ):
        path.write_text(text)
        now = read_configuration(["fit", "--data.task", task])
        assert runs.run_hash(now) != runs.run_hash(before)
        with pytest.raises(UserError, match=f"the content of data.task.init_args.{key} is not that of code_sha256"):
            check_code(before["code_sha256"], now)
        before = now
    (folder / "config.json").write_text(json.dumps({"eos_token_id": [5], "model_type": "llama"}))
    assert read_configuration(["fit", "--data.task", task]) == before
