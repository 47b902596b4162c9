"""A decoded transcript as Markdown, with the first wrong token marked."""

import html
import re

from lit_retrieval.conversation import UNDECIDED, Author, words_with_answers
from lit_retrieval.decoding import Reply
from lit_retrieval.tasks import Task
from lit_retrieval.training.transcript_printer import assemble, verdict
from lit_retrieval.vocabulary import PAD, Vocabulary

_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|])")  # characters with a meaning in TensorBoard's Markdown


def markdown(reply: Reply, right: Reply, task: Task) -> str:
    """The transcript as Markdown: the prompt, and the reply with retrieved tokens in brackets.

    Args:
        reply: The decoded transcript.
        right: The right transcript.
        task: Their task.
    """
    wrong, vocabulary = first_wrong(reply, right), task.vocabulary
    words = [_escape(word) for word in words_with_answers(reply, vocabulary)]
    if wrong is not None:
        place, given, true = wrong
        marked = f"**⟦{_name(given, vocabulary)}⟧** (should be **{_name(true, vocabulary)}**)"
        is_asked = reply.author[place] == Author.ASKED
        words[place] = f"{marked} {_escape(vocabulary.words[reply.tokens[place]])}" if is_asked else marked
    # Two spaces before its end break a line of Markdown.
    shown = assemble(words, reply, vocabulary.separator, "\n\n", ("\\[", "\\]"), "  \n").plain.strip()
    return f"{shown}\n\n{_escape(verdict(reply, right, task).plain)}"


def first_wrong(reply: Reply, right: Reply) -> tuple[int, int, int] | None:
    """The first position where the model wrote another token, or gave another answer, than is right, with both tokens.

    None if all are right. The arguments are those of `markdown`.
    """
    pairs = iter(zip(reply.answers, right.answers, strict=True))
    for place, (token, author) in enumerate(zip(reply.tokens, reply.author, strict=True)):
        if author == Author.ASKED:
            given, true = next(pairs)
        else:
            given, true = token, _at(right.tokens, place) if author == Author.MODEL else token
        if given != true:
            return place, given, true
    return None


def _name(token: int, vocabulary: Vocabulary) -> str:
    return "nothing" if token in (PAD, UNDECIDED) else _escape(vocabulary.text([token]).replace("\n", "↵"))


def _at(right: list[int], position: int) -> int:
    return right[position] if position < len(right) else PAD


def _escape(word: str) -> str:
    return _MARKS.sub(r"\\\1", html.escape(word, quote=False))
