"""What is written for TensorBoard, read back, and what a transcript is marked with."""

import html
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html

from lit_retrieval.cli import main
from lit_retrieval.data import collate
from lit_retrieval.decoding import UNDECIDED, Reply
from lit_retrieval.tasks import AssociativeRecall, Author, Counting, IsTree, Mixture
from lit_retrieval.training.inspection import Inspection
from lit_retrieval.training.marked_transcript import first_wrong, markdown
from lit_retrieval.training.pictures import color, panels, table
from lit_retrieval.training.scores import Measured, Scores, given_answers
from lit_retrieval.vocabulary import PAD

TASK = AssociativeRecall(num_keys=4, num_values=4)
MIXERS = (
    "[{mixers: [{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dim: 2}}, "
    "{class_path: lit_retrieval.mixers.Attention, init_args: {num_heads: 2}}, lit_retrieval.mixers.SwiGLU]}]"
)
TINY = [
    "--config", str(Path(__file__).parents[2] / "configs/experiments/two_tasks_lengths.yaml"),
    "--model.hidden_size", "16", "--model.stages", MIXERS, "--data.batch_size", "4", "--data.val_samples", "24",
    "--data.eval_batch_size", "10", "--data.test_samples", "20", "--trainer.accelerator", "cpu", "--trainer.max_steps",
    "4", "--trainer.val_check_interval", "2", "--trainer.log_every_n_steps", "1",
    "--trainer.enable_progress_bar", "false", "--run_dir", "run",
]  # fmt: skip


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])


@pytest.fixture
def transcript():
    """A right transcript of one sample that was searched for: the reply, its ids, and its answers."""
    transcripts = TASK.sample(0, np.arange(1), np.full(1, 4), "retrieval")
    author = [Author(by) for by in transcripts.author[0]]
    tokens, answers = transcripts.tokens[0].tolist(), transcripts.answers[0].tolist()
    return Reply(tokens, author, answers, 1), tokens, answers


def test_a_right_transcript_has_no_mark(transcript):
    reply, _, _ = transcript
    assert first_wrong(reply, reply) is None
    text = markdown(reply, reply, TASK)
    assert "⟦" not in text and "&lt;StartSearch&gt;" in text and "1 of 1 right" in text


@pytest.mark.parametrize("task", [IsTree(max_size=4), Counting(max_size=4, query_form="full")], ids=["edges", "regex"])
def test_tensorboard_shows_the_words_as_they_are(task):
    transcripts = task.sample(0, np.arange(1), np.full(1, 4), "retrieval")
    tokens, answers = transcripts.tokens[0].tolist(), transcripts.answers[0].tolist()
    reply = Reply(tokens, [Author(by) for by in transcripts.author[0]], answers, 1)
    shown = html.unescape(re.sub("<[^>]*>", "", markdown_to_safe_html(markdown(reply, reply, task))))
    words = re.sub(r"\[(FAILED|\d+)\]", r"\1", shown).split()  # what was retrieved is in brackets
    assert words[: len(tokens)] == task.vocabulary.decode(tokens)


def test_the_first_wrong_word_of_the_models_is_marked_with_the_right_one(transcript):
    reply, tokens, answers = transcript
    place = reply.author.index(Author.MODEL) + 1
    other = next(token for token in answers if token != tokens[place])
    wrong = [*tokens[:place], other, *tokens[place + 1 :]]
    changed = Reply(wrong, reply.author, [UNDECIDED], 1)
    assert first_wrong(changed, reply) == (place, other, tokens[place])
    given, true = TASK.vocabulary.words[other], TASK.vocabulary.words[tokens[place]]
    assert f"**⟦{given}⟧** (should be **{true}**)" in markdown(changed, reply, TASK)


def test_a_wrong_answer_beside_the_words_is_marked_with_the_right_one():
    reply = Reply([10, 11, 12, 13], [Author.PROMPT, Author.PROMPT, Author.ASKED, Author.ASKED], [14, 15], 0)
    right = reply._replace(answers=[14, 16])
    assert first_wrong(reply, right) == (3, 15, 16)
    words = TASK.vocabulary.words
    text = markdown(reply, right, TASK)
    assert text.startswith(f"{words[10]} {words[11]} \\{{{words[14]}\\}} {words[12]} ")
    assert f"**⟦{words[15]}⟧** (should be **{words[16]}**) {words[13]}" in text


def test_a_word_after_the_end_should_have_been_nothing(transcript):
    reply, tokens, _ = transcript
    longer = Reply([*reply.tokens, tokens[1]], [*reply.author, Author.MODEL], reply.answers, 1)
    assert first_wrong(longer, reply) == (len(tokens), tokens[1], PAD)
    assert "(should be **nothing**)" in markdown(longer, reply, TASK)


def test_pictures_have_the_colour_of_their_values():
    assert color(np.array([[0.0, 1.0, np.nan]])).tolist() == [[[68, 1, 84], [253, 231, 37], [225, 225, 225]]]
    picture = table(np.array([[0.0, np.nan], [1.0, 0.5]]), ["size 8", "size 16"], ["all", "1 to 1"], "title")
    assert picture.dtype == np.uint8 and {(68, 1, 84), (253, 231, 37), (225, 225, 225)} <= colors(picture)
    assert {(68, 1, 84), (253, 231, 37)} <= colors(panels([("one", np.zeros((9, 9))), ("two", np.ones((9, 9)))], 1))


def test_a_run_shows_texts_pictures_and_hyperparameters():
    main(["fit", *TINY, "--inspection.log_images_every", "1"])
    events = EventAccumulator("run", size_guidance={"images": 0, "tensors": 0, "scalars": 0}).Reload()
    tags = events.Tags()
    assert {"val/accuracy", "val/attention", "val/decay"} == set(tags["images"])
    assert [one.step for one in events.Images("val/decay")] == [2, 4]
    (first, _) = events.Tensors("val/transcripts/text_summary")
    assert "should be" in first.tensor_proto.string_val[0].decode()
    assert "train/gradient_norm" in tags["scalars"]
    plugins = events.summary_metadata
    shown = {name for name, one in plugins.items() if one.plugin_data.plugin_name == "hparams"}
    assert shown == {"_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"}
    assert b"model.learning_rate" in plugins["_hparams_/session_start_info"].plugin_data.content


def test_the_last_model_is_drawn_and_no_curve_says_nothing():
    main(["fit", *TINY, "--trainer.max_steps", "5", "--inspection.log_images_every", "4"])
    main(["test", *TINY, "--trainer.max_steps", "5", "--ckpt_path", "last"])
    events = EventAccumulator("run", size_guidance={"images": 0, "scalars": 0}).Reload()
    assert [one.step for one in events.Images("val/attention")] == [2, 5]
    assert {tag.split("/")[0] for tag in events.Tags()["scalars"]} == {"train", "val"}
    tested = EventAccumulator("run/test").Reload()
    assert tested.Tags()["scalars"] == []
    (scores,) = tested.Tensors("test/scores/text_summary")
    assert scores.step == 5 and b"| size 12 | " in scores.tensor_proto.string_val[0]
    csv = ["--trainer.logger", "{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: csv}}"]
    main(["test", *TINY, "--trainer.max_steps", "5", "--ckpt_path", "last", *csv])
    header, row = next(Path("csv").rglob("metrics.csv")).read_text().splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["step"] == "5"


INSPECTED = """
import torch
from torch import nn

class Broken(nn.Module):
    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x, state=None):
        return x * self.scale, None

    def state_size(self, length: int) -> int:
        return 0

    def inspect(self, x):
        return {"attention": x[0, 0]}
"""


def test_a_picture_that_fails_is_one_warning(monkeypatch):
    Path("own.py").write_text(INSPECTED)
    monkeypatch.syspath_prepend(".")
    attention = "{class_path: lit_retrieval.mixers.Attention, init_args: {num_heads: 2}}"
    mixers = f"[{{mixers: [{{class_path: own.Broken}}, {attention}]}}]"
    with pytest.warns(UserWarning, match="is not drawn") as warned:
        main(["fit", *TINY, "--model.stages", mixers, "--inspection.log_images_every", "1"])
    (line,) = [str(one.message) for one in warned if "is not drawn" in str(one.message)]
    assert "Broken.inspect raised ValueError: inspect must return tensors of the shape (maps, rows, columns)" in line
    events = EventAccumulator("run", size_guidance={"images": 0}).Reload()
    assert [one.step for one in events.Images("val/attention")] == [2, 4]


def test_the_table_agrees_with_the_scores(monkeypatch):
    drawn = []
    monkeypatch.setattr("lit_retrieval.training.pictures.table", lambda *parts: (drawn.append(parts), table(*parts))[1])
    main(["fit", *TINY])
    (values, sizes, columns, _), *_ = drawn
    assert sizes == ["size 8", "size 12", "size 16"] and columns[:3] == ["all", "1 to 1", "2 to 3"]
    events = EventAccumulator("run").Reload()
    for line, size in enumerate((8, 12, 16)):
        logged = events.Scalars(f"val/size_{size}/closed_loop_accuracy")[0].value
        assert values[line, 0] == pytest.approx(logged, abs=1e-6)


def test_the_table_weighs_samples_with_several_answers_as_the_scores_do():
    task = Mixture([AssociativeRecall(8, 8), AssociativeRecall(8, 8, num_queries=3)])
    batch = collate(task.sample(0, np.arange(64), np.full(64, 12), "vanilla"))
    answers = batch.answers.numpy().copy()
    answers[:, 1:] = UNDECIDED  # only the first answer of each sample is given
    replies = SimpleNamespace(answers=answers)
    inspection, scores = Inspection(), Scores(["accuracy"], [8, 12], longest_distance=63)
    inspection._right, inspection._counts = torch.zeros(2, 7), torch.zeros(2, 7)
    inspection._count(replies, batch, [8, 12])
    right = (given_answers(replies, batch) == batch.answers).float()
    scores.update({"accuracy": Measured(right, torch.ones(64, 1))}, batch)
    found = {str(name): float(value) for name, value in scores.compute().items()}
    table = (inspection._right / inspection._counts)[1].tolist()
    assert table[0] == pytest.approx(found["size_12/accuracy"]) != pytest.approx(float(right.mean()))
    assert table[1:] == pytest.approx([found.get(f"distance_{2**power}/accuracy", math.nan) for power in range(6)],
                                      nan_ok=True)  # fmt: skip


def test_nothing_is_written_if_nothing_is_asked_for():
    main(["fit", *TINY, "--inspection.log_images_every", "0", "--inspection.log_text_every", "0"])
    tags = EventAccumulator("run").Reload().Tags()
    assert tags["images"] == [] and "val/transcripts/text_summary" not in tags["tensors"]


def test_what_is_shown_makes_no_other_run(capsys):
    main(["fit", *TINY])
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *TINY, "--inspection.log_images_every", "7"])
    assert not stopped.value.code and "run is finished after 4 steps" in capsys.readouterr().out


def test_a_test_leaves_its_scores_for_programs():
    main(["fit", *TINY])
    main(["test", *TINY, "--ckpt_path", "best"])
    content = json.loads(Path("run/scores.json").read_text())
    assert sum(content["samples"].values()) == 20 and content["checkpoint"] == "best.ckpt"
    assert {"closed_loop_accuracy", "size_8/undecided", "distance_2/loss"} <= set(content["scores"])
    assert content["parameters"] > 0 and content["state_bits"] % 32 == 0
    assert content["state_bits"] == max(content["state_bits_of_sizes"].values())
    assert content["state_bits_of_sizes"].keys() == content["samples"].keys()


def test_training_ends_on_a_plateau():
    plateau = "[{class_path: lit_retrieval.training.PlateauStopping, init_args: {patience: 1, min_delta: 2.0}}]"
    main(["fit", *TINY, "--trainer.max_steps", "40", "--trainer.callbacks", plateau])
    events = EventAccumulator("run").Reload()
    assert [one.step for one in events.Scalars("val/loss")] == [1, 3]


def colors(picture):
    return {tuple(one) for one in picture.reshape(-1, 3).tolist()}
