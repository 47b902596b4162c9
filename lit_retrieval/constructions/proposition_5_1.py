"""Proposition 5.1: the best that an RNN can do for Index if associative recall is its only search.

In a separated code, every second word is w3. Associative recall then finds only the word after the first w3, w3 itself,
or a word that the RNN has written: one bit of the code. So the RNN must remember the other bits (`tests/streaming.py`).
"""

from lit_retrieval.constructions.feed_forward import choose, say, write_feed_forward
from lit_retrieval.constructions.linear_unit import ago, remember, remembered
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Form, Registers
from lit_retrieval.vocabulary import Vocabulary

_SEARCHED = 6  # tokens from the `?` to the word that was found


def index(vocabulary: Vocabulary, kept: int) -> ConstructedModel:
    """Index on a separated code: `? k <StartSearch> w3 <EndSearch> [word]`, and the answer.

    It keeps the last words of the list, and answers questions about these. To other questions it answers with the word
    that it has found, which is right at the third position.

    Args:
        vocabulary: The words.
        kept: The number of words that it keeps.
    """
    reach = _SEARCHED + kept - 1
    registers = Registers(
        ["is ?", "is w", "sum of is w", "kept", "say w", "say <StartSearch>", "say <EndSearch>", "say number",
         *remembered(["is ?", "number"], reach)]
    )  # fmt: skip
    # From the position asked for to the end of the list; the w3 and, if it is a word, what was found have followed it.
    from_end: Form = {"sum of is w": 1.0, "one": -1.0, "is w": -1.0, ago("number", 4): -1.0}
    recall = [
        unit
        for place in range(kept)
        for unit in choose(from_end, place, {ago("number", _SEARCHED + place): 1.0, "number": -1.0}, "kept")
    ]
    write = [
        *say([ago("is ?", 1)], "<StartSearch>"),
        *say([ago("is ?", 2)], "w", {"one": 3.0}),
        *say([ago("is ?", 3)], "<EndSearch>"),
        *say([ago("is ?", 5)], "w", {"number": 1.0, "kept": 1.0}),
    ]
    mixers = [
        remember(registers, ["is ?", "number"], reach, sums=["is w"]),
        write_feed_forward(registers, recall),
        write_feed_forward(registers, write),
    ]
    return ConstructedModel(vocabulary, registers, mixers)
