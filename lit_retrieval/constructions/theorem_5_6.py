"""Theorem 5.6: linear RNNs of constant size with one Transformer layer on top, which answer at once.

Each model is one RNN block, a linear unit and a feed-forward layer, and one Transformer block.
"""

from lit_retrieval.constructions.attend import answer, count, write_attention
from lit_retrieval.constructions.feed_forward import add, compare_share, square, squares, where, write_feed_forward
from lit_retrieval.constructions.linear_unit import ago, remember, remembered
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Registers
from lit_retrieval.vocabulary import Vocabulary


def index(vocabulary: Vocabulary) -> ConstructedModel:
    """Index: the RNN counts positions (Lemma C.21), the attention layer finds the one asked for (Lemma C.15)."""
    registers = Registers(["is w", "no word", "sum of one", "place", "square of place", "say w", "say number"])
    place = {"sum of one": 1.0, "one": -1.0}
    mixers = [
        remember(registers, [], 0, sums=["one"]),
        write_feed_forward(registers, [
            *add(place, "place"), *square(place, "square of place"), *where(["not is w"], {"one": 1.0}, "no word"),
        ]),
        *answer(registers, "w", ["number"], ["place"], "no word"),
    ]  # fmt: skip
    return ConstructedModel(vocabulary, registers, mixers)


def associative_recall(vocabulary: Vocabulary) -> ConstructedModel:
    """Associative recall: the RNN keeps the word before, the attention layer finds the value after the key."""
    key, is_pair = ago("number", 1), ["is v", ago("is k", 1)]
    registers = Registers(
        ["is k", "is v", "no pair", f"square of {key}", "say v", "say number", *remembered(["is k", "number"], 1)]
    )
    mixers = [
        remember(registers, ["is k", "number"], 1),
        write_feed_forward(registers, [
            *squares(key), *add({"one": 1.0}, "no pair"), *where(is_pair, {"one": -1.0}, "no pair"),
        ]),
        *answer(registers, "v", ["number"], [key], "no pair"),
    ]  # fmt: skip
    return ConstructedModel(vocabulary, registers, mixers)


def ngram_retrieval(vocabulary: Vocabulary, ngram_size: int = 3) -> ConstructedModel:
    """c-gram retrieval: the RNN keeps the last c - 1 words, the attention layer finds where they were before."""
    lags = ngram_size - 1
    before, here = ([ago("number", lag + first) for lag in range(lags)] for first in (1, 0))
    squared = [f"square of {name}" for name in before]
    registers = Registers(["is w", "no word", *squared, "say w", "say number", *remembered(["number"], lags)])
    mixers = [
        remember(registers, ["number"], lags),
        write_feed_forward(registers, [*squares(*before), *where(["not is w"], {"one": 1.0}, "no word")]),
        *answer(registers, "w", here, before, "no word"),
    ]
    return ConstructedModel(vocabulary, registers, mixers)


def counting(vocabulary: Vocabulary) -> ConstructedModel:
    """Counting: the RNN keeps the word before, the attention layer counts it up to the `?` (Lemma C.14)."""
    word = ago("number", 1)
    registers = Registers([
        "is <s>", "is ?", "sum of is ?", "square of number", f"square of {word}", "share", "say YES", "say NO",
        *remembered(["number"], 1),
    ])  # fmt: skip
    mixers = [
        remember(registers, ["number"], 1, sums=["is ?"]),
        write_feed_forward(registers, squares("number", word)),
        write_attention(registers, [count(word, f"square of {word}", "number", "share", {"sum of is ?": 1.0})]),
        write_feed_forward(registers, compare_share("share", len(vocabulary))),
    ]
    return ConstructedModel(vocabulary, registers, mixers)
