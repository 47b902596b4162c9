"""A decoded transcript as Markdown, with the first wrong token marked."""

import html
import re

from lit_retrieval.conversation import Author, spans
from lit_retrieval.decoding import Reply
from lit_retrieval.training.transcript_printer import collapse, phrases, verdict
from lit_retrieval.vocabulary import PAD, Vocabulary

_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|])")  # characters with a meaning in TensorBoard's Markdown


def markdown(reply: Reply, right: list[int], answers: list[int], vocabulary: Vocabulary) -> str:
    """The transcript as Markdown: the prompt, and the reply with retrieved tokens in brackets.

    Args:
        reply: The decoded transcript.
        right: The right transcript, token ids `(time,)`; PAD after its end.
        answers: The right answers.
        vocabulary: The words of the token ids.
    """
    wrong = first_wrong(reply, right)
    parts = []
    for span in spans(reply.author):
        words = [_escape(word) for word in vocabulary.decode(reply.tokens[span.start : span.stop])]
        if wrong is not None and span.start <= wrong < span.stop:
            true = "nothing" if _at(right, wrong) == PAD else _escape(vocabulary.words[_at(right, wrong)])
            words[wrong - span.start] = f"**⟦{words[wrong - span.start]}⟧** (should be **{true}**)"
        end = "\n\n" if span.author == Author.PROMPT else " "
        parts.append(span.mark(" ".join(collapse(words)), "\\[", "\\]") + end)
    runs = (("".join(phrase), count) for phrase, count in phrases(parts))
    shown = (text if count == 1 else f"({text.rstrip()}) x {count} " for text, count in runs)
    return f"{''.join(shown).strip()}\n\n{_escape(verdict(reply.answers, answers, vocabulary).plain)}"


def first_wrong(reply: Reply, right: list[int]) -> int | None:
    """The position of the model's first token that differs from the right transcript; None if there is none."""
    for position, (token, author) in enumerate(zip(reply.tokens, reply.author, strict=True)):
        if author == Author.MODEL and token != _at(right, position):
            return position
    return None


def _at(right: list[int], position: int) -> int:
    return right[position] if position < len(right) else PAD


def _escape(word: str) -> str:
    return _MARKS.sub(r"\\\1", html.escape(word))
