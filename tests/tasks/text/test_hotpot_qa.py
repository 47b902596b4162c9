"""HotpotQA: which paragraphs are there and where, prompts and replies, and files that are something else."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from text_tokenizers import byte_level, save

from lit_retrieval.conversation import Author
from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import SampleStream
from lit_retrieval.tasks.checks import report
from lit_retrieval.tasks.text import HotpotQA
from lit_retrieval.tasks.text.questions import read_questions

DATA = Path(__file__).parents[3] / "data/hotpotqa"
OWN, SHOTS = DATA / "own.json", DATA / "shots.json"
RECORDS = json.loads(OWN.read_text())
QUESTIONS = read_questions(OWN, "file")
NUMBERS = (2, 4, 6, 8, 10)


SMOLLM2 = Path(os.environ.get("SMOLLM2", DATA.parents[1] / "models/smollm2"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = [sentence for record in RECORDS for _, sentences in record["context"] for sentence in sentences]
    return save(byte_level(texts), tmp_path_factory.mktemp("tokenizer"))


def titles(question, number, order):
    return [title for title, _ in question.choose(number, order)]


def test_our_file_has_the_format_of_hotpotqa():
    assert [record["_id"] for record in RECORDS] == [f"own{number:02}" for number in range(20)]
    assert sum(record["type"] == "comparison" for record in RECORDS) == 4
    for record in RECORDS:
        assert set(record) == {"_id", "question", "answer", "type", "level", "supporting_facts", "context"}
        context = dict(record["context"])
        assert len(context) == 10
        for title, number in record["supporting_facts"]:
            assert context[title][number]
        gold = " ".join(context[title][number] for title, number in record["supporting_facts"])
        assert record["answer"] in ("yes", "no") or record["answer"] in gold + record["question"]
        for title in context.keys() - {title for title, _ in record["supporting_facts"]}:
            assert record["type"] == "comparison" or f" {record['answer']} " not in " ".join(context[title])


@pytest.mark.parametrize("order", ["required", "free"])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_paragraphs_are_nested_with_the_gold_ones_where_they_belong(question, order):
    chosen = {number: titles(question, number, order) for number in NUMBERS}
    for number, some in chosen.items():
        assert len(set(some)) == number and set(question.gold) <= set(some)
        others = [title for title in some if title not in question.gold]
        assert order == "required" or some[:-2] == others
        for more in NUMBERS:
            assert number > more or [title for title in chosen[more] if title in some] == some
    assert titles(question, 2, "required") == titles(question, 2, "free")
    assert set(titles(question, 6, "required")) == set(titles(question, 6, "free"))


def test_gold_paragraphs_are_everywhere_if_retrieval_is_required():
    places = [titles(question, 4, "required").index(question.gold[0]) for question in QUESTIONS]
    assert set(places) == {0, 1, 2, 3}
    assert len({titles(question, 2, "free").index(question.gold[0]) for question in QUESTIONS}) == 2


def test_both_orders_have_the_same_prompt_at_two_paragraphs(tokenizer):
    tasks = [HotpotQA(tokenizer, OWN, shots=SHOTS, order=order).evaluation for order in ("required", "free")]
    for size, are_same in ((2, True), (4, False)):
        prompts = [[task.dialogue(0, at, size, "cot").prompt for at in range(20)] for task in tasks]
        assert (prompts[0] == prompts[1]) == are_same


def test_every_question_is_asked_at_each_number(tokenizer):
    task = HotpotQA(tokenizer, OWN)
    stream = SampleStream(task, "vanilla", [2, 4, 6, 8], 0, "test")
    assert stream.num_samples == 80
    written = stream.take(np.arange(80))
    assert written.sizes.tolist() == [2, 4, 6, 8] * 20
    for row, size in enumerate(written.sizes.tolist()):
        prompt = task.vocabulary.text(written.tokens[row, : written.prompt_length[row]])
        assert prompt.count("\n- ") + 1 == size and RECORDS[row // 4]["question"] in prompt
        assert task.answer_texts(written.reply(row)) == [RECORDS[row // 4]["answer"]]
        assert stream.about(row) == {"id": f"own{row // 4:02}", "order": "required"}
    assert stream.take(np.array([7])).tokens.tolist()[0][:40] == written.tokens[7, :40].tolist()


def parts(task, regime):
    """Prompt, and then each span of the reply, of the first question at its two gold paragraphs."""
    written = task.evaluation.sample(0, np.array([0]), np.array([2]), regime)
    tokens, text = written.tokens[0], task.vocabulary.text
    return [(span.author, text(tokens[span.start : span.stop])) for span in written.spans(0)]


def test_a_reply_is_the_answer_after_the_facts_or_the_searches(tokenizer):
    task = HotpotQA(tokenizer, OWN)
    ada = "Ada Brenlow: Ada Brenlow (1931-2004) painted landscapes in oil. Her home town was Tellmark, where she was born above a bakery. She moved to the coast when she was nine."  # noqa: E501
    tellmark = "Tellmark: Tellmark is a small town in the northern hills. The river Orva flows through it on its way to the sea."  # noqa: E501
    question = "Question: Which river flows through the town where the painter Ada Brenlow was born?\n"
    prompt = (Author.PROMPT, f"- {ada}\n- {tellmark}\n{question}")
    assert parts(task, "vanilla") == [prompt, (Author.MODEL, "Answer: Orva\n")]
    facts = (
        "Ada Brenlow: Her home town was Tellmark, where she was born above a bakery.\n"
        "Tellmark: The river Orva flows through it on its way to the sea.\n"
    )
    assert parts(task, "cot") == [prompt, (Author.MODEL, f"{facts}Answer: Orva\n")]
    assert parts(task, "retrieval") == [
        prompt,
        (Author.MODEL, "<StartSearch>Ada Brenlow<EndSearch>"), (Author.RETRIEVER, f"{ada}\n"),
        (Author.MODEL, "<StartSearch>Tellmark<EndSearch>"), (Author.RETRIEVER, f"{tellmark}\n"),
        (Author.MODEL, "Answer: Orva\n"),
    ]  # fmt: skip


@pytest.mark.parametrize("shots", [None, SHOTS], ids=["no shots", "shots"])
@pytest.mark.parametrize("number", [2, 8])
def test_searches_find_the_gold_paragraphs(tokenizer, shots, number):
    task = HotpotQA(tokenizer, OWN, shots=shots).evaluation
    for at, question in enumerate(QUESTIONS):
        prompt = task.dialogue(0, at, number, "retrieval").prompt
        for title in question.gold:
            assert task.retriever.search(title, prompt) == f"{title}: {question.paragraphs[title]}"


@pytest.mark.parametrize("regime", ["vanilla", "cot", "retrieval"])
def test_shots_are_solved_as_the_model_is_to_solve(tokenizer, regime):
    task = HotpotQA(tokenizer, OWN, shots=SHOTS).evaluation
    prompt = task.dialogue(0, 0, 2, regime).prompt
    shots = prompt.split("\n\n")
    assert len(shots) == 5 and prompt.startswith("- ") and prompt.endswith("was born?\n")
    of_shots = HotpotQA(tokenizer, SHOTS, most_paragraphs=2).evaluation
    for number, shot in enumerate(shots[:4]):
        written = of_shots.sample(0, np.array([number]), np.array([2]), regime)
        assert of_shots.vocabulary.text(written.tokens[0, : written.length[0]]) == f"{shot}\n"


def split_in_two(folder):
    """Files with the even and the odd questions."""
    for name, records in (("even.json", RECORDS[::2]), ("odd.json", RECORDS[1::2])):
        (folder / name).write_text(json.dumps(records))
    return folder / "even.json", folder / "odd.json"


def test_it_keeps_the_rules_of_tasks_and_trains_on_questions_of_its_own(tokenizer, tmp_path):
    even, odd = split_in_two(tmp_path)
    task = HotpotQA(tokenizer, even, train_file=odd)
    broken = [verdict for verdict in report(task, [2, 4]) if verdict.result == "FAIL"]
    assert not broken
    trained = SampleStream(task, "vanilla", [2], 0, "fit").take(np.arange(64))
    answers = {task.answer_texts(trained.reply(row))[0] for row in range(64)}
    assert answers == {record["answer"] for record in RECORDS[1::2]}


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="python tools/smollm2.py models/smollm2, or name a folder in SMOLLM2")
def test_it_keeps_the_rules_of_tasks_with_the_tokenizer_of_smollm2(tmp_path):
    even, odd = split_in_two(tmp_path)
    task = HotpotQA(SMOLLM2, even, train_file=odd, shots=SHOTS)
    assert not [verdict for verdict in report(task, [2, 8]) if verdict.result == "FAIL"]


def test_questions_for_evaluation_are_not_trained_on(tokenizer, tmp_path):
    even, odd = split_in_two(tmp_path)
    with pytest.raises(UserError, match=r"fit needs others; set data.task.init_args.train_file"):
        SampleStream(HotpotQA(tokenizer, OWN), "cot", [2], 0, "fit").take(np.arange(1))
    with pytest.raises(UserError, match=r"must have other questions than .*, got 10 of the same, such as 'own01'"):
        HotpotQA(tokenizer, OWN, train_file=odd)
    HotpotQA(tokenizer, even, train_file=odd)
    with pytest.raises(UserError, match=r"got 10 of the same, such as 'own01'; set another file in .*\.shots"):
        HotpotQA(tokenizer, OWN, shots=odd)


def test_questions_that_are_held_out_are_validated_and_not_trained_on(tokenizer, tmp_path):
    even, odd = split_in_two(tmp_path)
    task = HotpotQA(tokenizer, even, train_file=odd, held_out=3)
    streams = {split: SampleStream(task, "vanilla", [2], 0, split) for split in ("fit", "validate", "test")}
    found = {split: one.take(np.arange(one.num_samples or 64)) for split, one in streams.items()}
    asked = {split: {task.answer_texts(one.reply(row))[0] for row in range(len(one))} for split, one in found.items()}
    right = [record["answer"] for record in RECORDS]
    assert streams["validate"].num_samples == 3 and asked["validate"] == set(right[1::2][-3:])
    assert asked["fit"] == set(right[1::2][:-3]) and asked["test"] == set(right[::2])
    with pytest.raises(UserError, match="held_out must be 1 to 9, got 10"):
        HotpotQA(tokenizer, even, train_file=odd, held_out=10)
    with pytest.raises(UserError, match="held_out takes questions of train_file, which is not set"):
        HotpotQA(tokenizer, even, held_out=1)


@pytest.mark.parametrize("held_out", [None, 3])
def test_a_validation_on_questions_of_the_test_is_told(tokenizer, tmp_path, held_out, recwarn):
    even, odd = split_in_two(tmp_path)
    task = HotpotQA(tokenizer, even, train_file=odd, held_out=held_out)
    data = TranscriptData(task, "vanilla", [2], val_samples=4, batch_size=2, eval_batch_size=2)
    data.trainer = SimpleNamespace(
        state=SimpleNamespace(fn="fit"), global_rank=0, world_size=1, limit_val_batches=1.0, fast_dev_run=False
    )
    data.val_dataloader()
    told = [str(one.message) for one in recwarn if "best.ckpt is chosen on test problems" in str(one.message)]
    assert len(told) == (held_out is None)


def test_only_some_questions_are_evaluated(tokenizer, tmp_path):
    only = tmp_path / "only.txt"
    only.write_text("own07\nown03\n")
    task = HotpotQA(tokenizer, OWN, only=only).evaluation
    assert [task.about(at)["id"] for at in range(task.num_problems)] == ["own03", "own07"]


def changed(**fields):
    """The file with other fields in its second question; None leaves a field out."""
    record = {**RECORDS[1], **fields}
    return [RECORDS[0], {name: value for name, value in record.items() if value is not None}]


BAD = {
    "not JSON": ("{", "is not JSON: "),
    "not text": (b"\xff\xfe", "is not JSON: "),
    "no list": ({"data": []}, "must hold a list of questions, as hotpot_dev_distractor_v1.json does"),
    "empty": ([], "must hold a list of questions"),
    "no question": ([1], "question 0 of file.json must have the fields _id, question, answer, .* got int"),
    "other fields": (changed(_id=None, id="x"), "question 1 of .* must have the fields _id, .*, got .*, id; convert"),
    "no context": (changed(context=None), "must have the fields"),
    "no answer": (changed(answer=" "), "question 1 of .* must have texts in _id, question and answer"),
    "a number": (changed(answer=7), "must have texts in _id, question and answer"),
    "columns": (changed(context={"title": ["a"], "sentences": [["b"]]}), "must have lists of .title, sentences. in"),
    "text for sentences": (changed(context=[["a", "b"]]), "must have lists of .title, sentences. in context"),
    "facts": (changed(supporting_facts=["a"]), "must have lists of .title, sentences. in context"),
    "fullwiki": (changed(context=[["Jonas Hale", ["He."]]]), "got 1 of 2; take hotpot_dev_distractor_v1.json, not the"),
    "one fact": (changed(supporting_facts=[["Jonas Hale", 0]]), "the two paragraphs .* got 1 of 1"),
    "twice": ([RECORDS[0], RECORDS[0]], "must have an id of its own, got 'own00' twice"),
    "short": ([{**RECORDS[0], "context": RECORDS[0]["context"][3:6]}], "must have 8 paragraphs or more, and none has"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD)
def test_another_file_is_refused_in_one_line(content, said, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = content if isinstance(content, (str, bytes)) else json.dumps(content)
    Path("file.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=said) as error:
        HotpotQA(tokenizer, Path("file.json"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"file": "no.json"}, "no.json can't be read: No such file or directory; write the path of hotpot_dev_distr"),
        ({"shots": "no.json"}, "in data.task.init_args.shots"),
        ({"train_file": "no.json"}, "in data.task.init_args.train_file"),
        ({"only": "no.txt"}, "no.txt can't be read; write a file with one id a line in data.task.init_args.only"),
        ({"only": "other.txt"}, r"other.txt must have ids of questions .* got 'x' \(1 of 2 are unknown\)"),
        ({"only": "empty.txt"}, "got no id"),
        ({"order": "random"}, "order must be required or free, got 'random'; set data.task.init_args.order"),
        ({"most_paragraphs": 11}, "most_paragraphs must be 2 to 10, got 11"),
    ],
)  # fmt: skip
def test_other_arguments_are_refused_in_one_line(arguments, said, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("other.txt").write_text("own00 x")
    Path("empty.txt").write_text("")
    with pytest.raises(UserError, match=said):
        HotpotQA(tokenizer, **{"file": OWN, **arguments})


def test_sizes_are_numbers_of_paragraphs_that_all_questions_have(tokenizer):
    task = HotpotQA(tokenizer, OWN)
    for size in (2, 8):
        task.check_size(size)
    for size in (1, 9):
        with pytest.raises(UserError, match=f"size must be 2 to 8, got {size}; set data.sizes or data.task.init_args"):
            task.check_size(size)


def test_facts_that_no_paragraph_has_are_left_out(tokenizer, tmp_path):
    facts = [["Salt and Lanterns", 1], ["Salt and Lanterns", 9], ["Jonas Hale", 1]]
    (tmp_path / "file.json").write_text(json.dumps(changed(supporting_facts=facts)))
    question = read_questions(tmp_path / "file.json", "file")[1]
    assert question.gold == ("Jonas Hale", "Salt and Lanterns")  # the question names the actor
    assert [title for title, _ in question.facts] == ["Jonas Hale", "Salt and Lanterns"]
