"""Expressions modulo a number against Python's own arithmetic, and equations against all digits."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Author, ModularArithmetic

FORMS = ["flat", "brackets", "equation"]
SAMPLES = pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])


def value_of(tokens, modulus, x=0):
    """What Python makes of an expression."""
    return eval(" ".join(str(x) if token == "x" else token for token in tokens)) % modulus


def brackets_of(tokens):
    """The start and stop of every bracket, in the order in which they close."""
    opened, found = [], []
    for at, token in enumerate(tokens):
        if token == "(":
            opened.append(at)
        elif token == ")":
            found.append((opened.pop(), at + 1))
    return found


def side_with_x(tokens):
    """The operand with x of a bracket; None if it has no operator of two operands."""
    inner, depth = tokens[1:-1], 0
    for at, token in enumerate(inner):
        depth += (token == "(") - (token == ")")
        if depth == 0 and at > 0 and token in "+-*":
            return next(side for side in (inner[:at], inner[at + 1 :]) if "x" in side)
    return None


def solve(tokens, modulus):
    """The steps and the answer; of an equation the one digit that fits."""
    if "=" in tokens:
        tokens, value = tokens[: tokens.index("=")], int(tokens[-1])
        (answer,) = (x for x in range(modulus) if value_of(tokens, modulus, x) == value)
    else:
        answer = value_of(tokens, modulus)
    parts = [tokens[start:stop] for start, stop in brackets_of(tokens)]
    steps = [value_of(part, modulus) for part in parts if "x" not in part]
    sides = [side_with_x(part) for part in parts[::-1] if "x" in part]
    return [*steps, *(value_of(side, modulus, answer) for side in sides if side)], answer


def solve_flat(tokens, modulus):
    """For each digit the value of the terms before its own, and its own, and the value of all."""
    steps = []
    for stop in (at + 1 for at, token in enumerate(tokens) if token.isdigit()):
        start = max([at for at, token in enumerate(tokens[:stop]) if token in "+-"], default=0)
        steps += [value_of(tokens[:start] or ["0"], modulus), value_of(tokens[start:stop], modulus)]
    return steps, value_of(tokens, modulus)


def expected_reply(prompt, regime, form="brackets", modulus=5):
    steps, answer = (solve_flat if form == "flat" else solve)(prompt[1:-1], modulus)
    yield from ((f"v{step}", Author.MODEL) for step in steps if regime == "cot")
    yield f"={answer}", Author.MODEL


@SAMPLES
@pytest.mark.parametrize("regime", ["vanilla", "cot"])
@pytest.mark.parametrize(("form", "operators"), [("flat", "+-*"), ("flat", "+-"), ("brackets", "+-"),
                                                 ("brackets", "+-*"), ("equation", "+-")])  # fmt: skip
def test_transcripts_are_right(form, operators, regime, count):
    task, sizes = ModularArithmetic(form, 7, operators), np.resize([3, 4, 5, 6, 8, 31], count)
    transcripts = task.sample(2, np.arange(count), sizes, regime)
    seen = set()
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        assert prompt[0] == "<s>" and prompt[-1] == "?" and len(prompt) == sizes[row] + 2
        assert reply == list(expected_reply(prompt, regime, form, 7))
        assert task.vocabulary.decode(transcripts.answers_of(row)) == [reply[-1][0]]
        seen |= set(prompt[1:-1])
    signs = {"flat": [], "brackets": ["(", ")"], "equation": ["(", ")", "x", "="]}[form]
    assert seen == {*operators, *map(str, range(7)), *signs}


def test_expressions_are_split_and_drawn_as_in_the_paper():
    task = ModularArithmetic(operators="+-*")
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 9), "vanilla")
    lefts, operators = [], []
    for prompt, _ in read_all(transcripts, task):
        depths = np.cumsum([(token == "(") - (token == ")") for token in prompt])
        is_operand_before = [token.isdigit() or token == ")" for token in prompt]
        (at,) = (at for at in range(2, 10) if depths[at] == 1 and prompt[at] in "+-*" and is_operand_before[at - 1])
        lefts.append(at - 2)
        operators.append(prompt[at])
    for drawn, count in ((lefts, 5), (operators, 3)):
        shares = np.unique(drawn, return_counts=True)[1] / 20_000
        assert len(shares) == count and abs(shares - 1 / count).max() < 0.02


def test_every_digit_of_an_equation_is_the_unknown_alike():
    task = ModularArithmetic("equation")
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 11), "vanilla")
    places = [
        [token for token in prompt[:-2] if token.isdigit() or token == "x"] for prompt, _ in read_all(transcripts, task)
    ]
    places = [digits.index("x") for digits in places if len(digits) == 3]
    shares = np.unique(places, return_counts=True)[1] / len(places)
    assert len(shares) == 3 and abs(shares - 1 / 3).max() < 0.02


@pytest.mark.parametrize("regime", ["vanilla", "cot"])
@pytest.mark.parametrize("form", FORMS)
def test_replies_reach_their_bounds(form, regime):
    task = ModularArithmetic(form)
    for size in (3, 8, 9, 15):
        assert check_bounds(task, size, regime).max() <= task.longest_reply(size, regime)
    assert check_bounds(task, 3 if form == "equation" else 1, regime).min() == task.shortest_reply(regime)
    if form == "brackets":  # of 9 tokens these have the most brackets: ((d)+(d))
        assert check_bounds(task, 9, regime).max() == task.longest_reply(9, regime)


def test_the_samples_in_the_docstring_are_right():
    check_docstring(ModularArithmetic, expected_reply)
    text = " ".join(ModularArithmetic.__doc__.split())
    for form, expression in (("flat", "2 - 4 * 3"), ("equation", "( ( x - 1 ) + ( 2 + 2 ) ) = 1")):
        steps, answer = text.split(f"`{expression}`")[1].split("`")[1:4:2]
        reply = [word for word, _ in expected_reply(["<s>", *expression.split(), "?"], "cot", form)]
        assert reply == [*steps.split(), answer]


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="form must be flat or brackets or equation, got 'deep'"):
        ModularArithmetic("deep")
    with pytest.raises(UserError, match=r"operators must be .*, got '/'"):
        ModularArithmetic(operators="/")
    with pytest.raises(UserError, match=r"operators of an equation must be '\+-', got '\+-\*'"):
        ModularArithmetic("equation", operators="+-*")
    with pytest.raises(UserError, match=r"size must be 3 or more, got 2; set data.sizes"):
        ModularArithmetic("equation").check_size(2)
    with pytest.raises(UserError, match="modulus must be 2 or more, got 1"):
        ModularArithmetic(modulus=1)
