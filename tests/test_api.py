"""A run from Python: `lit_retrieval.load`."""

import json
import re
import shlex
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import one_hot

import lit_retrieval
from lit_retrieval.cli import main
from lit_retrieval.decoding import UNDECIDED, Replies, rows_at_once
from lit_retrieval.errors import DamagedCheckpointError, UserError
from lit_retrieval.models import SequenceModel
from lit_retrieval.runs import save_checkpoint
from lit_retrieval.tasks import IsTree, SampleStream, save_samples

TINY = [  # enough to learn to search, and not to be always right
    "--config", "quickstart", "--model.hidden_size", "32", "--data.task.max_size", "4", "--data.sizes", "[4]",
    "--data.val_samples", "8", "--data.test_samples", "40", "--data.eval_batch_size", "16", "--data.batch_size", "16",
    "--model.warmup_samples", "160", "--model.learning_rate", "1e-2", "--trainer.max_steps", "150",
    "--trainer.val_check_interval", "150", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a trained and tested run."""
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        patched.setattr("sys.argv", ["lit_retrieval"])
        main(["fit", *TINY])
        main(["test", *TINY, "--ckpt_path", "best"])
    (run,) = place.glob("runs/quickstart-????????")
    return run


@pytest.fixture(scope="module")
def run(folder):
    return lit_retrieval.load(folder)


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "run"))


def test_a_run_has_its_model_its_task_and_its_settings(run):
    assert isinstance(run.task, IsTree) and run.task.max_size == 4
    assert run.data.regime == "retrieval" and run.data.max_new_tokens > 0
    assert not run.model.training
    logits, _ = run.model(torch.ones(2, 3, dtype=torch.long))
    assert logits.shape == (2, 3, len(run.task.vocabulary))


def test_samples_are_shown_with_what_was_retrieved_and_what_is_right(run):
    samples = run.sample(20)
    assert len(samples) == 20 and {answer for one in samples for answer in one.expected} == {"YES", "NO"}
    for one in samples:
        assert str(one).startswith("<s> ") and " ~ " in one.text and "?\n" in one.text
        assert one.reply.num_searches - 1 <= one.text.count("[") <= one.reply.num_searches, "the last may be cut off"
    assert sum(one.reply.num_searches for one in samples) > 20
    assert [one.text for one in run.sample(3)] == [one.text for one in samples[:3]]


def test_a_prompt_in_words_is_answered_as_a_sample_with_the_same_prompt(run):
    (sample,) = run.sample(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (written,) = run.generate(sample.text.split("?")[0] + "?")
    assert written.reply == sample.reply and written.answers == sample.answers and written.expected == []


def test_prompts_in_a_list_are_answered_in_order(run):
    prompts = [sample.text.split("?")[0] + "?" for sample in run.sample(3)]
    alone = [run.generate(prompt)[0] for prompt in prompts]
    for given in (prompts, tuple(prompts)):
        assert [one.text for one in run.generate(given)] == [one.text for one in alone]
    assert run.generate([]) == []


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("1 ~ 2 ?", "begin with '<s>', this one begins with '1'"), ("<s> 1 ~ 2", "end with '?', this one ends with '2'")],
)
def test_a_prompt_that_is_unlike_those_of_the_task_is_warned_of(prompt, said, run):
    with pytest.warns(UserWarning, match=rf"the prompts of IsTree {re.escape(said)}"):
        run.generate(prompt)


def test_samples_of_the_users_own_are_answered_row_by_row(run):
    transcripts = run.task.sample(5, np.arange(3), np.full(3, 4), "retrieval")
    together = run.generate(transcripts)
    alone = [run.generate(run.task.sample(5, np.array([i]), np.array([4]), "retrieval"))[0] for i in range(3)]
    assert [one.text for one in together] == [one.text for one in alone]
    assert run.generate(transcripts[np.arange(0)]) == []


def test_the_score_is_that_of_the_command_test(run, folder):
    (file,) = folder.rglob("scores.json")
    assert 0 < run.score(40) < 1
    assert run.score(40) == pytest.approx(json.loads(file.read_text())["scores"]["closed_loop_accuracy"])


@pytest.fixture
def seen(monkeypatch):
    """The dtypes of autocast in which models are computed; None without autocast."""
    found, forward = [], SequenceModel.forward

    def record(model, *args, **options):
        found.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return forward(model, *args, **options)

    monkeypatch.setattr(SequenceModel, "forward", record)
    return found


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("bf16-mixed", torch.bfloat16), ("16-mixed", torch.bfloat16), (16, torch.bfloat16), ("bf16", torch.bfloat16),
     ("32-true", None), ("bf16-true", None), ("64-true", None), (None, None)],
)  # fmt: skip
def test_a_run_in_mixed_precision_is_decoded_in_it(precision, dtype, copy, seen):
    change(copy, lambda configuration: configuration["trainer"].update(precision=precision))
    run = lit_retrieval.load(copy)
    for decode in (lambda: run.score(1), lambda: run.sample(1), lambda: run.generate("<s> 1 ~ 2 ?")):
        decode()
        assert seen and set(seen) == {dtype}
        seen.clear()
    run.model(torch.ones(1, 3, dtype=torch.long))
    assert seen == [None]


def test_the_score_in_mixed_precision_is_that_of_the_command_test(copy, seen, monkeypatch, capsys):
    change(copy, lambda configuration: configuration["trainer"].update(precision="bf16-mixed"))
    run = lit_retrieval.load(copy)
    score = run.score(40)
    computed = seen.copy()
    seen.clear()
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    main(["test", *TINY, "--trainer.precision", "bf16-mixed", "--run_dir", str(copy), "--ckpt_path", "best"])
    (file,) = copy.rglob("scores.json")
    assert score == pytest.approx(json.loads(file.read_text())["scores"]["closed_loop_accuracy"])
    assert set(seen) == set(computed) == {torch.bfloat16}


def test_no_more_rows_are_decoded_together_than_have_room(run, monkeypatch):
    score, seen = run.score(16), []
    monkeypatch.setattr(rows_at_once, "rows_at_once", lambda *_: 5)

    def decode(model, part, *given):
        seen.append(len(part))
        return whole(model, part, *given)

    whole = rows_at_once.decode
    monkeypatch.setattr(rows_at_once, "decode", decode)
    assert run.score(16) == score and sum(seen) == 16 and max(seen) <= 5


def test_a_prompt_that_is_too_long_for_the_model_is_told(run, monkeypatch):
    monkeypatch.setattr(run.model, "most_places", 3, raising=False)
    for ask in (lambda: run.generate("<s> 1 ~ 2 ?"), lambda: run.sample(1), lambda: run.score(1)):
        with pytest.warns(UserWarning, match="some texts have more than the 3 tokens that the model has places for"):
            ask()


def test_other_checkpoints_are_named(copy, run):
    last = copy / "checkpoints/step_150.ckpt"
    content = torch.load(last)
    name = next(name for name, weights in content["state_dict"].items() if weights.is_floating_point())
    content["state_dict"][name] += 1.0
    for path in (last, copy / "mine.ckpt"):
        save_checkpoint(content, path)
        content["state_dict"][name] += 1.0
    moved = {
        which: float((lit_retrieval.load(copy, which).model.state_dict()[name.removeprefix("model.")]
                      - run.model.state_dict()[name.removeprefix("model.")]).mean())
        for which in ("best", "last", str(copy / "checkpoints/best.ckpt"), str(copy / "mine.ckpt"))
    }  # fmt: skip
    assert list(moved.values()) == pytest.approx([0.0, 1.0, 0.0, 2.0])


def test_fit_loads_a_run_that_is_finished(folder, run, monkeypatch):
    monkeypatch.chdir(folder.parents[1])
    again = lit_retrieval.fit(shlex.join(TINY))
    assert again.folder == folder.relative_to(folder.parents[1])
    for own, theirs in zip(run.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(own, theirs)


def test_fit_trains_a_new_run(tmp_path, capsys):
    steps = "--trainer.max_steps 2 --trainer.val_check_interval 2 --run_dir"
    run = lit_retrieval.fit(f"{shlex.join(TINY)} {steps} '{tmp_path}/a run'")
    assert run.folder == tmp_path / "a run" and "step 2/2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("--config quickstart --model.hiden_size 3", "hiden_size"),
        ("--config no.yaml", "there is no file no.yaml|no.yaml"),
        ("--config quickstart --data.sizes [99]", "size must be .* got 99"),
        (f"{shlex.join(TINY)} --trainer.fast_dev_run true", "trainer.fast_dev_run leaves none"),
    ],
)
def test_fit_raises_what_the_command_refuses(command, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said) as raised:
        lit_retrieval.fit(command)
    assert "\n" not in str(raised.value) and not str(raised.value).startswith("error")


def test_a_file_of_training_samples_is_not_needed(copy):
    change(copy, lambda configuration: configuration["data"].update(train_file="moved.npz"))
    assert lit_retrieval.load(copy).sample(1)[0].expected


def test_a_file_of_validation_samples_that_is_gone_is_not_needed(copy):
    change(copy, lambda configuration: configuration["data"].update(val_file="moved.npz"))
    with pytest.warns(UserWarning, match=r"there is no file moved\.npz"):
        assert lit_retrieval.load(copy).sample(1)[0].expected
    change(copy, lambda configuration: configuration["data"].update(test_file="moved.npz"))
    with pytest.raises(UserError, match=r"moved\.npz"):  # or its score would be that of other samples
        lit_retrieval.load(copy)


def test_a_prompt_has_as_many_answers_as_the_task_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "--data.task",
        "StringCopying",
        "--data.task.max_size",
        "4",
        "--data.sizes",
        "[4]",
        "--data.regime",
        "vanilla",
    ]
    steps = ["--trainer.max_steps", "1", "--trainer.val_check_interval", "1", "--run_dir", "run"]
    run = lit_retrieval.fit(shlex.join([*TINY[:4], *words, *TINY[6:], *steps]))
    (word, *_), size = run.task.answer_words.tolist(), len(run.task.vocabulary)

    def say(tokens, state=None, positions=None):
        return one_hot(torch.full_like(positions, word), size).float(), torch.zeros(len(tokens), 1)

    monkeypatch.setattr(run.model, "forward", say)
    prompt = run.task.vocabulary.text(next(run.data.source("predict").take(np.arange(1)).turns(0)))
    for count, wanted in ((None, 4), (1, 1), (6, 6)):
        (written,) = run.generate(prompt, **({} if count is None else {"num_answers": count}))
        assert len(written.answers) == wanted


def test_a_score_is_the_mean_over_samples_of_the_share_of_their_answers(tmp_path, monkeypatch):
    """Not that over answers: half of the samples have one word, and are wrong."""
    monkeypatch.chdir(tmp_path)
    words = ["--data.task", "StringCopying", "--data.task.max_size", "4", "--data.regime", "vanilla"]
    steps = ["--trainer.max_steps", "1", "--trainer.val_check_interval", "1", "--run_dir", "run"]
    run = lit_retrieval.fit(shlex.join([*TINY[:4], *words, *TINY[6:], "--data.sizes", "[1, 4]", *steps]))

    def decode(self, part):
        answers, zeros = part.answers.copy(), np.zeros(len(part), np.int64)
        answers[part.sizes == 1, 0] = UNDECIDED
        return Replies(part.tokens, part.author, part.length, answers, zeros, zeros)

    monkeypatch.setattr(type(run), "_decode", decode)
    sizes = run.data.stream("test").take(np.arange(40)).sizes
    assert 0.2 < (sizes == 4).mean() < 0.8
    assert run.score(40) == pytest.approx((sizes == 4).mean())


def test_a_run_on_a_gpu_multiplies_as_it_was_trained(folder, monkeypatch):
    found = []
    monkeypatch.setattr(lit_retrieval.api.Gpu, "set_arithmetic", lambda gpu: found.append((gpu.float32, gpu.autotune)))
    with pytest.raises((AssertionError, RuntimeError)):  # there is no GPU
        lit_retrieval.load(folder, device="cuda")
    assert found == [(None, False)]


def change(folder, edit):
    configuration = yaml.safe_load((folder / "config.yaml").read_text())
    edit(configuration)
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))


def damage(folder):
    path = folder / "checkpoints/best.ckpt"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (shutil.rmtree, "there is no run .*run; write the folder of one"),
        (lambda folder: (folder / "config.yaml").unlink(), "has no config.yaml"),
        (lambda folder: (folder / "config.yaml").write_text("data: ["), "config.yaml can't be read"),
        (lambda folder: (folder / "config.yaml").write_text("[1]"), "is not a configuration of lit_retrieval"),
        (lambda folder: (folder / "config.yaml").write_text("{}"), "is not a configuration of lit_retrieval"),
        (lambda folder: change(folder, lambda one: one["model"].update(depth=3)), "not a configuration .*'depth'"),
        (
            lambda folder: change(folder, lambda one: one["data"]["task"].update(class_path="a.B")),
            "needs a; install it",
        ),
        (lambda folder: change(folder, lambda one: one["model"].update(hidden_size=8)), "checkpoint is of another mod"),
        (lambda folder: shutil.rmtree(folder / "checkpoints"), "there is no checkpoint"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(harm, said, copy):
    harm(copy)
    with pytest.raises(UserError, match=said) as raised:
        lit_retrieval.load(copy)
    assert "\n" not in str(raised.value)


def test_a_damaged_checkpoint_is_refused(copy):
    damage(copy)
    with pytest.raises(DamagedCheckpointError, match="is damaged"):
        lit_retrieval.load(copy)


def test_a_run_without_any_checkpoint_has_no_last_one(copy):
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint; train with `fit` first"):
        lit_retrieval.load(copy, "last")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: run.generate("<s> 1 ~ tree ?"), "'tree' is not one of the vocabulary's"),
        (lambda run: run.generate(" "), "a prompt must have one token or more, got ' '"),
        (lambda run: run.sample(0), "the number of samples must be 1 or more, got 0"),
        (lambda run: run.score(-1), "the number of samples must be 1 or more, got -1"),
        (lambda run: run.generate("<s> 1 ~ 2 ?", "b"), "num_answers must be a whole number, got 'b'"),
        (lambda run: run.generate("<s> 1 ~ 2 ?", 1.5), "num_answers must be a whole number, got 1.5"),
        (lambda run: run.generate(3), "prompts must be a text, a list of texts or samples, got 3"),
        (lambda run: run.generate(None), "prompts must be a text, a list of texts or samples, got None"),
        (lambda run: run.generate(np.zeros((99, 99))), "prompts must be .* got array"),
        (lambda run: run.generate(["<s> 1 ~ 2 ?", 3]), "a prompt must be a text, got 3"),
        (lambda run: run.generate(["<s> 1 ~ 2 ?", " "]), "a prompt must have one token or more, got ' '"),
        (lambda run: run.score("8"), "the number of samples must be a whole number, got '8'"),
        (lambda run: run.score(2.5), "the number of samples must be a whole number, got 2.5"),
        (lambda run: run.sample(True), "the number of samples must be a whole number, got True"),
        (lambda run: lit_retrieval.load(3), "folder must be a path, got 3"),
        (lambda run: lit_retrieval.load(run.folder, None), "checkpoint must be a path, got None"),
        (lambda run: lit_retrieval.fit(["--config", "quickstart"]), "command must be a text, as in a shell, got "),
    ],
)
def test_a_mistake_in_a_call_is_one_line(call, said, run):
    with pytest.raises(UserError, match=said) as raised:
        call(run)
    assert "\n" not in str(raised.value)


def test_the_worked_example_of_the_readme_runs(folder, monkeypatch, capsys):
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (example,) = [part.split("```")[0] for part in readme.split("```python\n")[1:] if "lit_retrieval.fit" in part]
    monkeypatch.chdir(folder.parents[1])
    tiny = example.replace("--config quickstart", shlex.join(TINY))
    exec(tiny.replace("3 ~ 1 4 ~ 5 ?", "3 ~ 1 ?"))  # it knows 4 vertices
    assert tiny != example and "<s> 1 ~ 2 2 ~ 3 3 ~ 1 ?\n" in capsys.readouterr().out


def test_the_package_has_no_other_names():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        lit_retrieval.lode  # noqa: B018


def test_a_score_is_that_of_the_file_that_the_command_tests(copy, tmp_path):
    """Here one sample of another seed than the run's."""
    stream = SampleStream(IsTree(max_size=4), "retrieval", [4], 9, "test")
    save_samples(tmp_path / "one.npz", stream.task.vocabulary, [stream.take(np.arange(1))], {"regime": "retrieval"})
    change(copy, lambda configuration: configuration["data"].update(test_file=str(tmp_path / "one.npz")))
    run = lit_retrieval.load(copy)
    (written,) = run.generate(stream.take(np.arange(1)))
    assert run.score(1) == (written.answers == written.expected)
    with pytest.raises(UserError, match="the number of samples must be 1 or less, got 2"):
        run.score(2)


def test_a_home_folder_is_found(copy, monkeypatch):
    monkeypatch.setenv("HOME", str(copy.parent))
    assert lit_retrieval.load("~/run").folder == copy
