"""Strings of random grammars against a walk on their graph that reads the words alone."""

from itertools import pairwise

import numpy as np
import pytest
from reading import check_bounds, read, text_of

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Author, Selectivity
from lit_retrieval.tasks.grammars.grammar import draw_grammar

SAMPLES = pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])


def graph_of(task):
    """The states after each state, by symbol; states and symbols by the words of the task."""
    end, names = task.num_symbols * task.depth, [f"x{symbol}" for symbol in range(task.num_symbols)] + ["#"]
    called = [f"={state // task.depth}.{state % task.depth}" for state in range(end)] + ["=#"]
    return {
        name: {names[symbol]: called[after] for symbol, after in enumerate(row) if after >= 0}
        for name, row in zip(called, task.grammar.after.tolist(), strict=True)
    }


def solve(graph, words):
    """The place of each symbol that may come where it does, and the state after it."""
    state, solved = "=#", []
    for at, word in enumerate(words):
        if word in graph[state]:
            state = graph[state][word]
            solved.append((at, state))
    return solved


@SAMPLES
@pytest.mark.parametrize("asked", ["state", "next"])
@pytest.mark.parametrize("filler", ["blank", "noise", "symbols"])
def test_transcripts_follow_the_grammar(filler, asked, count):
    task = Selectivity(5, 3, 1, 3, 0.6, 2, filler, asked, 4)
    graph, sizes = graph_of(task), np.resize([2, 3, 9], count)
    transcripts = task.sample(3, np.arange(count), sizes, "vanilla")
    words_of_gaps = {"blank": {"_"}, "noise": {f"n{one}" for one in range(16)}, "symbols": {*graph["=#"], "#"} | {
        word for row in graph.values() for word in row}}[filler]  # fmt: skip
    for row in range(count):
        words, authors = read(transcripts, task, row)
        solved = solve(graph, words)
        places, states = [at for at, _ in solved], [state for _, state in solved]
        assert words[0] == "<s>" and len(solved) == sizes[row] and places[0] == 1
        if asked == "state":
            assert words[-1] == "?" and authors[-1] == Author.ASKED
            expected, ends = states, [*places[1:], len(words) - 1]
        else:
            assert places[-1] == len(words) - 1
            expected, ends = [words[at] for at in places[1:]], places[1:]
        assert [at for at, by in enumerate(authors) if by == Author.ASKED] == ends
        assert set(authors) == {Author.PROMPT, Author.ASKED} and transcripts.prompt_length[row] == ends[0]
        assert task.vocabulary.decode(transcripts.answers_of(row)) == expected
        gaps = [words[at + 1 : end] for at, end in zip(places, ends, strict=False)]
        assert not any(gaps[:2]) and all(len(gap) <= 3 and set(gap) <= words_of_gaps for gap in gaps)


def test_gaps_and_symbols_are_drawn_alike():
    task = Selectivity(6, 2, 0, 4, filler="symbols")
    transcripts, graph = task.sample(0, np.arange(4000), np.full(4000, 8), "vanilla"), graph_of(task)
    lengths, seen, fillers = [], {}, {}
    for row in range(4000):
        words, _ = read(transcripts, task, row)
        solved = solve(graph, words)
        for (at, state), (after, _) in pairwise(solved):
            if len(graph[state]) < 7:
                lengths.append(after - at - 1)
            seen.setdefault(state, []).append(words[after])
            fillers.setdefault(state, []).extend(words[at + 1 : after])
    assert abs(np.bincount(lengths) / len(lengths) - 1 / 5).max() < 0.02
    for drawn, may_follow in ((seen, True), (fillers, False)):
        for state, words in drawn.items():
            found, counts = np.unique(words, return_counts=True)
            others = {*(f"x{one}" for one in range(6)), "#"} - set(graph[state])
            assert len(words) < 500 or set(found) == (set(graph[state]) if may_follow else others)
            assert len(words) < 500 or abs(counts / len(words) - 1 / len(found)).max() < 5 / np.sqrt(len(words))


def test_a_share_of_the_symbols_has_gaps():
    task = Selectivity(4, 2, 1, 1, gap_share=0.3, gap_start=3, filler="blank")
    tokens = task.sample(0, np.arange(4000), np.full(4000, 10), "vanilla").tokens
    blanks = (tokens == task.vocabulary.encode(["_"])[0]).sum()
    assert abs(blanks / (4000 * 7) - 0.3) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_a_grammar_has_the_density_of_the_paper_and_a_path_to_the_end(seed):
    after, choices, num_choices = draw_grammar(seed, 40, 40)
    states, symbols = np.nonzero(after[:-1, :-1] >= 0)
    assert (after[states, symbols] // 40 == symbols).all(), "a state of the symbol follows"
    assert abs((after[:-1, :-1] >= 0).mean() - 0.4) < 0.01 and abs((after[:-1, -1] >= 0).mean() - 0.01) < 0.01
    assert abs(np.bincount(after[states, symbols] % 40) / len(states) - 1 / 40).max() < 0.005
    assert num_choices[-1] == 4 and (num_choices == (after >= 0).sum(1)).all()
    for state, count in enumerate(num_choices):
        assert set(choices[state, :count]) == set(np.flatnonzero(after[state] >= 0))
    assert not (draw_grammar(seed + 1, 40, 40).after == after).all()


@pytest.mark.parametrize(("num_symbols", "depth"), [(2, 1), (3, 2), (2, 5)])
def test_an_end_can_be_reached_from_every_state(num_symbols, depth):
    for seed in range(50):
        after = draw_grammar(seed, num_symbols, depth).after
        ends = {len(after) - 1}
        for _ in after:
            ends |= {state for state, row in enumerate(after.tolist()) if ends & set(row) - {-1}}
        assert ends == set(range(len(after)))


@pytest.mark.parametrize("size", [2, 12])
def test_no_guess_of_the_next_symbol_is_better_than_the_best_accuracy(size):
    task = Selectivity(5, 3, 0, 0, asked="next")
    graph, right = graph_of(task), []
    transcripts = task.sample(0, np.arange(3000), np.full(3000, size), "vanilla")
    for row in range(3000):
        words, _ = read(transcripts, task, row)
        right += [
            next(iter(graph[state])) == word for (_, state), word in zip(solve(graph, words), words[2:], strict=False)
        ]
    assert abs(np.mean(right) - task.best_accuracy(size)) < 0.02
    assert Selectivity(5, 3).best_accuracy(size) == 1


def test_about_six_symbols_determine_the_state():
    task, needed = Selectivity(min_gap=0, max_gap=0, filler="blank"), []
    after = task.grammar.after
    tokens = task.sample(0, np.arange(100), np.full(100, 40), "vanilla").tokens - task.vocabulary.encode(["x0"])[0]
    for symbols in tokens[:, 1:41]:
        for count in range(1, 41):
            states = np.arange(len(after))
            for symbol in symbols[-count:]:
                states = np.unique(after[states, symbol])
                states = states[states >= 0]
            if len(states) == 1:
                needed.append(count)
                break
    assert len(needed) == 100 and 5 < np.mean(needed) < 7


@pytest.mark.parametrize("asked", ["state", "next"])
def test_replies_reach_their_bounds(asked):
    task = Selectivity(3, 2, 0, 2, asked=asked)
    replies = check_bounds(task, 4, "vanilla")
    assert replies.max() == task.longest_reply(4, "vanilla")
    assert check_bounds(task, 2 if asked == "next" else 1, "vanilla").min() == task.shortest_reply("vanilla")


def test_the_sample_in_the_docstring_is_one_of_the_task():
    task = Selectivity(3, 2, 1, 2)
    text = text_of(task.sample(0, np.array([25]), np.array([4]), "vanilla"), task, 0)
    assert text in " ".join(Selectivity.__doc__.replace("prompt:", "").replace("vanilla:", "").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"num_symbols": 1}, "num_symbols must be 2 or more"), ({"depth": 0}, "depth must be 1 or more"),
     ({"min_gap": -1}, "min_gap must be 0 or more"), ({"min_gap": 11}, "max_gap must be 11 or more, got 10"),
     ({"gap_share": 1.5}, "gap_share must be 0 to 1"), ({"gap_start": -1}, "gap_start must be 0 or more"),
     ({"filler": "dots"}, "filler must be blank or noise or symbols"), ({"asked": "both"}, "asked must be"),
     ({"grammar_seed": -1}, "grammar_seed must be 0 to")],
)  # fmt: skip
def test_what_cannot_be_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        Selectivity(**arguments)


def test_the_first_symbol_is_not_asked_for():
    with pytest.raises(UserError, match=r"size must be 2 or more, got 1; set data\.sizes"):
        Selectivity(asked="next").check_size(1)
