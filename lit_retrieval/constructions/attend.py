"""Attention layers with constructed weights (arXiv:2402.18510, appendix C.2).

The score of a head is a sum of products of two forms, one of the query token and one of the key token.
`write_attention` builds a layer of several heads. The softmax is sharp: a token whose score is lower by one gets
exp(-SHARPNESS) of the weight, which float64 rounds away for fewer than 10^25 tokens. The paper instead multiplies by
powers of n, and rounds.
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
        copies: Pairs of a form that is read at the key token, and the register of the query token that receives it.
    """

    scores: list[tuple[Form, Form]]
    copies: list[tuple[Form, str]]


def look_back(lag: int, copies: Sequence[tuple[Form, str]]) -> Head:
    """Copies from the token `lag` before this one (Lemma C.13), by `position` and its `square of position`.

    The score is -(p' - (p - lag))^2, without the terms that are the same for all p'.
    """
    scores: list[tuple[Form, Form]] = [
        ({"position": 2.0, "one": -2.0 * lag}, {"position": SHARPNESS}),
        ({"one": -1.0}, {"square of position": SHARPNESS}),
    ]
    return Head(scores, list(copies))


def average(copies: Sequence[tuple[Form, str]]) -> Head:
    """Copies the mean over all tokens so far, by a score of 0 everywhere."""
    return Head([], list(copies))


def match(
    wanted: Sequence[str], offered: Sequence[str], copies: Sequence[tuple[Form, str]], never: Form | None = None
) -> Head:
    """Copies from the token whose registers `offered` equal this one's `wanted` (Lemma C.15 for one such token).

    If several tokens match, their mean is copied. `square of X` must be set for each offered X. The score is the sum of
    -(x' - x)^2, without the terms that are the same for all tokens.

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

    `<s>` always matches, with the same score as the best of the others, so the mean of `is <s>` is the result.

    Args:
        wanted: A register with an integer of this token.
        square: The register with its square.
        offered: The register that is compared; 0 at `<s>`.
        target: The register that receives the result.
        never: As for `match`.
    """
    head = match([wanted], [offered], [({"is <s>": 1.0}, target)], never)
    head.scores.append(({square: 1.0}, {"is <s>": SHARPNESS}))
    return head


def answer(
    registers: Registers, kind: str, wanted: Sequence[str], offered: Sequence[str], missing: str
) -> list[nn.Module]:
    """The last two layers of a model that answers at once with the word of a kind at the token that `match` finds.

    Args:
        registers: The registers of the stream.
        kind: The kind of the answer.
        wanted, offered: As for `match`.
        missing: A register that is 1 at tokens from which no answer may be copied.
    """
    return [
        write_attention(registers, [match(wanted, offered, [({"number": 1.0}, "say number")], {missing: 1.0})]),
        write_feed_forward(registers, add({"one": 1.0}, f"say {kind}")),
    ]


def match_first(
    wanted: Sequence[str], offered: Sequence[str], copies: Sequence[tuple[Form, str]], longest: int, never: Form
) -> Head:
    """Copies from the first token that matches; from `<s>` if none does (Lemma C.15).

    It reads `position` and the squares of `offered` and of `wanted`; `offered` is 0 at `<s>`. The proof of the lemma
    says that the largest k' wins, but with its score, -n k'^2, and in the definition, the smallest does. `longest` is
    above every position; the other arguments are those of `match`, and `never` is 0 at `<s>`.
    """
    earlier = [({"one": -1.0}, {"position": SHARPNESS})]
    return _prefer(earlier, 2.0 * longest, wanted, match(wanted, offered, copies, never))


def match_closest(
    wanted: Sequence[str], offered: Sequence[str], copies: Sequence[tuple[Form, str]], longest: int, never: Form
) -> Head:
    """Copies from the latest token that matches; from `<s>` if none does (Lemma C.16). Arguments as for `match_first`.

    The score is linear in the position. The printed score, -n (k - k')^2 against n^(4c+1) for a mismatch, is not exact
    in float64 for n = 64 or more: a context of 5 n words needs c = 2, and 64^9 is 2^54.
    """
    later = [({"one": 1.0}, {"position": SHARPNESS})]
    return _prefer(later, 2.0 * longest, wanted, match(wanted, offered, copies, never))


def all_but(name: str) -> Form:
    """The penalty `never` for all tokens except `<s>` and those whose register `name` is 1."""
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
    """A head that selects the preferred one of several matching tokens, or `<s>` if none matches.

    A mismatch costs the stake, `<s>` costs half of it, and preferences differ by less than that half.
    """
    scores = [({name: stake * weight for name, weight in here.items()}, there) for here, there in fit.scores]
    start: Form = {"one": -stake / 2, **{f"square of {name}": stake for name in wanted}}
    return Head([*scores, (start, {"is <s>": SHARPNESS}), *preference], fit.copies)
