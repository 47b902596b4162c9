"""The value of an arithmetic expression modulo a number, or the unknown of an equation."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least, check_choice, check_numbers
from lit_retrieval.tasks.random import Counts, Stream, draw_below, open_stream
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, START, Ids, Vocabulary
from lit_retrieval.vocabulary import PARENT as MINUS

Form = Literal["flat", "brackets", "equation"]
Operators = Literal["+-", "+-*"]
_SIGNS = ("+", "*", "(", ")", "x", "=")  # after the digits; `-` is a special word
_PLUS, _TIMES, _OPENING, _CLOSING, _UNKNOWN, _EQUALS = range(len(_SIGNS))
_NUM_SIGNS = {"flat": 2, "brackets": 4, "equation": 6}
_NONE = 0


class ModularArithmetic(Task):
    """An expression of digits below a modulus: say its value. (Deletang et al. 2022, arXiv:2207.02098, appendix A.)

    Modular arithmetic without brackets (`flat`) is a regular task. With brackets (`brackets`) it is context-free, and
    so is solving an equation for x (`equation`). A model may answer at once (`vanilla`) or write intermediate values
    first (`cot`). Every token is needed once, in the order of the prompt, so there is nothing to search for and no
    `retrieval`. A sample of `brackets` of size 9::

        prompt:  <s> ( 2 - ( 4 + 3 ) ) ?
        vanilla: =0
        cot:     v2 v0 =0

    In `cot` the values of all brackets are written in the order in which they close. A `flat` expression has two values
    for each digit: the sum of the terms before its own, and its own term so far. For `2 - 4 * 3` these are `v0 v2 v2 v1
    v2 v3`, and the answer is `=0`. In an equation the values of the brackets without x come first, then what the side
    with x must be of each bracket around it, from the outermost to the innermost: `( ( x - 1 ) + ( 2 + 2 ) ) = 1` gives
    `v4 v2 v3`, and the answer is `=3`.

    The size of a problem is the number of its tokens, `= 1` included. An expression in brackets of 1 to 4 tokens is
    `d`, `-d`, `(d)` or `(-d)`; a longer one is split at a random place, as in the paper. A `flat` expression of an even
    number of tokens begins with `-`; the paper has only odd numbers. Each digit of an equation is equally likely to be
    the x.

    Args:
        form: `flat`, `brackets` or `equation`.
        modulus: The number of digits, 2 to 1000; 5 in the paper.
        operators: `+-` or `+-*`; an equation can't have `*`, since several values of x could solve it. The default is
            `+-*` for `flat` and `+-` for the others, as in the paper's code, whose runs with brackets use `+-*`.
    """

    regimes = ("vanilla", "cot")

    def __init__(self, form: Form = "brackets", modulus: int = 5, operators: Operators | None = None) -> None:
        check_choice("form", form, get_args(Form))
        check_numbers("data.task.init_args", 1000, modulus=(modulus, 2))
        if operators is None:
            operators = "+-*" if form == "flat" else "+-"
        check_choice("operators", operators, get_args(Operators))
        if form == "equation" and operators != "+-":
            raise UserError(
                f"operators of an equation must be '+-', got {operators!r}: x could be one of several; set "
                "data.task.init_args.operators"
            )
        self.form = form
        self.modulus = modulus
        self.operators = operators
        values, signs = range(modulus), _SIGNS[: _NUM_SIGNS[form]]
        kinds = {"": modulus, "v": modulus, "=": modulus}
        words = {kind: [f"{kind}{value}" for value in values] for kind in kinds}
        self.vocabulary = Vocabulary([*words[""], *signs, *words["v"], *words["="]])
        self._ids = _WordIds(modulus, len(operators), FIRST_WORD + modulus, FIRST_WORD + modulus + len(signs))
        first_answer = self._ids.first_step + modulus
        self.answer_words = np.arange(first_answer, first_answer + modulus, dtype=np.int32)
        self.chance = 1 / modulus

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        rows = blank_rows(len(indices), 2 + longest + self.longest_reply(longest, "cot"), 1)
        arguments = (np.uint64(seed), indices, sizes, self._ids, regime == "cot")
        if self.form == "flat":
            _write_flat(*arguments, rows)
        else:
            _write_brackets(*arguments, self.form == "equation", rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The answer; in `cot` two values for each digit, or one for each bracket, which has three tokens or more."""
        if regime == "vanilla":
            return 1
        return 1 + 2 * ((size + 1) // 2) if self.form == "flat" else 1 + size // 3

    def shortest_reply(self, regime: Regime) -> int:
        """The answer; in `cot` of a flat expression, with the two values of its digit."""
        return 3 if regime == "cot" and self.form == "flat" else 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` below 1 token, or below the 3 of an equation."""
        check_at_least("size", size, 3 if self.form == "equation" else 1, "data.sizes")


class _WordIds(NamedTuple):
    """The modulus, the number of operators, and the ids of the first sign and of the first intermediate value."""

    modulus: int
    num_operators: int
    first_sign: int
    first_step: int


@njit(cache=True)
def _write_flat(seed: np.uint64, indices: Counts, sizes: Counts, ids: _WordIds, is_cot: bool, rows: Rows) -> None:
    modulus = ids.modulus
    for row in range(len(indices)):
        tokens, author, size = rows.tokens[row], rows.author[row], sizes[row]
        stream, total, factor = open_stream(seed, indices[row]), 0, 1
        steps, at = np.empty(2 * ((size + 1) // 2), np.int64), ask(tokens, author, 0, START)
        if size % 2 == 0:
            at, factor = ask(tokens, author, at, MINUS), modulus - 1
        for digit in range((size + 1) // 2):
            drawn = draw_below(stream, modulus)
            term = factor * drawn % modulus
            steps[2 * digit], steps[2 * digit + 1] = total, term
            at = ask(tokens, author, at, FIRST_WORD + drawn)
            if at > size:
                break
            operator = _draw_operator(stream, ids)
            at = ask(tokens, author, at, operator)
            if operator == ids.first_sign + _TIMES:
                factor = term
            else:
                total, factor = (total + term) % modulus, modulus - 1 if operator == MINUS else 1
        at = rows.prompt_length[row] = ask(tokens, author, at, ASK)
        at = _write_steps(tokens, author, at, steps, ids.first_step if is_cot else -1)
        _answer(rows, row, at, (total + term) % modulus, ids)


@njit(cache=True)
def _write_brackets(
    seed: np.uint64, indices: Counts, sizes: Counts, ids: _WordIds, is_cot: bool, is_equation: bool, rows: Rows
) -> None:
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream, size, at = open_stream(seed, indices[row]), sizes[row], ask(tokens, author, 0, START)
        stop, num_digits = _write_expression(tokens, author, at, stream, size - 2 if is_equation else size, ids)
        unknown = _digit_at(tokens, at, draw_below(stream, num_digits), ids) if is_equation else -1
        steps, value, solution = _evaluate(tokens, at, stop, unknown, ids)
        at = stop
        if is_equation:
            tokens[unknown] = ids.first_sign + _UNKNOWN
            at = ask(tokens, author, at, ids.first_sign + _EQUALS)
            at = ask(tokens, author, at, FIRST_WORD + value)
        at = rows.prompt_length[row] = ask(tokens, author, at, ASK)
        at = _write_steps(tokens, author, at, steps, ids.first_step if is_cot else -1)
        _answer(rows, row, at, solution if is_equation else value, ids)


@njit(cache=True)
def _write_steps(tokens: Ids, author: Authors, at: int, steps: Counts, first_step: int) -> int:
    """Write intermediate values, none if `first_step` is negative; returns the next position."""
    for step in steps[: len(steps) if first_step >= 0 else 0]:
        at = say(tokens, author, at, first_step + step)
    return at


@njit(cache=True)
def _answer(rows: Rows, row: int, at: int, value: int, ids: _WordIds) -> None:
    """End a row with its answer."""
    rows.answers[row, 0] = ids.first_step + ids.modulus + value
    rows.length[row] = say(rows.tokens[row], rows.author[row], at, rows.answers[row, 0])


@njit(cache=True)
def _draw_operator(stream: Stream, ids: _WordIds) -> int:
    drawn = draw_below(stream, ids.num_operators)
    return MINUS if drawn == 1 else ids.first_sign + (_TIMES if drawn == 2 else _PLUS)


@njit(cache=True)
def _write_expression(
    tokens: Ids, author: Authors, at: int, stream: Stream, size: int, ids: _WordIds
) -> tuple[int, int]:
    """Write an expression of `size` tokens; returns the next position, and how many digits it has.

    What is still to be written is on a stack: sizes of expressions, and tokens as negative numbers.
    """
    rest, top, num_digits = np.empty(4 * size, np.int64), 1, 0
    rest[0] = size
    while top > 0:
        top -= 1
        one = rest[top]
        if one < 0:
            at = ask(tokens, author, at, -one)
            continue
        if one >= 3:
            at = ask(tokens, author, at, ids.first_sign + _OPENING)
            rest[top] = -(ids.first_sign + _CLOSING)
            top += 1
        if one >= 5:
            left = 1 + draw_below(stream, one - 4)
            rest[top], rest[top + 1], rest[top + 2] = one - 3 - left, -_draw_operator(stream, ids), left
            top += 3
            continue
        if one % 2 == 0:
            at = ask(tokens, author, at, MINUS)
        at = ask(tokens, author, at, FIRST_WORD + draw_below(stream, ids.modulus))
        num_digits += 1
    return at, num_digits


@njit(cache=True)
def _digit_at(tokens: Ids, at: int, digit: int, ids: _WordIds) -> int:
    """The position of a digit, counted from 0 at position `at`."""
    while True:
        if FIRST_WORD <= tokens[at] < ids.first_sign:
            if digit == 0:
                return at
            digit -= 1
        at += 1


@njit(cache=True)
def _evaluate(tokens: Ids, start: int, stop: int, unknown: int, ids: _WordIds) -> tuple[Counts, int, int]:
    """The intermediate values, the value, and the digit at the position `unknown` (0 if none) of an expression.

    Of an open bracket, what is left of its operator is on a stack: the value, the operator, and whether the unknown is
    in it. The same is kept of closed brackets around the unknown: the value of the other side, the operator, and
    whether the unknown is at the left.
    """
    room = stop - start + 1
    left, around, steps = np.zeros((room, 3), np.int64), np.empty((room, 3), np.int64), np.empty(room, np.int64)
    depth, num_around, count, value, has_unknown, sign, unknown_sign, is_operand_next = 0, 0, 0, 0, 0, 1, 1, True
    for at in range(start, stop):
        token = tokens[at]
        if token == ids.first_sign + _OPENING:
            depth, is_operand_next = depth + 1, True
            left[depth, 1] = _NONE
        elif token == ids.first_sign + _CLOSING:
            if left[depth, 1] != _NONE:
                if left[depth, 2] or has_unknown:
                    around[num_around] = left[depth]
                    if left[depth, 2]:
                        around[num_around, 0] = value
                    num_around, has_unknown = num_around + 1, 1
                value = _apply(left[depth, 0], left[depth, 1], value, ids)
            if not has_unknown:
                steps[count] = value
                count += 1
            depth -= 1
        elif FIRST_WORD <= token < ids.first_sign:
            value, has_unknown, is_operand_next = sign * (token - FIRST_WORD) % ids.modulus, int(at == unknown), False
            unknown_sign, sign = sign if has_unknown else unknown_sign, 1
        elif is_operand_next:
            sign = -1
        else:
            left[depth, 0], left[depth, 1], left[depth, 2], is_operand_next = value, token, has_unknown, True
    target = value
    for bracket in around[:num_around][::-1]:
        target = _solve(bracket, target, ids.modulus)
        steps[count] = target
        count += 1
    return steps[:count], value, unknown_sign * target % ids.modulus


@njit(cache=True)
def _apply(left: int, operator: int, right: int, ids: _WordIds) -> int:
    if operator == ids.first_sign + _TIMES:
        return left * right % ids.modulus
    return (left - right if operator == MINUS else left + right) % ids.modulus


@njit(cache=True)
def _solve(bracket: Counts, target: int, modulus: int) -> int:
    """What the side of a bracket with the unknown must be, for the bracket to be `target`."""
    other, operator, is_left = bracket[0], bracket[1], bracket[2]
    if operator != MINUS:
        return int(target - other) % modulus
    return int(target + other if is_left else other - target) % modulus
