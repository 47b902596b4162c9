"""What one attention layer finds with weights that are written down (arXiv:2402.18510, appendix C.2).

A head's score is a sum of products, one of the looking token's registers with one of the other's; `write_attention`
makes a layer of several heads. The softmax is sharp: a token that fits worse by one has exp(-SHARPNESS) of the weight,
which is nothing in float64 for fewer than 10^25 tokens. The paper multiplies by powers of n and rounds instead.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lit_retrieval.constructions.registers import Form, Registers
from lit_retrieval.mixers import Attention

SHARPNESS = 100.0


class Head(NamedTuple):
    """One head of attention.

    Args:
        scores: Pairs of what the looking token reads of itself, and of the token that it looks at; the score is the sum
            of their products.
        copies: Pairs of what is read there, and the register that gets it here.
    """

    scores: list[tuple[Form, Form]]
    copies: list[tuple[Form, str]]


def look_back(lag: int, copies: Sequence[tuple[Form, str]]) -> Head:
    """Copies from the token `lag` before this one (Lemma C.13), by `position` and its `square of position`.

    The score is -(p' - (p - lag))^2, without the part that is the same for all p'.
    """
    scores: list[tuple[Form, Form]] = [
        ({"position": 2.0, "one": -2.0 * lag}, {"position": SHARPNESS}),
        ({"one": -1.0}, {"square of position": SHARPNESS}),
    ]
    return Head(scores, list(copies))


def average(copies: Sequence[tuple[Form, str]]) -> Head:
    """Copies the mean over all tokens so far: every score is 0."""
    return Head([], list(copies))


def match(
    wanted: Sequence[str], offered: Sequence[str], copies: Sequence[tuple[Form, str]], never: Form | None = None
) -> Head:
    """Copies from the token whose registers `offered` are what this one's `wanted` are (Lemma C.15 for one such token).

    Of several tokens that fit, the mean is copied. `square of X` must stand beside each offered X. The score is the sum
    of -(x' - x)^2, without the part that is the same for all tokens.

    Args:
        wanted, offered: Registers with integers.
        copies: Pairs of what is read there, and the register that gets it here.
        never: What makes a token fit worse, by as much as so many mistakes.
    """
    scores: list[tuple[Form, Form]] = []
    for here, there in zip(wanted, offered, strict=True):
        scores.append(({here: 2.0}, {there: SHARPNESS}))
        scores.append(({"one": -1.0}, {f"square of {there}": SHARPNESS}))
    if never is not None:
        scores.append(({"one": -1.0}, {name: SHARPNESS * weight for name, weight in never.items()}))
    return Head(scores, list(copies))


def count(wanted: str, square: str, offered: str, target: str, never: Form) -> Head:
    """1 / (m + 1), where m tokens have `offered` as this one has `wanted` (Lemma C.14).

    `<s>` always fits, by a score of its own that is the others' best, so the mean of `is <s>` is the answer.

    Args:
        wanted: A register with an integer of this token.
        square: The register with its square.
        offered: The register that is compared; 0 at `<s>`.
        target: The register that gets the result.
        never: What makes a token fit worse, by as much as so many mistakes.
    """
    head = match([wanted], [offered], [({"is <s>": 1.0}, target)], never)
    head.scores.append(({square: 1.0}, {"is <s>": SHARPNESS}))
    return head


def match_first(
    wanted: Sequence[str], offered: Sequence[str], copies: Sequence[tuple[Form, str]], longest: int, never: Form
) -> Head:
    """Copies from the first token that fits; from `<s>` if none does (Lemma C.15).

    Besides `position` and the squares of `offered` it reads those of `wanted`; `offered` is 0 at `<s>`. The proof of
    the lemma says that the largest k' wins, where its score, -n k'^2, and the definition have the smallest.

    Args:
        wanted, offered: Registers with integers, as for `match`.
        copies: Pairs of what is read there, and the register that gets it here.
        longest: More than any position.
        never: What makes a token fit worse, by as much as so many mistakes; 0 at `<s>`.
    """
    return _prefer(
        [({"one": -1.0}, {"position": SHARPNESS})], 2.0 * longest, wanted, match(wanted, offered, copies, never)
    )


def match_closest(
    wanted: Sequence[str], offered: Sequence[str], copies: Sequence[tuple[Form, str]], longest: int, never: Form
) -> Head:
    """Copies from the latest token that fits; from `<s>` if none does (Lemma C.16). Arguments as for `match_first`.

    The score is linear in the position. As printed, -n (k - k')^2 against n^(4c+1) for a mistake, it leaves float64's
    whole numbers before n = 64: a context of 5 n words needs c = 2, and 64^9 is 2^54.
    """
    return _prefer(
        [({"one": 1.0}, {"position": SHARPNESS})], 2.0 * longest, wanted, match(wanted, offered, copies, never)
    )


def match_nearest(
    wanted: Sequence[str],
    offered: Sequence[str],
    place: Form,
    copies: Sequence[tuple[Form, str]],
    longest: int,
    never: Form,
) -> Head:
    """Copies from the token that fits and is nearest to a place; from `<s>` if none fits (Lemma C.17).

    Of two that are as near it takes the later, by a quarter of a place that is added; as printed, the two are averaged.
    It needs 400 (longest x)^2 below 2^53, for numbers x in `wanted` and `offered`.

    Args:
        wanted, offered, copies, longest, never: As for `match_first`.
        place: A position, from 0 to `longest - 1`.
    """
    preference: list[tuple[Form, Form]] = [
        ({**{name: 2 * weight for name, weight in place.items()}, "one": 2 * place.get("one", 0.0) + 0.5},
         {"position": SHARPNESS}),
        ({"one": -1.0}, {"square of position": SHARPNESS}),
    ]  # fmt: skip
    return _prefer(preference, 4.0 * longest**2, wanted, match(wanted, offered, copies, never))


def match_next(
    wanted: Sequence[str],
    offered: Sequence[str],
    index: str,
    copies: Sequence[tuple[Form, str]],
    highest: int,
    never: Form,
) -> Head:
    """Copies from the token that fits and comes next by its index, 1 / (m + 1) after 1 / m (Lemma C.18).

    If none has the next index, it is the one whose index is nearest to that; `<s>` if none fits. `square of INDEX` must
    stand beside the index. Of x here and x' there the score is -(x' (1 + x) - x)^2, which is 0 where x' = x / (1 + x).
    The paper approximates that by x - x^2 + x^3, so the next index is right to 1 / m^4 only; its definition has `<s>`
    among the tokens that fit, where its proof puts `<s>` behind them, as here; and at n = 64 its n^7 for a mistake,
    times squares of numbers up to n, is 2^54. This one needs 1000 highest^4 x^2 below 2^53, for numbers x.

    Args:
        wanted, offered, copies, never: As for `match_first`.
        index: A register with 1 / m here and there; 0 at `<s>`.
        highest: More than any m.
    """
    scale = float(highest) ** 4  # the scores of 1 / (m + 1) and 1 / (m + 2) differ by more than 1 / (m + 1)^4
    preference: list[tuple[Form, Form]] = [
        ({"one": -scale, index: -2 * scale, f"square of {index}": -scale}, {f"square of {index}": SHARPNESS}),
        ({index: 2 * scale, f"square of {index}": 2 * scale}, {index: SHARPNESS}),
    ]
    return _prefer(preference, 10 * scale, wanted, match(wanted, offered, copies, never))


def all_but(name: str) -> Form:
    """What makes every token but those with this register, and `<s>`, fit worse."""
    return {"one": 1.0, name: -1.0, "is <s>": -1.0}


def write_attention(registers: Registers, heads: Sequence[Head]) -> Attention:
    """The layer with these heads, without rotary positions; the registers' width is a multiple of their number."""
    layer = Attention(registers.width, 0, len(heads), rope_base=None).to(torch.float64)
    assert all(max(len(head.scores), len(head.copies)) <= layer.head_dim for head in heads), "a head has no more room"
    queries, keys, values = layer.qkv_proj.weight.detach().chunk(3)
    layer.qkv_proj.weight.detach().zero_()
    layer.out_proj.weight.detach().zero_()
    for number, head in enumerate(heads):
        first = number * layer.head_dim
        for place, (here, there) in enumerate(head.scores):
            # Attention divides scores by the root of head_dim.
            queries[first + place] = registers.row(here) * layer.head_dim**0.5
            keys[first + place] = registers.row(there)
        for place, (source, target) in enumerate(head.copies):
            values[first + place] = registers.row(source)
            layer.out_proj.weight.detach()[registers[target], first + place] = 1
    return layer


def _prefer(preference: list[tuple[Form, Form]], stake: float, wanted: Sequence[str], fit: Head) -> Head:
    """The head that takes the best of several tokens that fit, and `<s>` if none does.

    A mistake costs the stake, `<s>` half of it; preferences of tokens and of `<s>` differ by less than that half.
    """
    scores = [({name: stake * weight for name, weight in here.items()}, there) for here, there in fit.scores]
    start: Form = {"one": -stake / 2, **{f"square of {name}": stake for name in wanted}}
    return Head([*scores, (start, {"is <s>": SHARPNESS}), *preference], fit.copies)
