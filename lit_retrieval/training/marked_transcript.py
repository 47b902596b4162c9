"""A decoded transcript as Markdown, with the first word marked that should have been another."""

import html
import re

from lit_retrieval.conversation import Author, spans
from lit_retrieval.decoding import Reply
from lit_retrieval.training.transcript_printer import verdict
from lit_retrieval.vocabulary import PAD, Vocabulary

_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|])")  # what the Markdown of TensorBoard would take for its own


def markdown(reply: Reply, right: list[int], answers: list[int], vocabulary: Vocabulary) -> str:
    """The prompt, what the model wrote, and what it retrieved in brackets.

    Args:
        reply: What was decoded.
        right: The true transcript, ids `(time,)`; PAD after its end.
        answers: The true answers.
        vocabulary: The words behind the ids.
    """
    wrong = first_wrong(reply, right)
    lines = []
    for span in spans(reply.author):
        words = [_escape(word) for word in vocabulary.decode(reply.tokens[span.start : span.stop])]
        if wrong is not None and span.start <= wrong < span.stop:
            true = "nothing" if _at(right, wrong) == PAD else _escape(vocabulary.words[_at(right, wrong)])
            words[wrong - span.start] = f"**⟦{words[wrong - span.start]}⟧** (should be **{true}**)"
        lines.append(span.mark(" ".join(words), "\\[", "\\]"))
        lines.append("\n\n" if span.author == Author.PROMPT else " ")
    return f"{''.join(lines).strip()}\n\n{_escape(verdict(reply.answers, answers, vocabulary).plain)}"


def first_wrong(reply: Reply, right: list[int]) -> int | None:
    """The place of the first word of the model's that is another in the true transcript; None if there is none."""
    for place, (token, author) in enumerate(zip(reply.tokens, reply.author, strict=True)):
        if author == Author.MODEL and token != _at(right, place):
            return place
    return None


def _at(right: list[int], place: int) -> int:
    return right[place] if place < len(right) else PAD


def _escape(word: str) -> str:
    return _MARKS.sub(r"\\\1", html.escape(word))
