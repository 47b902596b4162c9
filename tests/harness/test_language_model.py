"""lm-evaluation-harness scores runs and pretrained models as direct scoring by our own code does; offline."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import text_tokenizers
import torch
from pretrained_models import write_folder

import lit_retrieval
from lit_retrieval.cli import main as train
from lit_retrieval.conversation import Author
from lit_retrieval.errors import UserError
from lit_retrieval.harness.__main__ import main
from lit_retrieval.tasks.__main__ import main as tasks
from lit_retrieval.vocabulary import END_SEARCH, START_SEARCH

pytest.importorskip(
    "lm_eval", reason="lm-evaluation-harness is not installed: pip install -c constraints.txt -e '.[lm_eval]'"
)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
TREE = ["--task", "IsTree", "--task.max_size", "4", "--sizes", "[4]"]
STEPS = [
    "--data.val_samples", "8", "--data.test_samples", "40", "--data.eval_batch_size", "16", "--trainer.accelerator",
    "cpu", "--trainer.enable_progress_bar", "false", "--run_dir", "run",
]  # fmt: skip
WORDS = [
    "--config", "quickstart", "--model.hidden_size", "32", "--data.task.max_size", "4", "--data.sizes", "[4]",
    "--data.batch_size", "16", "--model.warmup_samples", "160", "--model.learning_rate", "1e-2",
    "--trainer.max_steps", "150", "--trainer.val_check_interval", "150", *STEPS,
]  # fmt: skip
LOCAL = """
import json
from pathlib import Path

from datasets import Dataset


def load(**_):
    lines = (Path(__file__).parent / "test.jsonl").read_text().splitlines()
    return {"test": Dataset.from_list([json.loads(line) for line in lines])}
"""
COMMON = """
custom_dataset: !function local.load
test_split: test
num_fewshot: 0
doc_to_text: "{{prompt}}"
doc_to_target: label
"""
TASKS = {
    "choose": COMMON + "task: choose\noutput_type: multiple_choice\ndoc_to_choice: choices\n",
    "go_on": COMMON + "task: go_on\noutput_type: generate_until\n"
    'generation_kwargs: {until: ["STOP", "tr"], max_gen_toks: 24, do_sample: false}\n'
    "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n",
}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The folder of a run on a synthetic task, that has learned something."""
    folder = tmp_path_factory.mktemp("words")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr("sys.argv", ["lit_retrieval"])
        train(["fit", *WORDS])
    return folder / "run"


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The folder of a tiny random model with its tokenizer, as transformers writes it."""
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("pretrained")
    made = text_tokenizers.byte_level(text_tokenizers.sentences(4, 20))
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|end|>", eos_token="<|end|>").save_pretrained(folder)
    return write_folder(folder, "llama", vocab_size=400, eos_token_id=made.token_to_id("<|end|>"))


@pytest.fixture(scope="module")
def text_run(pretrained, tmp_path_factory):
    """The folder of a run in text, of two steps."""
    folder = tmp_path_factory.mktemp("text")
    loader = {"class_path": "lit_retrieval.pretrained.Folder", "init_args": {"folder": str(pretrained)}}
    task = {"class_path": "lit_retrieval.tasks.text.Friends", "init_args": {"tokenizer": str(pretrained)}}
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr("sys.argv", ["lit_retrieval"])
        train(["fit", "--data.task", json.dumps(task), "--data.regime", "retrieval", "--data.sizes", "[2]",
               "--data.batch_size", "2", "--model.pretrained", json.dumps(loader), "--trainer.max_steps", "2",
               "--trainer.val_check_interval", "2", *STEPS])  # fmt: skip
    return folder / "run"


def evaluate(model, folder, names):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate(model, tasks=names, task_manager=manager, bootstrap_iters=0, log_samples=True)


def local_tasks(folder, problems):
    (folder / "local.py").write_text(LOCAL)
    (folder / "test.jsonl").write_text("".join(json.dumps(one) + "\n" for one in problems))
    for name, content in TASKS.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


@torch.no_grad()
def direct_score(model, context, text):
    whole = torch.tensor([[*context, *text]])
    scores = model(whole[:, :-1])[0][0].double().log_softmax(-1)[len(context) - 1 :]
    return float(scores.gather(1, whole[0, len(context) :, None]).sum())


@torch.no_grad()
def direct_text(model, vocabulary, prompt, ends):
    """Greedy, from the whole forward for each token, without searches; an end in an unfinished query is none."""
    tokens, is_query = list(prompt), False
    for _ in range(24):
        tokens.append(int(model(torch.tensor([tokens]))[0][0, -1].argmax()))
        is_query = {START_SEARCH: True, END_SEARCH: False}.get(tokens[-1], is_query) if len(ends) else False
        if tokens[-1] in ends and not is_query:
            break
    return vocabulary.text(tokens[len(prompt) :])


def cut(text):
    return text[: min([text.find(stop) for stop in ("STOP", "tr") if stop in text], default=len(text))]


@pytest.mark.parametrize("searches", ["true", "false"])
@pytest.mark.parametrize("kind", ["words", "text_run", "pretrained"])
def test_local_tasks_are_scored_as_directly(kind, searches, request, tmp_path):
    from lit_retrieval.harness.language_model import LanguageModel

    path = request.getfixturevalue(kind)
    model = LanguageModel.create_from_arg_string(
        f"{'folder' if kind == 'pretrained' else 'run'}={path},searches={searches}", {"batch_size": "3"}
    )
    run = lit_retrieval.load(request.getfixturevalue("text_run" if kind == "pretrained" else kind))
    network, vocabulary = model.text_model.model, run.task.vocabulary
    drawn = run.task.sample(3, np.arange(6), np.full(6, 4), "vanilla")
    prompts = [vocabulary.text(drawn.tokens[row, : drawn.prompt_length[row]]) for row in range(6)]
    choices = ["YES", "NO"] if kind == "words" else ["Oslo", "Cairo, as they say", "no"]
    problems = [{"prompt": prompt, "choices": choices, "label": 0} for prompt in prompts]
    results = evaluate(model, local_tasks(tmp_path, problems), ["choose", "go_on"])
    for sample in results["samples"]["choose"]:
        context = vocabulary.read(sample["doc"]["prompt"].rstrip()).tolist()
        spaces = sample["doc"]["prompt"][len(sample["doc"]["prompt"].rstrip()) :]
        for choice, (found, _) in zip(choices, sample["filtered_resps"], strict=True):
            whole = vocabulary.read(f"{sample['doc']['prompt'].rstrip()}{spaces} {choice}").tolist()
            text = whole[len(context) :]
            assert found == pytest.approx(direct_score(network, context, text), abs=1e-4)
    is_words = kind == "words"
    for sample in results["samples"]["go_on"]:
        prompt = vocabulary.read(sample["doc"]["prompt"])
        if is_words and searches == "true":
            (written,) = run.generate(sample["doc"]["prompt"])
            tokens, by = (np.array(one)[: len(prompt) + 24] for one in (written.reply.tokens, written.reply.author))
            expected = vocabulary.text(tokens[by == Author.MODEL])
        else:
            ends = run.task.answer_words.tolist() if is_words else vocabulary.ends
            expected = direct_text(network, vocabulary, prompt.tolist(), ends).removesuffix("<|end|>")
        assert sample["filtered_resps"] == [cut(expected)]


def test_what_our_tasks_write_is_scored_as_the_run_scores_itself(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tasks(["write", *TREE, "--form", "lm_eval", "--samples", "40", "--split", "test", "--output", "trees"])
    run = lit_retrieval.load(words)
    main(["--model_args", f"run={words}", "--tasks", "trees_run", "--include_path", "trees", "--output_path", "out",
          "--log_samples"])  # fmt: skip
    assert "trees_run" in capsys.readouterr().out
    (file,) = Path("out").rglob("results_*.json")
    found = json.loads(file.read_text())["results"]["trees_run"]["exact_match,none"]
    assert found == pytest.approx(run.score(40)) and 0 < found < 1


def test_texts_are_scored_as_the_harness_scores_them(pretrained):
    """Its own loop over transformers, a text at a time, splits contexts, begins texts and stops as ours does."""
    pytest.importorskip("accelerate", reason="the harness needs accelerate for its own models")
    from lm_eval.models.huggingface import HFLM

    from lit_retrieval.harness.language_model import LanguageModel

    theirs = HFLM(str(pretrained), device="cpu", batch_size=1, dtype="float32")
    ours = LanguageModel(folder=str(pretrained), batch_size=3)
    pairs = [
        ("Emma lives in", " Oslo"), ("Emma lives in ", "Oslo"), ("", "Emma lives"), ("Who? \n", "a"),
        ("Emma lives in", " Oslo and in Cairo"), ("a", " b"), ("<|end|>Who", " lives"),
    ]  # fmt: skip
    asked = [SimpleNamespace(args=pair) for pair in pairs]
    found, expected = ours.loglikelihood(asked), theirs.loglikelihood(asked)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    texts = [SimpleNamespace(args=(text,)) for text in ("Emma lives in Oslo.", "Who?")]
    np.testing.assert_allclose(ours.loglikelihood_rolling(texts), theirs.loglikelihood_rolling(texts), atol=1e-4)
    rules = [{"until": ["\n"], "max_gen_toks": 9}, {"until": "e", "max_new_tokens": 7}, {"until": []}]
    asked = [SimpleNamespace(args=(text, {**rule})) for text in ("Emma lives in", "Who? ", "a") for rule in rules[:2]]
    theirs_said = theirs.generate_until([SimpleNamespace(args=(one.args[0], {**one.args[1]})) for one in asked])
    assert ours.generate_until(asked) == theirs_said and len(set(theirs_said)) > 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"run": "nowhere"}, "there is no run nowhere"),
        ({"run": "nowhere", "serches": True}, "--model_args must be of run, folder, checkpoint, searches, "),
        ({"folder": "nowhere", "precision": "bf16"}, "precision must be float32 or bfloat16, got bf16; set it"),
        ({"run": "nowhere", "searches": "no"}, "searches must be true or false, got no; set it in --model_args"),
        ({"searches": True}, "give a run or the folder of a pretrained model"),
        ({"folder": "nowhere"}, "there is no nowhere/tokenizer.json"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(arguments, said):
    from lit_retrieval.harness.language_model import LanguageModel

    with pytest.raises(UserError) as refused:
        LanguageModel.create_from_arg_obj(arguments, {"batch_size": "3"})
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_words_that_a_run_does_not_have_are_refused_in_one_line(words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    tasks(["write", *TREE, "--form", "lm_eval", "--samples", "2", "--output", "trees"])
    with pytest.raises(SystemExit) as ended:
        main(["--model_args", f"run={words}", "--tasks", "trees", "--include_path", "trees"])
    said = "error: 'Is' is not one of the vocabulary's 16 words; take the task NAME_run of `tasks write --form lm_eval`"
    assert ended.value.code == 2 and capfd.readouterr().err.splitlines()[-1].startswith(said)


def test_what_a_request_does_not_have_is_refused(pretrained):
    from lit_retrieval.harness.language_model import LanguageModel

    model = LanguageModel(folder=str(pretrained))
    with pytest.raises(UserError, match=r"^generation_kwargs must be of .*, got max_gen_tokens; leave it out$"):
        model.generate_until([SimpleNamespace(args=("a", {"until": [], "max_gen_tokens": 3}))])
    with pytest.raises(UserError, match=r"^chat templates are not applied; leave out --apply_chat_template$"):
        model.apply_chat_template([{"role": "user", "content": "a"}])
    usual = {"until": ["e"], "max_gen_toks": 2, "do_sample": False, "temperature": 0.0, "top_p": 1.0, "num_beams": 1}
    assert len(model.generate_until([SimpleNamespace(args=("a", usual))])) == 1


def test_only_greedy_texts_are_written(pretrained):
    from lit_retrieval.harness.language_model import LanguageModel

    with pytest.raises(UserError, match="set do_sample to false"):
        LanguageModel(folder=str(pretrained)).generate_until([SimpleNamespace(args=("a", {"temperature": 0.7}))])
