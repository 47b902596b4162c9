"""Links that are followed one after the other, by a dictionary of words."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, KHops


def follow(prompt, asked, regime):
    """The reply to one question, word by word with its author, and the place that it names."""
    mark = prompt.index("?")
    links = dict(zip(prompt[1:mark:2], prompt[2:mark:2], strict=True))
    place = asked.removesuffix(">")
    reply = []
    for _ in range(int(prompt[mark + 1])):
        source, place = f"{place}>", links[f"{place}>"]
        if regime == "cot":
            reply.append((source, Author.MODEL))
        elif regime == "retrieval":
            reply += [(word, Author.MODEL) for word in ("<StartSearch>", source, "<EndSearch>")]
            reply.append((place, Author.RETRIEVER))
    return [*reply, (place, Author.MODEL)]


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mapping", ["permutation", "cycle", "function"])
@pytest.mark.parametrize("regime", REGIMES)
def test_transcripts_follow_their_links(regime, mapping, count):
    task, sizes = KHops(20, 5, 2, 2, mapping), np.resize([4, 10, 16, 40], count)
    transcripts = task.sample(5, np.arange(count), sizes, regime)
    for row, size in enumerate(sizes):
        words, authors = read(transcripts, task, row)
        starts, prompt = transcripts.prompt_length[row], words[: transcripts.prompt_length[row]]
        assert starts == size + 4 and prompt[0] == "<s>" and prompt[size + 1] == "?"
        sources, targets = prompt[1 : size + 1 : 2], prompt[2 : size + 1 : 2]
        places = [source.removesuffix(">") for source in sources]
        assert len(set(sources)) == size // 2 and set(targets) <= set(places)
        assert mapping == "function" or sorted(targets) == sorted(places)
        if mapping == "cycle":
            passed = {follow([*prompt[: size + 2], str(hops)], sources[0], "vanilla")[-1] for hops in range(size // 2)}
            assert len(passed) == size // 2, "no place comes again before all were passed"
        assert transcripts.kinds[row] == int(prompt[size + 2]) - 2
        at, answers = int(starts), []
        for turn in range(2):
            asked = at - 1 if turn == 0 else at
            at = asked + 1
            assert words[asked] in sources and authors[asked] == Author.PROMPT
            reply = follow(prompt, words[asked], regime)
            assert list(zip(words, authors, strict=True))[at : at + len(reply)] == reply
            at += len(reply)
            answers.append(words[at - 1])
            told = int(transcripts.distances[row, turn])
            assert words[asked - told] == answers[-1] and (asked - told) % 2 == 0 and asked - told <= size
        assert at == len(words) and words[starts - 1] != words[starts + len(follow(prompt, words[starts - 1], regime))]
        assert task.vocabulary.decode(transcripts.answers_of(row)) == answers


@pytest.mark.parametrize("mapping", ["permutation", "cycle", "function"])
def test_hops_starts_and_links_are_uniform(mapping):
    task = KHops(num_places=4, max_hops=3, mapping=mapping)
    transcripts = task.sample(0, np.arange(6000), np.full(6000, 8), "vanilla")
    first, asked = transcripts.tokens[:, 2], transcripts.tokens[:, 11]
    for drawn, count in ((first, 4), (asked, 4), (transcripts.kinds, 3)):
        shares = np.unique(drawn, return_counts=True)[1] / 6000
        assert len(shares) == count and abs(shares - 1 / count).max() < 0.03
    loops = (first - transcripts.tokens[:, 1] == 4).mean()
    assert abs(loops - (0 if mapping == "cycle" else 1 / 4)) < 0.03, "a place that leads to itself"
    assert task.kinds == ("1_hops", "2_hops", "3_hops") and task.chances == (1 / 4,) * 3


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_reach_their_bounds(regime):
    task = KHops(num_places=8, max_hops=3, num_queries=2)
    replies = check_bounds(task, 8, regime, 300)
    assert (replies.min(), replies.max()) == (task.shortest_reply(regime), task.longest_reply(8, regime))


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(KHops, lambda prompt, regime: follow(prompt, prompt[-1], regime))


@pytest.mark.parametrize("size", [7, 2, 0, 34])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(UserError, match=r"size must be an even number, 4 to 32 .*got"):
        KHops(num_places=16).sample(0, np.arange(1), np.full(1, size), "vanilla")


@pytest.mark.parametrize("arguments", [{"max_hops": 1, "min_hops": 2}, {"num_places": 1}, {"mapping": "tree"}])
def test_arguments_that_cannot_be_are_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*"):
        KHops(**arguments)
