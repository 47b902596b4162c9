"""Theorem 5.2: a linear RNN of constant size that answers with one search in its context."""

from collections.abc import Sequence
from typing import NamedTuple

from lit_retrieval.constructions.feed_forward import say, write_feed_forward
from lit_retrieval.constructions.linear_unit import ago, remember, remembered
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Form, Registers
from lit_retrieval.vocabulary import Vocabulary


class Copied(NamedTuple):
    """A word of the query with the number of a word of the question.

    Args:
        kind: The kind of the word (k for k5).
        from_end: Index of the word of the question, counted from 0 at its last.
        plus: A constant that is added to the number.
    """

    kind: str
    from_end: int
    plus: int = 0


class Answer(NamedTuple):
    """The answer that is written after the search.

    Args:
        kind: The kind of the answer; its number is that of the word that was found.
        found: The kind of the found word for which this answer is written; any kind if absent.
    """

    kind: str
    found: str | None = None


def index(vocabulary: Vocabulary) -> ConstructedModel:
    r"""Index: `^(?:\S+\s+){ k }(\S+)`, and the word that it finds."""
    return _search_once(vocabulary, 1, [r"^(?:\S+\s+){", Copied("numeral", 0), r"}(\S+)"], [Answer("w")])


def associative_recall(vocabulary: Vocabulary) -> ConstructedModel:
    r"""Associative recall of one key: `(?<!\S) k \s+(\S+)`, and the value that it finds."""
    return _search_once(vocabulary, 1, [r"(?<!\S)", Copied("k", 0), r"\s+(\S+)"], [Answer("v")])


def ngram_retrieval(vocabulary: Vocabulary, ngram_size: int = 3) -> ConstructedModel:
    r"""c-gram retrieval: `(?<!\S) q_1 \s+ ... q_{c-1} \s+(\S+)`, and the word that it finds."""
    last = ngram_size - 2
    words = [piece for place in range(last, -1, -1) for piece in (Copied("w", place), r"\s+")]
    return _search_once(vocabulary, ngram_size - 1, [r"(?<!\S)", *words[:-1], r"\s+(\S+)"], [Answer("w")])


def counting(vocabulary: Vocabulary) -> ConstructedModel:
    r"""Counting: `^(?>.*?(?<!\S)( q )(?!\S)){ t + 1 }(?=.*\s\?)`, YES if it finds something and NO if not.

    The query has t + 1, so the largest t is one less than the vocabulary's last numeral; the task's t is below the n of
    the list.
    """
    query: list[str | Copied] = [
        r"^(?>.*?(?<!\S)(", Copied("numeral", 1), r")(?!\S)){", Copied("numeral", 0, plus=1), r"}(?=.*\s\?)",
    ]  # fmt: skip
    return _search_once(vocabulary, 2, query, [Answer("YES", "numeral"), Answer("NO", "FAILED")])


def _search_once(
    vocabulary: Vocabulary, question: int, query: Sequence[str | Copied], answers: Sequence[Answer]
) -> ConstructedModel:
    """The model that writes a query after a question of this many words, and then an answer.

    The distance back to the `?` determines what comes next. The linear unit keeps the last words (Lemma C.20), and the
    feed-forward layer recites the query (Lemma C.23).
    """
    said = ["<StartSearch>", *query, "<EndSearch>"]
    reach = question + len(said) + 1  # distance back to the `?` when the answer is due
    kinds = [word.kind if isinstance(word, Copied) else word for word in said] + [answer.kind for answer in answers]
    registers = Registers(
        ["is ?", *(f"is {answer.found}" for answer in answers if answer.found), "say number",
         *(f"say {kind}" for kind in kinds), *remembered(["is ?", "number"], reach)]
    )  # fmt: skip
    units = []
    for place, word in enumerate(said):
        now = ago("is ?", question + place)
        if isinstance(word, Copied):
            number: Form = {ago("number", place + word.from_end): 1.0, "one": float(word.plus)}
            units += say([now], word.kind, number)
        else:
            units += say([now], word)
    for answer in answers:
        conditions = [ago("is ?", reach), *([f"is {answer.found}"] if answer.found else [])]
        units += say(conditions, answer.kind, None if answer.found else {"number": 1.0})
    linear_unit = remember(registers, ["is ?", "number"], reach)
    return ConstructedModel(vocabulary, registers, [linear_unit, write_feed_forward(registers, units)])
