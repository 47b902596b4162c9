"""Arrays of inputs and labels that another package has drawn."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from reading import text_of

import lit_retrieval
from lit_retrieval.cli import main
from lit_retrieval.data import collate
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Imported, load_samples
from lit_retrieval.tasks.__main__ import main as tasks_main
from lit_retrieval.tasks.imported import NO_LABEL, read_arrays

INPUTS = np.array([[3, 1, 3, 0], [2, 2, 0, 1], [1, 0, 3, 2]])
LABELS = np.array([[NO_LABEL, NO_LABEL, 1, 3], [0, NO_LABEL, NO_LABEL, NO_LABEL], [2, 2, 2, 2]])
WRITTEN = ["w3 w1 w3 {w1} w0 {w3} .", "w2 {w0} w2 w0 w1", "w1 {w2} w0 {w2} w3 {w2} w2 {w2} ."]


@pytest.fixture
def arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**changed):
        np.savez("theirs.npz", **{"inputs": INPUTS, "labels": LABELS, **changed})
        return Path("theirs.npz")

    return write


def test_the_model_is_asked_where_a_label_is_and_reads_the_inputs_alone():
    task = Imported(vocab_size=4)
    transcripts = task.transcripts(INPUTS, LABELS)
    assert [text_of(transcripts, task, row) for row in range(3)] == WRITTEN
    batch = collate(transcripts)
    asked = np.argwhere(LABELS != NO_LABEL)
    assert batch.rows.tolist() == asked[:, 0].tolist()
    assert (batch.positions % (batch.tokens.shape[1] - 1)).tolist() == asked[:, 1].tolist()
    assert task.vocabulary.decode(batch.targets.tolist()) == [f"w{label}" for label in LABELS[LABELS != NO_LABEL]]


@pytest.mark.parametrize("masked", [False, True])
def test_a_file_of_theirs_becomes_a_file_of_ours(arrays, capsys, masked):
    mask = LABELS != NO_LABEL
    file = arrays(**({"labels": np.where(mask, LABELS, 0), "mask": mask} if masked else {}))
    tasks_main(["import", str(file), "ours.npz"])
    assert "3 samples of Imported, vocab_size 4" in capsys.readouterr().out
    samples = load_samples(Path("ours.npz"))
    assert [text_of(samples.take(np.arange(3)), Imported(4), row) for row in range(3)] == WRITTEN
    assert samples.manifest["task"]["init_args"] == {"vocab_size": 4}


def imported(tmp_path, **arrays):
    """The transcripts of a file of another package, as text, by the command."""
    np.savez(tmp_path / "theirs.npz", **arrays)
    tasks_main(["import", str(tmp_path / "theirs.npz"), str(tmp_path / "ours.npz"), "--overwrite", "true"])
    samples = load_samples(tmp_path / "ours.npz")
    task = Imported(**samples.manifest["task"]["init_args"])
    return [text_of(samples.take(np.arange(len(samples))), task, row) for row in range(len(samples))]


def test_zoologys_tensors_come_in(tmp_path):
    """The example of its multiquery_ar: a label at each query, -100 elsewhere, torch.int64."""
    inputs = torch.tensor([[2, 8, 4, 7, 0, 0, 4, 0, 0, 0, 0, 0, 2, 0, 0]])
    labels = torch.full_like(inputs, -100)
    labels[0, 6], labels[0, 12] = 7, 8
    said = "w2 w8 w4 w7 w0 w0 w4 {w7} w0 w0 w0 w0 w0 w2 {w8} w0 w0"
    assert imported(tmp_path, inputs=inputs, labels=labels) == [said]


def test_mads_instances_come_in(tmp_path):
    """Lists of arrays; targets of a test are ignored but at the end, those of training are the next inputs."""
    inputs, targets = zip(*[(np.array([0, 9, 15, 0]), np.array([-100, -100, -100, 9]))] * 2, strict=True)
    assert imported(tmp_path, inputs=inputs, targets=targets) == ["w0 w9 w15 w0 {w9} ."] * 2
    assert imported(tmp_path, inputs=inputs, targets=[[9, 15, 0, 9]] * 2) == ["w0 {w9} w9 {w15} w15 {w0} w0 {w9} ."] * 2


def test_labels_that_are_their_own_inputs_are_refused(arrays):
    """MAD's compression is written so."""
    inputs = np.array([[0, 9, 15]] * 2)
    with pytest.raises(UserError, match=r"each label is the input it stands beside, .*\.MADCompression"):
        Imported(16).transcripts(inputs, inputs)
    Imported(16).transcripts(inputs, np.array([[0, 9, 15], [0, 9, 14]]))


def test_the_chomsky_hierarchys_batches_come_in(tmp_path):
    """One-hot float arrays; one class for a string, or a string with a mask behind its end."""
    strings = np.eye(2, dtype=np.float32)[[[0, 1, 1], [1, 1, 1]]]
    assert imported(tmp_path, input=strings, output=np.eye(2, dtype=np.float32)[[0, 1]]) == [
        "w0 w1 w1 w2 {w0} .", "w1 w1 w1 w2 {w1} .",
    ]  # fmt: skip
    outputs, mask = np.eye(3, dtype=np.float32)[[[1, 2, 0], [0, 1, 2]]], [[1, 1, 0], [1, 1, 1]]
    assert imported(tmp_path, input=strings, output=outputs, mask=mask) == [
        "w0 w1 w1 w3 {w1} w3 {w2} w3", "w1 w1 w1 w3 {w0} w3 {w1} w3 {w2} .",
    ]  # fmt: skip
    assert imported(tmp_path, input=strings.argmax(-1), output=np.array([0, 1]))[1] == "w1 w1 w1 w2 {w1} ."


def test_outputs_are_asked_for_at_one_id_in_all_files(tmp_path):
    for name, most in (("train", 5), ("val", 4)):
        np.savez(tmp_path / f"{name}.npz", input=[[0, most]], output=[1])
        assert read_arrays(tmp_path / f"{name}.npz", 7)[0].tolist() == [[0, most, 6]]
    with pytest.raises(UserError, match="ids must be below 5, at which outputs are asked for, got 5; set --vocab_size"):
        read_arrays(tmp_path / "train.npz", 6)
    np.savez(tmp_path / "empty.npz", input=[[0, 1]], output=np.zeros((1, 0), int))
    with pytest.raises(UserError, match="must be integers of one shape"):
        read_arrays(tmp_path / "empty.npz")


def test_a_model_trains_on_them_and_is_scored(arrays, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 4, (64, 6))
    labels = np.where(np.arange(6) == 5, inputs[:, :1], NO_LABEL)  # the first input, at the last
    for name, part in (("ours", slice(0, 48)), ("val", slice(48, 64))):
        tasks_main(["import", str(arrays(inputs=inputs[part], labels=labels[part])), f"{name}.npz"])
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    files = ["--data.train_file", "ours.npz", "--data.val_file", "val.npz", "--data.test_file", "val.npz"]
    task = ["--data.task", "lit_retrieval.tasks.Imported", "--data.task.vocab_size", "4", "--data.regime", "vanilla"]
    few = ["--model.learning_rate", "1e-2", "--model.warmup_samples", "0", "--trainer.max_steps", "60"]
    others = ["--trainer.accelerator", "cpu", "--run_dir", "run", "--model.hidden_size", "32"]
    arguments = ["--config", "quickstart", *task, *files, *few, *others]
    main(["fit", *arguments])
    capsys.readouterr()
    main(["test", *arguments, "--ckpt_path", "last"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("all ")]
    assert float(line.split()[1]) > 0.6, "a guess is 0.25"
    main(["predict", *arguments, "--data.predict_samples", "3", "--ckpt_path", "last"])
    assert len(re.findall(r"^<?w\d .*", capsys.readouterr().out, re.MULTILINE)) == 3, (
        "from the file, since it draws none"
    )
    assert len(lit_retrieval.load("run", "last").sample(2)) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"inputs": INPUTS.astype(float)}, "must be integers of one shape"),
        ({"labels": LABELS[:, 1:]}, "must be integers of one shape"),
        ({"inputs": INPUTS[0], "labels": LABELS[0]}, "must be integers of one shape"),
        ({"mask": np.ones(3)}, "must be integers of one shape"),
        ({"labels": np.full_like(LABELS, NO_LABEL)}, "each sample must have a label, got none in sample 0"),
        ({"labels": 2 * np.eye(4)[INPUTS]}, "must be integers of one shape"),
        ({"targets": LABELS}, "must have labels or targets, and not both"),
        ({"labels": np.where(LABELS == 3, -1, LABELS)}, "labels must be ids from 0 to 3, got -1 to 2"),
    ],
)
def test_other_arrays_are_refused(arrays, capsys, changed, said):
    with pytest.raises(SystemExit) as stopped:
        tasks_main(["import", str(arrays(**changed)), "ours.npz"])
    assert stopped.value.code == 2 and said in capsys.readouterr().err
    assert not Path("ours.npz").exists()


def test_a_file_that_has_no_arrays_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "others.npz", x=INPUTS, y=LABELS)
    np.savez(tmp_path / "outputs.npz", output=LABELS[:, 0])
    for name, said in (
        ("text", "can't be read as .npz"),
        ("others", "inputs and labels missing"),
        ("outputs", "inputs missing"),
        ("none", "there is no file"),
    ):
        with pytest.raises(UserError, match=said):
            read_arrays(tmp_path / f"{name}.npz")


def test_it_draws_none_of_its_own():
    with pytest.raises(UserError, match=r"name files of them in data\.train_file"):
        Imported(4).sample(0, np.arange(1), np.full(1, 4), "vanilla")


def test_a_mask_of_numbers_with_one_place_a_row_is_no_one_hot_array(tmp_path):
    labels = np.where(np.arange(4) == 3, INPUTS[:, :4], 0)
    mask = np.tile(np.arange(4) == 3, (3, 1))
    given = {"inputs": INPUTS[:, :4], "labels": labels}
    texts = [imported(tmp_path, **given, mask=mask.astype(kind)) for kind in (bool, np.float32)]
    assert texts[0] == texts[1]
