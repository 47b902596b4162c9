"""Tasks written in words: what the base class makes of them, and the example that users begin with."""

import numpy as np
import pytest
from hops import Hops
from reading import check_docstring, read_all, text_of

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, Turn, WordTask


def expected_reply(prompt, regime):
    told, (start, hops) = prompt[1:-3], prompt[-2:]
    links = {place.rstrip(">"): led for place, led in zip(told[::2], told[1::2], strict=True)}
    for _ in range(int(hops)):
        if regime == "cot":
            yield f"{start}>", Author.MODEL
        if regime == "retrieval":
            yield from ((word, Author.MODEL) for word in ("<StartSearch>", f"{start}>", "<EndSearch>"))
            yield links[start], Author.RETRIEVER
        start = links[start]
    yield start, Author.MODEL


@pytest.mark.parametrize("regime", REGIMES)
def test_the_example_leads_where_its_links_lead(regime):
    task = Hops(num_places=9)
    transcripts = task.sample(1, np.arange(2000), np.resize([1, 4, 9], 2000), regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        assert len(prompt) == 2 * transcripts.sizes[row] + 4 and reply == list(expected_reply(prompt, regime))
        assert task.vocabulary.decode(transcripts.answers[row]) == [reply[-1][0]]


def test_all_64_bits_of_a_seed_count():
    task, indices, sizes = Hops(num_places=9), np.arange(8), np.full(8, 9)
    samples = [task.sample(seed, indices, sizes, "vanilla").tokens.tolist() for seed in (2**64 - 1, 2**64 - 2, 0)]
    assert samples[0] != samples[1] and samples[0] != samples[2]


def test_the_sample_in_the_examples_docstring_is_well_formed():
    check_docstring(Hops, expected_reply)


@pytest.mark.parametrize(("options", "said"), [
    ({"words": {"a", "yes", "no"}}, r"words must be in an order, .* write sorted\(\.\.\.\)"),

    ({"answers": ["yes", "yes"]}, "must have an answer or more, and each once"),
    ({"answers": []}, "must have an answer or more, and each once"),
])  # fmt: skip
def test_words_whose_ids_would_change_and_answers_that_count_twice_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        Told(**{"words": ["yes", "no"], "answers": ["yes", "no"], **options})


class Told(WordTask):
    """Writes the turns it is given."""

    def __init__(self, *turns, words=("a", "b", "yes", "no"), answers=("yes", "no"), **options):
        self.turns = [Turn(*turn) for turn in turns]
        super().__init__(words, answers, **options)

    def draw(self, rng, size):
        return None

    def write_turns(self, problem, regime):
        return self.turns


def written(*turns, **options):
    task = Told(*turns, **options)
    transcripts = task.sample(0, np.arange(1), np.full(1, 1), "vanilla")
    return task, transcripts, text_of(transcripts, task, 0)


def test_a_search_sees_what_was_said_and_its_result_is_put_in():
    _, _, text = written(("<s> a b ? a", "<StartSearch> a <EndSearch> b yes"), ("b", "<StartSearch> b <EndSearch> no"))
    assert text == "<s> a b ? a <StartSearch> a <EndSearch> [b] b yes b <StartSearch> b <EndSearch> [?] no"


def test_an_answer_word_inside_a_query_is_no_answer():
    task, transcripts, text = written(("<s> yes a ?", "<StartSearch> yes <EndSearch> no"))
    assert text == "<s> yes a ? <StartSearch> yes <EndSearch> [a] no"
    assert task.vocabulary.decode(transcripts.answers[0]) == ["no"]


@pytest.mark.parametrize("num_answers", [2, None])
def test_the_last_turn_may_have_several_answers_if_the_task_says_so(num_answers):
    task, transcripts, _ = written(("<s> a ?", "yes"), ("b", "no a yes"), num_answers=num_answers)
    assert task.vocabulary.decode(transcripts.answers[0]) == ["yes", "no", "yes"]
    assert [len(turn) for turn in transcripts.turns(0)] == [3, 1]


@pytest.mark.parametrize(
    ("turns", "reply"),
    [
        ([("<s> ?", "a")], "'a' as reply 1"),
        ([("<s> ?", "yes a")], "'yes a' as reply 1"),
        ([("<s> ?", "yes no"), ("a", "yes")], "'yes no' as reply 1"),
        ([("<s> ?", "yes"), ("a", "")], "'' as reply 2"),
    ],
)
def test_a_reply_that_does_not_end_with_its_answer_is_refused(turns, reply):
    with pytest.raises(UserError, match=f"Told wrote {reply}; a reply ends with its one answer"):
        written(*turns)


@pytest.mark.parametrize(("num_answers", "count", "reply"), [(1, 3, "no a no yes"), (3, 2, "no yes"), (2, 1, "a no")])
def test_another_number_of_answers_than_the_task_says_is_refused(num_answers, count, reply):
    """Words of a chain of thought that are answers too would make a task of several answers."""
    said = f"Told wrote '{reply}' with {count} answers, and its num_answers is {num_answers}; take other words for the"
    with pytest.raises(UserError, match=said):
        written(("<s> a ?", reply), num_answers=num_answers)


@pytest.mark.parametrize("turns", ["<s> a ? yes", [], ["ab"], [("<s> ?",)], [("<s> ?", 3)], None], ids=str)
def test_what_are_no_turns_is_said(turns):
    task = Told()
    task.turns = turns
    with pytest.raises(UserError, match=r"write_turns of Told must return a list of one or more Turn\(prompt, reply\)"):
        task.sample(0, np.arange(1), np.full(1, 1), "vanilla")


def test_an_unknown_word_is_named():
    with pytest.raises(UserError, match="'c' is not one of the vocabulary's"):
        written(("<s> c ?", "yes"))


def test_a_task_without_answers_is_refused():
    class Mute(Told):
        def __init__(self):
            WordTask.__init__(self, ["a"], answers=[])

    with pytest.raises(UserError, match="Mute must have an answer or more, and each once; name"):
        Mute()


def test_chance_is_one_among_the_answers_unless_it_is_given():
    assert Told().chance == 1 / 2


@pytest.mark.parametrize("size", [0, 17])
def test_the_example_refuses_sizes_that_it_has_no_words_for(size):
    with pytest.raises(UserError, match=f"size must be 1 to 16, got {size}; set data.sizes, or raise num_places"):
        Hops().sample(0, np.arange(1), np.full(1, size), "cot")
