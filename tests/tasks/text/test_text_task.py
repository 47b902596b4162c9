"""Tasks in text: what they write, a model that is right can write again, token by token, whatever the tokenizer."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from reading import reply_of
from rich.text import Text
from text_tokenizers import byte_level, save, sentences, with_spaces

from lit_retrieval.conversation import RIGHT, UNDECIDED, WRONG, Reply
from lit_retrieval.data import TranscriptData, collate
from lit_retrieval.data.suite import hash_samples
from lit_retrieval.decoding import decode
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import (
    FaultyRetriever,
    PassageRetriever,
    RegularExpressionRetriever,
    ShortFormRetriever,
)
from lit_retrieval.tasks import (
    AssociativeRecall,
    Mixture,
    ReadAgain,
    SampleStream,
    describe,
    load_samples,
    save_samples,
)
from lit_retrieval.tasks.checks import report
from lit_retrieval.tasks.text import Dialogue, Friends, Phonebook, TextTask
from lit_retrieval.tasks.text.names import CITIES, FIRST_NAMES, MOST_PEOPLE, SURNAMES
from lit_retrieval.training.marked_transcript import markdown
from lit_retrieval.training.transcript_printer import render, verdict

pytest.importorskip("tokenizers")
REGIMES = ("vanilla", "cot", "retrieval")
TASKS = {"friends": Friends, "phonebook": Phonebook}
TOKENIZERS = {
    "words": byte_level,
    "bytes": lambda texts: byte_level(texts, 257),
    "across words": lambda texts: byte_level(texts, 900, splits=False),
    "with a first token": lambda texts: byte_level(texts, 600, first="<s>"),
    "with spaces": lambda texts: with_spaces(texts, 600, first="<bos>"),
}
SMOLLM2 = os.environ.get("SMOLLM2", "models/smollm2")


class Scripted:
    """A model that writes given transcripts again, whatever it reads."""

    def __init__(self, transcripts, vocab_size):
        self.script, self.vocab_size = torch.from_numpy(transcripts.tokens.astype(np.int64)), vocab_size

    def __call__(self, tokens, state=None, positions=None):
        rows, length = (
            (torch.arange(len(tokens)), torch.zeros(len(tokens), dtype=torch.int64)) if state is None else state
        )
        length = length + tokens.shape[1]
        at = length.clamp(max=self.script.shape[1] - 1)
        return torch.nn.functional.one_hot(self.script[rows, at], self.vocab_size).float(), (rows, length)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    texts, root = sentences(), tmp_path_factory.mktemp("tokenizers")
    return {name: save(make(texts), root / name) for name, make in TOKENIZERS.items()}


@pytest.fixture(scope="module")
def folder(folders):
    return folders["words"]


def check_oracle(task, regime, rows=6, sizes=(2, 5, 9)):
    """A model that writes the transcripts again gets their tokens and answers, with their searches run."""
    found = task.sample(0, np.arange(rows), np.resize(sizes, rows), regime)
    model = Scripted(found, len(task.vocabulary))
    replies = decode(model, found, task, task.retriever, task.longest_reply(max(sizes), regime))
    for row, reply in enumerate(replies):
        assert reply[:3] == found.reply(row)[:3] and reply.answers == [RIGHT]
        assert reply.num_searches == {"retrieval": 2 if isinstance(task, Friends) else 1}.get(regime, 0)
        dialogue = task.dialogue(0, row, found.sizes[row], regime)
        assert task.answer_texts(reply) == [dialogue.answer]
        first = task.vocabulary.text(task.vocabulary.first)
        assert render(reply, task.vocabulary).plain == f"{first}{dialogue.prompt}{reply_of(task, dialogue)}"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_oracle_writes_each_transcript_again(task, regime, name, folders):
    check_oracle(TASKS[task](folders[name]), regime)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("regime", REGIMES)
def test_an_oracle_writes_each_transcript_again_with_the_tokens_of_smollm2(task, regime):
    if not (Path(SMOLLM2) / "tokenizer.json").is_file():
        pytest.skip(f"there is no {SMOLLM2}/tokenizer.json; python tools/smollm2.py, or name a folder in SMOLLM2")
    check_oracle(TASKS[task](Path(SMOLLM2)), regime, rows=12, sizes=(2, 16, 64))


@pytest.mark.parametrize("task", ["phonebook", pytest.param("friends", marks=pytest.mark.slow)])
def test_a_task_keeps_all_rules(task, folder):
    verdicts = {verdict.rule: verdict for verdict in report(TASKS[task](folder), [2, 6])}
    assert [name for name, verdict in verdicts.items() if verdict.result != "pass"] == ["processes"]
    assert "the commonest answer is right in 0." in verdicts["chance"].shown


@pytest.mark.parametrize(("regime", "size"), [(regime, size) for regime in REGIMES for size in (2, 40)])
def test_the_answers_follow_from_the_sentences(regime, size, folder):
    """Read by rules of the test's own: regular expressions over the prompt."""
    for task, hops in ((Friends(folder), ["{}'s best friend is (.*)\\.", "{} lives in (.*)\\."]),
                       (Phonebook(folder), ["{}'s number is (.*)\\."])):  # fmt: skip
        answers = Counter()
        for index in range(30):
            dialogue = task.dialogue(3, index, size, regime)
            question = dialogue.prompt.splitlines()[-1]
            assert len(dialogue.prompt.splitlines()) == size * len(hops) + 1
            found = question.split(" does ")[-1].split(" is ")[-1].split("'s")[0]
            for hop in hops:
                found = RegularExpressionRetriever().search(f"(?m)^{hop.format(found)}", dialogue.prompt)
            assert dialogue.answer == found and dialogue.reply.endswith(f"Answer: {found}\n")
            answers[found] += 1
        assert len(answers) > 10


def test_there_are_names_for_thousands_of_people(folder):
    for names in (FIRST_NAMES, SURNAMES, CITIES):
        assert len(set(names)) == len(names) and all(name.isalpha() for name in names)
    many = Friends(folder).draw(np.random.default_rng(0), 5000)
    assert len(set(many.names)) == 5000 and all(friend != at for at, friend in enumerate(many.friends))
    for task, size in ((Friends, 1), (Phonebook, 0), (Friends, MOST_PEOPLE + 1)):
        with pytest.raises(UserError, match=f"size must be . to {MOST_PEOPLE}, got {size}; set data.sizes"):
            task(folder).check_size(size)


def test_a_prompt_begins_with_what_the_tokenizer_puts_there(folders):
    task = Friends(folders["with a first token"])
    found = task.sample(0, np.arange(2), np.full(2, 2), "vanilla")
    assert (found.tokens == task.vocabulary.first[0]).sum(1).tolist() == [1, 1]
    assert found.tokens[:, 0].tolist() == [task.vocabulary.first[0]] * 2


def test_one_limit_of_new_tokens_is_for_all_rows(folder):
    task = Friends(folder)
    data = TranscriptData(task, "retrieval", [2], eval_sizes=[2, 30])
    assert data.max_new_tokens == task.longest_reply(2, "retrieval") * 11 // 10 + 1
    assert isinstance(data.retriever, RegularExpressionRetriever)


def test_a_wrong_an_undecided_and_a_differently_written_answer(folder):
    task = Friends(folder)
    found = task.sample(0, np.arange(4), np.full(4, 3), "vanilla")
    right = [task.answer_texts(found.reply(row))[0] for row in range(4)]
    said = [f"Answer: The {right[0].upper()}.\n", "Answer: Utopia\n", "Answer", f"So.\nAnswer: {right[3]}\n"]
    prompts = [[found.tokens[row, : found.prompt_length[row]]] for row in range(4)]
    talk = task.converse(prompts, task.retriever, right=found)
    for row, text in enumerate(said):
        talk.write(row, task.vocabulary.read(text))
    replies = talk.replies()
    assert replies.answers[:, 0].tolist() == [RIGHT, WRONG, UNDECIDED, RIGHT]
    assert [task.answer_texts(reply)[0] for reply in replies] == [f"The {right[0].upper()}.", "Utopia", None, right[3]]
    shown = [verdict(reply, found.reply(row), task).plain for row, reply in enumerate(replies)]
    assert shown == ["-> 1 of 1 right", f"-> 0 of 1 right (Utopia, not {right[1]})",
                     f"-> 0 of 1 right (undecided, not {right[2]})", "-> 1 of 1 right"]  # fmt: skip


def test_a_prompt_of_ones_own_has_no_right_answer(folder):
    task = Friends(folder)
    talk = task.converse([[task.vocabulary.read_prompt("Anna lives in Oslo.\nWhere?\n")]], task.retriever)
    talk.write(0, task.vocabulary.read("Answer: Oslo\n"))
    (reply,) = talk.replies()
    assert reply.answers == [WRONG] and task.answer_texts(reply) == ["Oslo"]


def test_a_transcript_is_printed_as_text(folder):
    task = Friends(folder)
    found = task.sample(0, np.arange(1), np.full(1, 2), "retrieval")
    dialogue, reply = task.dialogue(0, 0, 2, "retrieval"), found.reply(0)
    first, second, answer = dialogue.reply.split("<EndSearch>")
    friend = second.removeprefix("<StartSearch>").removesuffix(" lives in (\\w+)")
    expected = f"{dialogue.prompt}{first}<EndSearch>[{friend}]\n{second}<EndSearch>[{dialogue.answer}]\n{answer}"
    assert render(reply, task.vocabulary).plain == render(reply, task.vocabulary, collapses=True).plain == expected
    wrong = Reply([*reply.tokens[:-1], *task.vocabulary.read("x" * 9)], reply.author + reply.author[-1:] * 8, [-1], 2)
    text = markdown(wrong, collate(found).reply(0), task)
    assert "**⟦x⟧** (should be **↵**)" in text and f"{friend}\\]  \n&lt;StartSearch&gt;{friend}" in text
    assert "'s best friend" in text and text.endswith(f"right \\(undecided, not {dialogue.answer}\\)")
    assert "x x 8" in text and isinstance(verdict(reply, reply, task), Text)


@pytest.mark.parametrize("suffix", [".npz", ".jsonl"])
def test_samples_are_written_and_read_back(suffix, folder, folders, tmp_path):
    task, path = Friends(folder), tmp_path / f"samples{suffix}"
    stream = SampleStream(task, "cot", [2, 4], 0, "fit")
    batches = [stream.take(np.arange(start, start + 3)) for start in (0, 3)]
    about = {"regime": "cot", "task": describe(task)}
    save_samples(path, task.vocabulary, batches, about)
    data = TranscriptData(task, "cot", [2, 4], train_file=path, batch_size=2)
    row = load_samples(path).take(np.array([4]))
    assert row.reply(0) == batches[1].reply(1) and data.draws_from_file
    assert load_samples(path).manifest["task"]["init_args"]["tokenizer"] == str(folder)
    with pytest.raises(UserError, match="has another vocabulary than data"):
        TranscriptData(Friends(folders["bytes"]), "cot", [2, 4], train_file=path)
    with pytest.raises(UserError, match="form must be ids for a task in text, got words"):
        save_samples(tmp_path / "words.jsonl", task.vocabulary, batches, about, "words")
    assert hash_samples(stream, 4) == hash_samples(SampleStream(Friends(folder), "cot", [2, 4], 0, "fit"), 4)
    others = SampleStream(Friends(folders["bytes"]), "cot", [2, 4], 0, "fit")
    assert hash_samples(stream, 4) != hash_samples(others, 4)


WORDS = AssociativeRecall(num_keys=4, num_values=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda task: Mixture([WORDS, task]), "Mixture needs a task in words, got Friends, which is in text"),
        (lambda task: ReadAgain(task), "ReadAgain needs a task in words, got Friends"),
        (lambda task: TranscriptData(task, retriever=ShortFormRetriever()), "ShortFormRetriever can't search text"),
        (
            lambda task: TranscriptData(task, retriever=FaultyRetriever(retriever=ShortFormRetriever())),
            "FaultyRetriever can't search text",
        ),
        (lambda task: TranscriptData(WORDS, sizes=[4], retriever=PassageRetriever()), "is for tasks in text"),
        (
            lambda task: TranscriptData(WORDS, sizes=[4], retriever=FaultyRetriever(retriever=PassageRetriever())),
            "is for tasks in text",
        ),
        (lambda task: Friends(task.tokenizer, "0" * 64).vocabulary, "must have the sha256 000000000000"),
    ],
)  # fmt: skip
def test_what_needs_words_refuses_text_in_one_line(make, message, folder):
    with pytest.raises(UserError, match=message) as refused:
        make(Friends(folder))
    assert "\n" not in str(refused.value)


class Odd(TextTask):
    """A task whose dialogue is given."""

    def draw(self, rng, size):
        return None

    def write_dialogue(self, problem, regime):
        return Dialogue("How many?\n", self.reply, "7")


class Signed(TextTask):
    """Its answers differ in what HotpotQA's rule leaves out."""

    def draw(self, rng, size):
        return int(rng.integers(2)) * 6 - 3

    def write_dialogue(self, problem, regime):
        asked = f"Which is {problem}?\n"
        search = "<StartSearch>is (\\S+)\\?<EndSearch>" if regime == "retrieval" else ""
        return Dialogue(asked, f"{search}Answer: {problem}\n", str(problem))


class Judged(Signed):
    """The same, with a judge of its own."""

    def judge(self, given, right):
        return given == right


def test_answers_that_the_judge_takes_for_another_break_a_rule(folder):
    (failed,) = [one for one in report(Signed(folder), [1]) if one.result == "FAIL"]
    assert failed.rule == "answers" and "judge must tell answers apart, and takes '-3' for '3'" in failed.shown
    assert not [one for one in report(Judged(folder), [1]) if one.result == "FAIL"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("Answer: 7\n", None),
        ("Answer: 8\n", "with the answer '8'; a reply ends with the line of its answer, '7'"),
        ("Answer: 7", "with the answer None"),
        ("Answer: 7\nSo.\n", "its tokens have the text 'Answer: 7"),
        ("<StartSearch>(a+)+b<EndSearch>Answer: 7\n", None),
    ],
)
def test_a_reply_of_ones_own_task_must_end_with_its_answer(reply, message, folder):
    task = Odd(folder)
    task.reply = reply
    if message is None:
        assert task.sample(0, np.arange(1), np.ones(1, np.int64), "retrieval").answers.tolist() == [[RIGHT]]
    else:
        with pytest.raises(UserError, match=message):
            task.sample(0, np.arange(1), np.ones(1, np.int64), "retrieval")


def test_a_search_that_takes_too_long_is_refused_when_it_is_written(folder):
    class Slow(RegularExpressionRetriever):
        def search(self, pattern, text):
            raise TimeoutError

    task = Odd(folder)
    task.reply, task.retriever = "<StartSearch>(x)<EndSearch>Answer: 7\n", Slow()
    with pytest.raises(UserError, match="a search of Odd took too long in"):
        task.sample(0, np.arange(1), np.ones(1, np.int64), "retrieval")
