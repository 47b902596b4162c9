"""Turing machines as models, against a simulator that the models' authors did not write for them."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml

from lit_retrieval.constructions import Theorem41, Theorem54, Theorem58
from lit_retrieval.decoding import begin, decode, generate
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import EitherFormRetriever, RegularExpressionRetriever
from lit_retrieval.tasks import MachineRun, SmallSpaceRun
from lit_retrieval.vocabulary import PAD

MACHINES = {
    path.stem: yaml.safe_load(path.read_text()) for path in (Path(__file__).parents[2] / "configs/machines").iterdir()
}
TAPES = ("increment", "palindrome")  # machines that read one
STEPS = {"busy_beaver_2": 6, "busy_beaver_3": 21, "busy_beaver_4": 107}
ONES = {"busy_beaver_2": 4, "busy_beaver_3": 5, "busy_beaver_4": 13}
FORMS = pytest.mark.parametrize(
    ("theorem", "regime"), [(Theorem54, "retrieval"), (Theorem58, "cot")], ids=["5.4", "5.8"]
)
SIZES = pytest.mark.parametrize("sizes", [(1, 2, 5), pytest.param(range(1, 9), marks=pytest.mark.slow)], ids=str)
SEARCH = EitherFormRetriever(RegularExpressionRetriever(timeout=5.0))


def simulate(table, tape):
    """Tape, head, steps and verdict, straight from the table; a second way to run a machine."""
    cells, head, state, steps = dict(enumerate(tape)), 0, next(iter(table)), 0
    while state in table:
        written, move, state = (lambda action: (int(action[0]), action[1], action[2:]))(
            table[state][cells.get(head, 0)]
        )
        cells[head] = written
        head += 1 if move == "R" else -1
        steps += 1
    return {cell: symbol for cell, symbol in cells.items() if symbol}, head, steps, state


def words_of(construction, task, regime, size, count):
    transcripts = task.sample(3, np.arange(count), np.full(count, size), regime)
    model = construction.write(task.vocabulary)
    for row, reply in enumerate(decode(model, transcripts, task, SEARCH, 20_000)):
        assert reply.tokens == transcripts.tokens[row][transcripts.tokens[row] != PAD].tolist(), "word for word"
        yield task.vocabulary.decode(reply.tokens)


def replay(words):
    """The tape, the head, the number of steps and the verdict that a trace of cells tells of."""
    prompt, trace = words[1 : words.index("?")], words[words.index("?") + 1 :]
    cells = {int(cell[1:]): int(symbol[1:]) for cell, symbol in zip(prompt[::2], prompt[1::2], strict=True)}
    moves = [at for at, word in enumerate(trace) if word in ("L", "R")]
    for begun, at in zip([0, *(at + 2 for at in moves)], moves, strict=False):
        cell = int(trace[begun][1:])
        cells[cell] = int(trace[at - 1][1:])
        head = cell + (1 if trace[at] == "R" else -1)
    return {cell: symbol for cell, symbol in cells.items() if symbol}, head, len(moves), trace[-1]


@FORMS
@SIZES
@pytest.mark.parametrize("name", MACHINES)
def test_a_model_runs_a_machine_as_a_simulator_does(name, theorem, regime, sizes):
    table, count = MACHINES[name], 1 if name in STEPS else 6
    for size in sizes if name in TAPES else [0]:
        for words in words_of(theorem(table), MachineRun(table), regime, size, count):
            told = words[1 : words.index("?")]
            tape, head, steps, verdict = simulate(table, [int(symbol[1:]) for symbol in told[1::2]])
            assert replay(words) == (tape, head, steps, verdict)
            if name in STEPS:
                assert (steps, sum(tape.values()), verdict) == (STEPS[name], ONES[name], "HALT")
            if name == "palindrome":
                assert verdict == ("YES" if told[1::2] == told[1::2][::-1] else "NO")


def run(theorem, table, tapes):
    """What a model writes on tapes from cell 0 on, from the prompt to the verdict."""
    task = MachineRun(table)
    prompts = [
        ["<s>", *(word for cell, symbol in enumerate(tape) for word in (f"c{cell}", f"t{symbol}")), "?"]
        for tape in tapes
    ]
    turns = [[task.vocabulary.encode(prompt)] for prompt in prompts]
    replies = generate(theorem(table).write(task.vocabulary), begin(turns, task, SEARCH, 20_000))
    return [task.vocabulary.decode(reply.tokens) for reply in replies]


@FORMS
@pytest.mark.parametrize("name", TAPES)
def test_every_tape_of_up_to_three_cells(name, theorem, regime):
    table = MACHINES[name]
    tapes = [list(tape) for size in range(4) for tape in product(range(3), repeat=size)]
    assert [replay(words) for words in run(theorem, table, tapes)] == [simulate(table, tape) for tape in tapes]
    assert len(tapes) == 40, "blanks among them"


@pytest.mark.slow
@FORMS
@pytest.mark.parametrize(
    ("name", "tape", "steps"), [("palindrome", [1, 2, 2] * 7 + [2, 2, 1] * 7, 946), ("increment", [2] * 499, 1000)]
)
def test_a_run_of_up_to_a_thousand_steps(name, tape, steps, theorem, regime):
    table = MACHINES[name]
    (words,) = run(theorem, table, [tape])
    assert replay(words) == simulate(table, tape) and replay(words)[2] == steps


@FORMS
@pytest.mark.parametrize(("name", "size"), [("busy_beaver_4", 0), ("palindrome", 16)])
def test_float32_is_as_right_with_or_without_a_search(name, size, theorem, regime):
    table = MACHINES[name]
    assert list(words_of(theorem(table, "float32"), MachineRun(table), regime, size, 1))


def test_float32_is_as_right_on_a_small_tape():
    table = MACHINES["palindrome"]
    assert list(words_of(Theorem41(table, 20, "float32"), SmallSpaceRun(table, 20), "cot", 16, 1))


def read_tapes(words, space, start):
    """What `replay` tells, of whole tapes that begin in cell `-start`; the last one ends at the verdict.

    The last move of our machines is to the right, so what stands behind the verdict is as it was one tape before.
    """
    *tapes, last = [words[at : at + space + 1] for at in range(1, len(words), space + 1)]
    cells = [int(word[1:]) for word in [*last[:-1], *[word for word in tapes[-1] if word[0] == "t"][len(last) - 1 :]]]
    head = len(last) - 1 - start
    return {cell - start: symbol for cell, symbol in enumerate(cells) if symbol}, head, len(tapes), last[-1]


@SIZES
@pytest.mark.parametrize("name", MACHINES)
def test_a_linear_rnn_rewrites_its_tape_as_a_simulator_does(name, sizes):
    table = MACHINES[name]
    space, start = (40, 20) if name in STEPS else (14, 2)
    task = SmallSpaceRun(table, space, start)
    for size in sizes if name in TAPES else [0]:
        for words in words_of(Theorem41(table, space), task, "cot", size, 1 if name in STEPS else 6):
            tape = [int(word[1:]) for word in words[1 : space + 2] if word != "q0"][start : start + size]
            assert read_tapes(words, space, start) == simulate(table, tape)


def test_neither_layers_nor_width_nor_parameters_depend_on_the_length_of_the_run():
    table = MACHINES["busy_beaver_4"]
    for theorem in (Theorem54, Theorem58):
        models = [theorem(table).write(MachineRun(table, max_steps=steps).vocabulary) for steps in (110, 5000)]
        described = [(len(model.mixers), model.registers.width, model.num_parameters) for model in models]
        assert described[0] == described[1]


def test_a_tape_of_three_cells_is_the_shortest_that_is_rewritten():
    """A head in cell 0 was read twice where a tape had two."""
    table = {"A": {0: "1LB", 1: "1LB"}, "B": {0: "1RHALT", 1: "1RHALT"}}
    assert list(words_of(Theorem41(table, 3), SmallSpaceRun(table, 3), "cot", 0, 1))
    with pytest.raises(UserError, match=r"space must be 3 or more, got 2; set model\.construction\.init_args\.space"):
        Theorem41(table, 2)


@pytest.mark.parametrize("theorem", [Theorem54, Theorem58])
def test_numbers_that_float32_can_not_tell_apart_are_refused(theorem):
    """The first word of a run would be a cell at random: all logits near the largest are the same number."""
    table = MACHINES["busy_beaver_2"]
    vocabulary = MachineRun(table, max_steps=5000).vocabulary
    theorem(table).write(vocabulary)
    with pytest.raises(UserError, match="float32 tells words with numbers up to 1,672 apart, and the task has 5,000"):
        theorem(table, "float32").write(vocabulary)
    theorem(table, "float32").write(MachineRun(table, max_steps=1600).vocabulary)
