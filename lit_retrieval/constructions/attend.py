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


def write_attention(registers: Registers, heads: Sequence[Head]) -> Attention:
    """The layer with these heads, without rotary positions; the registers' width is a multiple of their number."""
    layer = Attention(registers.width, 0, len(heads), rope_base=None).to(torch.float64)
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
