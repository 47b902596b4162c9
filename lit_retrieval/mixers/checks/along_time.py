"""Rules about time: causality, and a state that replaces all tokens before it."""

import math
import random

import torch

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError
from lit_retrieval.mixers.checks.case import Case, relative_difference
from lit_retrieval.mixers.mixer import select_rows

_FIX = "return the state after the last token, and start from `state` where it is given"


@torch.no_grad()
def is_deterministic(case: Case) -> str:
    """In evaluation mode the same input gives the same bits twice."""
    x = case.draw(2, 7)
    kept = x.clone()
    first, second = case.run(x)[0], case.run(x)[0]
    if torch.equal(first, second):
        return "the same bits twice"
    if not torch.equal(x, kept):
        raise BrokenRuleError(
            "forward must not change its input in place; write `x = x * 0.5` instead of `x *= 0.5` or `x.mul_(0.5)`"
        )
    what = "the same input must give the same output in eval mode; draw nothing in forward then"
    if not x.is_cuda:
        raise BrokenRuleError(what)
    raise NotApplicableError(f"a GPU adds in any order: {case.compare(second, first, what)}")


@torch.no_grad()
def is_causal(case: Case) -> str:
    """A changed token changes no output before it."""
    x = case.draw(2, 9)
    y = case.run(x)[0]
    for at in (1, 4, 8):
        changed = x.clone()
        changed[:, at] = 1 - 3 * x[:, at]
        shown = case.compare(
            case.run(changed)[0][:, :at], y[:, :at],
            f"outputs before token {at} must not depend on it; let each token see itself and earlier ones only",
        )  # fmt: skip
    return f"earlier output {shown}"


@torch.no_grad()
def is_causal_over(length: int, case: Case) -> str:
    """The second half of a sequence of `length` tokens changes no output in the first half."""
    x, half = case.draw(1, length), length // 2
    x[:, half:] = 1 - 3 * x[:, half:]  # another mean than the first half
    whole, alone = case.run(x)[0][:, :half], case.run(x[:, :half])[0]
    if not (whole.isfinite().all() and alone.isfinite().all()):
        raise NotApplicableError("its outputs are not finite")
    what = f"the first {half} of {length} outputs must not depend on later tokens; let each token see earlier ones only"
    return f"earlier output {case.compare(whole, alone, what)}"


@torch.no_grad()
def keeps_nan_out_of_the_past(case: Case) -> str:
    """A NaN reaches no output before it."""
    x = case.draw(2, 9)
    x[:, 5] = math.nan
    reached = int(case.run(x)[0][:, :5].isnan().any(-1).any(0).sum())
    if reached:  # the rule before has shown that these outputs do not depend on it
        raise NotApplicableError(f"{reached} of 5 earlier outputs are NaN: it masks by multiplying with 0")
    return "0 of 5 earlier outputs are NaN"


@torch.no_grad()
def reads_its_state(case: Case) -> str:
    """If earlier tokens change later outputs in one call, they also do so through the state."""
    x = case.draw(2, 9)
    whole, alone = case.run(x)[0][:, 5:], case.run(x[:, 5:])[0]
    carried = case.run(x, [5, 4])[0][:, 5:]
    matters, carries = relative_difference(alone, whole), relative_difference(alone, carried)
    if matters > case.allowed(whole.dtype) and carries < 1e-6:
        raise BrokenRuleError(
            f"the state must be read: earlier tokens change the outputs by {matters:.0%} in one call, and by nothing "
            "through the state; start from `state` where it is given"
        )
    return f"earlier tokens change outputs by {carries:.1%}"


@torch.no_grad()
def agrees_in_pieces(case: Case) -> str:
    """A sequence in two pieces gives the same as in one."""
    x = case.draw(2, 7)
    return case.compare(case.run(x, [3, 4])[0], case.run(x)[0], f"3 + 4 tokens must give what 7 in one call do; {_FIX}")


@torch.no_grad()
def agrees_in_long_pieces(case: Case) -> str:
    """A long sequence in two pieces, split inside a kernel's chunk, gives the same as in one."""
    x = case.draw(2, 130)
    shown = case.run(x, [62, 68])[0]
    return case.compare(shown, case.run(x)[0], f"62 + 68 tokens must give what 130 in one call do; {_FIX}")


@torch.no_grad()
def agrees_in_random_pieces(case: Case) -> str:
    """A sequence in pieces of random lengths, two tokens or more each, gives the same as in one."""
    numbers, most, shown = random.Random(0), 130, ""
    x = case.draw(2, most)
    whole = case.run(x)[0]
    for _ in range(3):
        cuts = sorted(numbers.sample(range(2, most - 1, 2), 5))
        lengths = [stop - start for start, stop in zip([0, *cuts], [*cuts, most], strict=True)]
        shown = case.compare(
            case.run(x, lengths)[0], whole, f"pieces of {lengths} tokens must give what {most} in one call do; {_FIX}"
        )
    return shown


@torch.no_grad()
def agrees_token_by_token(case: Case) -> str:
    """One token at a time gives the same as the whole sequence."""
    x = case.draw(2, 7)
    steps = case.run(x, [1] * 7)[0]
    return case.compare(steps, case.run(x)[0], f"7 tokens one by one must give what 7 in one call do; {_FIX}")


@torch.no_grad()
def keeps_sequences_apart(case: Case) -> str:
    """Reading another sequence in between does not change how a sequence continues."""
    x = case.draw(2, 7)
    first, state = case.mixer(x[:, :3], None)
    case.run(case.draw(2, 5, seed=1))
    rest = case.mixer(x[:, 3:], state)[0]
    what = (
        "a sequence must go on as before after another one was read; return all that it needs in the state, and keep "
        "nothing of it in the module"
    )
    return case.compare(torch.cat([first, rest], 1), case.run(x)[0], what)


@torch.no_grad()
def has_independent_rows(case: Case) -> str:
    """A row does not depend on the other rows, and continues alone after they are removed."""
    x, rows = case.draw(4, 7), torch.tensor([3, 1], device=case.weight.device)
    y = case.run(x)[0]
    case.compare(case.run(x[rows])[0], y[rows], "a row must not depend on the other rows; reduce over time or channels")
    _, state = case.run(x[:, :5])
    kept = case.mixer(x[rows, 5:], select_rows(state, rows))[0]
    return case.compare(
        kept, y[rows, 5:], "rows must go on as before when others leave (select_rows); keep no batch size in the state"
    )


@torch.no_grad()
def trains_as_it_evaluates(case: Case) -> str:
    """Training mode computes the same as evaluation mode, on more tokens than fla's special code for short ones."""
    x = case.draw(2, 70)
    expected = case.run(x)[0]
    with case.training():
        first, second = case.run(x)[0], case.run(x)[0]
    if not torch.equal(first, second):
        raise NotApplicableError("it draws in training mode, or changes itself")
    return case.compare(
        first, expected, "training mode must give what evaluation mode does, or what is trained is not what decodes"
    )


@torch.inference_mode()
def decodes_ragged_prompts(case: Case) -> str:
    """Prompts of different lengths, decoded together as in `decoding.generate`, give the same as separate runs."""
    lengths, shown = [4, 6, 11, 16], ""
    x = case.draw(len(lengths), max(lengths))
    common, live = min(lengths), list(range(len(lengths)))
    y, state = case.mixer(x[:, :common], None)
    outputs = {row: [y[row]] for row in live}
    for at in range(common, max(lengths)):
        stay = [place for place, row in enumerate(live) if lengths[row] > at]
        state = select_rows(state, torch.tensor(stay, device=x.device))
        live = [live[place] for place in stay]
        y, state = case.mixer(x[live, at : at + 1], state)
        for place, row in enumerate(live):
            outputs[row].append(y[place])
    for row, length in enumerate(lengths):
        alone = case.run(x[row : row + 1, :length])[0][0]
        what = f"a prompt of {length} tokens must be decoded beside others as alone; {_FIX}"
        shown = case.compare(torch.cat(outputs[row]), alone, what)
    return shown
