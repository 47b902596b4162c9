"""Attention layers with constructed weights, and what they find (arXiv:2402.18510, appendix C.2).

A head's score is a sum of products of a form of the query token and one of the key token; `write_attention` makes a
layer of several heads. The softmax is sharp: a token whose score is lower by one has exp(-SHARPNESS) of the weight,
which float64 rounds away for fewer than 10^25 tokens. The paper multiplies by powers of n and rounds instead.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from lit_retrieval.constructions.feed_forward import add, write_feed_forward
from lit_retrieval.constructions.registers import Form, Registers
from lit_retrieval.mixers import Attention

SHARPNESS = 100.0


class Head(NamedTuple):
    """One head of attention.

    Args:
        scores: Pairs of a form of the query token and one of the key token; the score is the sum of their products.
        copies: Pairs of a form that is read at the key token, and the register of the query token that gets it.
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
    """Copies from the token whose registers `offered` equal this one's `wanted` (Lemma C.15 for one such token).

    Of several tokens that match, the mean is copied. `square of X` must be filled in for each offered X. The score is
    the sum of -(x' - x)^2, without the part that is the same for all tokens.

    Args:
        wanted, offered: Registers with integers.
        copies: As for `Head`.
        never: A penalty of the key token, in mismatches.
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

    `<s>` always matches, with a score equal to the best of the others, so the mean of `is <s>` is the answer.

    Args:
        wanted: A register with an integer of this token.
        square: The register with its square.
        offered: The register that is compared; 0 at `<s>`.
        target: The register that gets the result.
        never: As for `match`.
    """
    head = match([wanted], [offered], [({"is <s>": 1.0}, target)], never)
    head.scores.append(({square: 1.0}, {"is <s>": SHARPNESS}))
    return head


def answer(
    registers: Registers, kind: str, wanted: Sequence[str], offered: Sequence[str], missing: str
) -> list[nn.Module]:
    """The last two layers of a model that answers at once: with the word of a kind at the token that `match` finds.

    Args:
        registers: The registers of the stream.
        kind: The kind of the answer.
        wanted, offered: As for `match`.
        missing: A register that is 1 at a token of which no answer is to be copied.
    """
    return [
        write_attention(registers, [match(wanted, offered, [({"number": 1.0}, "say number")], {missing: 1.0})]),
        write_feed_forward(registers, add({"one": 1.0}, f"say {kind}")),
    ]


def match_first(
    wanted: Sequence[str], offered: Sequence[str], copies: Sequence[tuple[Form, str]], longest: int, never: Form
) -> Head:
    """Copies from the first token that matches; from `<s>` if none does (Lemma C.15).

    Besides `position` and the squares of `offered` it reads those of `wanted`; `offered` is 0 at `<s>`. The proof of
    the lemma says that the largest k' wins, where its score, -n k'^2, and the definition have the smallest. `longest`
    is above every position; the other arguments are those of `match`, and `never` is 0 at `<s>`.
    """
    earlier = [({"one": -1.0}, {"position": SHARPNESS})]
    return _prefer(earlier, 2.0 * longest, wanted, match(wanted, offered, copies, never))


def match_closest(
    wanted: Sequence[str], offered: Sequence[str], copies: Sequence[tuple[Form, str]], longest: int, never: Form
) -> Head:
    """Copies from the latest token that matches; from `<s>` if none does (Lemma C.16). Arguments as for `match_first`.

    The score is linear in the position. As printed, -n (k - k')^2 against n^(4c+1) for a mismatch, it is not exact in
    float64 from n = 64 on: a context of 5 n words needs c = 2, and 64^9 is 2^54.
    """
    later = [({"one": 1.0}, {"position": SHARPNESS})]
    return _prefer(later, 2.0 * longest, wanted, match(wanted, offered, copies, never))


def all_but(name: str) -> Form:
    """The penalty `never` for all tokens but `<s>` and those whose register `name` is 1."""
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
    """A head that takes the preferred of several tokens that match, and `<s>` if none does.

    A mismatch costs the stake, `<s>` half of it; preferences of tokens and of `<s>` differ by less than that half.
    """
    scores = [({name: stake * weight for name, weight in here.items()}, there) for here, there in fit.scores]
    start: Form = {"one": -stake / 2, **{f"square of {name}": stake for name in wanted}}
    return Head([*scores, (start, {"is <s>": SHARPNESS}), *preference], fit.copies)
