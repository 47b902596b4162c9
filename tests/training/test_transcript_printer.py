from types import SimpleNamespace

import numpy as np
from rich import get_console

from lit_retrieval.decoding import UNDECIDED, Reply
from lit_retrieval.tasks import AssociativeRecall, Author
from lit_retrieval.training import SequenceModule, TranscriptPrinter
from lit_retrieval.training.marked_transcript import markdown
from lit_retrieval.training.transcript_printer import collapse, phrases, render, verdict

TASK = AssociativeRecall(num_keys=4, num_values=4)


def test_retrieved_words_stand_in_brackets():
    transcripts = TASK.sample(0, np.arange(1), np.full(1, 4), "retrieval")
    author = [Author(by) for by in transcripts.author[0]]
    reply = Reply(transcripts.tokens[0].tolist(), author, transcripts.answers[0].tolist(), 1)
    words = TASK.vocabulary.decode(reply.tokens)
    expected = f"{' '.join(words[:7])}\n{' '.join(words[7:10])} [{words[10]}] {words[11]} "
    assert author[10] == Author.RETRIEVER
    assert render(reply, TASK.vocabulary).plain == expected


def test_the_verdict_says_what_a_wrong_answer_should_have_been():
    v1, v2 = TASK.vocabulary.encode(["v1", "v2"]).tolist()
    right = Reply([], [], [v1, v2], 0)
    assert verdict(right, right, TASK).plain == "-> 2 of 2 right"
    said = verdict(right._replace(answers=[UNDECIDED, v1]), right, TASK).plain
    assert said == "-> 0 of 2 right (undecided, not v1; v1, not v2)"


def test_repeated_words_are_counted():
    words = ["<s>", "1", "1", "1", *["<StartSearch>"] * 270, "?"]
    assert collapse(words) == ["<s>", "1", "1", "1", "<StartSearch> x 270", "?"]
    endless = TASK.vocabulary.encode(["v1"]).tolist() * 9
    reply = Reply(endless, [Author.MODEL] * 9, [], 0)
    assert render(reply, TASK.vocabulary, collapses=True).plain == "v1 x 9 "
    assert render(reply, TASK.vocabulary).plain == "v1 " * 9


def test_repeated_phrases_of_model_and_retriever_are_counted():
    v1, v2, v3 = TASK.vocabulary.encode(["v1", "v2", "v3"]).tolist()
    author = [Author.PROMPT, *[Author.RETRIEVER, Author.MODEL, Author.MODEL] * 66, Author.RETRIEVER]
    reply = Reply([v1, *[v1, v2, v3] * 66, v2], author, [], 0)
    assert render(reply, TASK.vocabulary, collapses=True).plain == "v1\n([v1] v2 v3) x 66 [v2] "
    assert markdown(reply, reply, TASK).startswith("v1\n\n(\\[v1\\] v2 v3) x 66 \\[v2\\]")
    few = Reply(reply.tokens[:10], author[:10], [], 0)
    assert render(few, TASK.vocabulary, collapses=True).plain == render(few, TASK.vocabulary).plain


def test_a_repeated_phrase_of_a_text_is_printed_after_what_comes_before_it():
    pieces = ("Who?\n", "Ann\n", " or ")
    texts = SimpleNamespace(separator="", decode=lambda tokens: [pieces[token] for token in tokens])
    reply = Reply([0, *[2, 1] * 9], [Author.PROMPT, *[Author.MODEL, Author.RETRIEVER] * 9], [], 0)
    assert render(reply, texts, collapses=True).plain == "Who?\n( or [Ann]) x 9 "


def test_phrases_are_the_parts_again():
    drawn = np.random.default_rng(0)
    for _ in range(50):
        times = drawn.integers(1, 7, 30)
        parts = [part for count in times for part in drawn.integers(0, 3, drawn.integers(1, 10)).tolist() * count]
        found = list(phrases(parts))
        assert [part for phrase, count in found for part in [*phrase] * count] == parts
        assert all(count == 1 or count > 3 for _, count in found) and any(count > 1 for _, count in found)


def test_it_prints_on_the_console_of_the_progress_bar():
    """A live bar is on the console that rich shares, and moves down for what is printed there."""
    words = TASK.vocabulary.encode(["v1", "v2"]).tolist()
    module = object.__new__(type("WithData", (SequenceModule,), {"data": SimpleNamespace(task=TASK)}))
    reply = Reply(words, [Author.PROMPT, Author.MODEL], words[:1], 0)
    batch = SimpleNamespace(reply=lambda row: reply)
    with get_console().capture() as capture:
        TranscriptPrinter().on_predict_batch_end(None, module, [reply], batch, 0)
    assert capture.get().split() == ["v1", "v2", "->", "1", "of", "1", "right"]
