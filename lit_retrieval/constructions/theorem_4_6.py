"""Theorem 4.6: Transformers of constant size, which answer at once.

Each model is a feed-forward layer and one or two Transformer blocks; positions come from its embedding.
"""

from lit_retrieval.constructions.attend import answer, average, count, look_back, write_attention
from lit_retrieval.constructions.feed_forward import add, compare_share, squares, where, write_feed_forward
from lit_retrieval.constructions.linear_unit import ago
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Registers
from lit_retrieval.vocabulary import Vocabulary

_POSITION = ("position", "square of position")


def index(vocabulary: Vocabulary) -> ConstructedModel:
    """Index: attention finds the word at the position asked for (Lemma C.15)."""
    registers = Registers([*_POSITION, "is w", "no word", "say w", "say number"])
    mixers = [
        write_feed_forward(registers, [*squares("position"), *where(["not is w"], {"one": 1.0}, "no word")]),
        *answer(registers, "w", ["number"], ["position"], "no word"),
    ]
    return ConstructedModel(vocabulary, registers, mixers)


def associative_recall(vocabulary: Vocabulary) -> ConstructedModel:
    """Associative recall: one layer copies the word before (Lemma C.13), the next finds the value after the key."""
    key, after_key = ago("number", 1), ago("is k", 1)
    registers = Registers(
        [*_POSITION, "is k", "is v", key, after_key, "no pair", f"square of {key}", "say v", "say number"]
    )  # fmt: skip
    mixers = [
        write_feed_forward(registers, squares("position")),
        write_attention(registers, [look_back(1, [({"number": 1.0}, key), ({"is k": 1.0}, after_key)])]),
        write_feed_forward(registers, [
            *squares(key), *add({"one": 1.0}, "no pair"), *where(["is v", after_key], {"one": -1.0}, "no pair"),
        ]),
        *answer(registers, "v", ["number"], [key], "no pair"),
    ]  # fmt: skip
    return ConstructedModel(vocabulary, registers, mixers)


def ngram_retrieval(vocabulary: Vocabulary, ngram_size: int = 3) -> ConstructedModel:
    """c-gram retrieval: one layer copies the last c - 1 words, one a head, the next finds where they were before."""
    lags = ngram_size - 1
    before, here = ([ago("number", lag + first) for lag in range(lags)] for first in (1, 0))
    squared = [f"square of {name}" for name in before]
    registers = Registers([*_POSITION, "is w", "no word", *before, *squared, "say w", "say number"], 2 * lags)
    mixers = [
        write_feed_forward(registers, squares("position")),
        write_attention(
            registers, [look_back(lag, [({"number": 1.0}, ago("number", lag))]) for lag in range(1, lags + 1)]
        ),
        write_feed_forward(registers, [*squares(*before), *where(["not is w"], {"one": 1.0}, "no word")]),
        *answer(registers, "w", here, before, "no word"),
    ]
    return ConstructedModel(vocabulary, registers, mixers)


def counting(vocabulary: Vocabulary) -> ConstructedModel:
    """Counting: one layer copies the word before and sees the `?`, the next counts up to it (Lemma C.14)."""
    word = ago("number", 1)
    registers = Registers(
        [*_POSITION, "is <s>", "is ?", "share of ?", word, "square of number", f"square of {word}", "share",
         "say YES", "say NO"], 4
    )  # fmt: skip
    behind = {"share of ?": float(len(vocabulary))}  # at least 1: the vocabulary has more numerals than the list
    mixers = [
        write_feed_forward(registers, squares("position", "number")),
        write_attention(registers, [look_back(1, [({"number": 1.0}, word)]), average([({"is ?": 1.0}, "share of ?")])]),
        write_feed_forward(registers, squares(word)),
        write_attention(registers, [count(word, f"square of {word}", "number", "share", behind)]),
        write_feed_forward(registers, compare_share("share", len(vocabulary))),
    ]
    return ConstructedModel(vocabulary, registers, mixers)
