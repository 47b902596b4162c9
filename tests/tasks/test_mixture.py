import numpy as np
import pytest

from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import EitherFormRetriever, RegularExpressionRetriever
from lit_retrieval.tasks import REGIMES, Counting, Index, IsTree, Mixture, ReadAgain, StringCopying, Turn, WordTask
from lit_retrieval.vocabulary import PAD

MEMBERS = [Counting(max_size=16), StringCopying(16, 5), IsTree(16)]
MIXTURE = Mixture(MEMBERS, [2.0, 1.0, 1.0])


@pytest.mark.parametrize("regime", REGIMES)
def test_each_sample_is_one_of_its_own_task_in_other_ids(regime):
    indices, sizes = np.arange(300), np.resize([4, 8, 16], 300)
    mixed = MIXTURE.sample(7, indices, sizes, regime)
    for kind, task in enumerate(MEMBERS):
        rows = np.flatnonzero(mixed.kinds == kind)
        alone = task.sample(7, indices[rows], sizes[rows], regime)
        for place, row in enumerate(rows):
            length = alone.length[place]
            assert mixed.length[row] == length and mixed.prompt_length[row] == alone.prompt_length[place]
            words = MIXTURE.vocabulary.decode(mixed.tokens[row, :length])
            assert words == task.vocabulary.decode(alone.tokens[place, :length])
            assert (mixed.author[row, :length] == alone.author[place, :length]).all()
            answers = mixed.answers[row][mixed.answers[row] != PAD]
            own = alone.answers[place][alone.answers[place] != PAD]
            assert MIXTURE.vocabulary.decode(answers) == task.vocabulary.decode(own)
            assert (mixed.distances[row, : len(own)] == alone.distances[place, : len(own)]).all()


def test_tasks_are_drawn_by_their_weights():
    kinds = MIXTURE.sample(0, np.arange(20_000), np.full(20_000, 4), "vanilla").kinds
    assert abs(np.bincount(kinds) / 20_000 - [1 / 2, 1 / 4, 1 / 4]).max() < 0.02


def test_words_in_common_are_one_word():
    words = MIXTURE.vocabulary.words
    assert words.count("YES") == words.count("7") == 1
    assert MIXTURE.vocabulary.decode(MIXTURE.answer_words) == ["YES", "NO", "w1", "w2", "w3", "w4", "w5"]


def test_kinds_have_the_names_of_their_classes():
    assert MIXTURE.kinds == ("Counting", "StringCopying", "IsTree")
    assert Mixture([Index(8), IsTree(8), Index(16)]).kinds == ("Index1", "IsTree", "Index2")


class Trace(WordTask):
    """Writes a word that is an answer elsewhere, and knows one regime."""

    regimes = ("cot",)

    def __init__(self):
        super().__init__(["YES", "done"], answers=["done"])

    def draw(self, rng, size):
        return None

    def write_turns(self, problem, regime):
        return [Turn("<s> ?", "YES done")]


def test_an_answer_that_would_end_a_turn_of_another_task_is_refused():
    with pytest.raises(UserError, match="the word 'YES' of Trace is an answer in another task"):
        Mixture([IsTree(8), Trace()])


def test_a_mixture_has_the_regimes_that_all_have():
    with pytest.raises(UserError, match="regime must be cot for Mixture, got 'vanilla'"):
        Mixture([Index(8), Trace()]).sample(0, np.arange(1), np.full(1, 4), "vanilla")


def test_sizes_must_suit_all():
    with pytest.raises(UserError, match=r"size must be 4 to 16, got 3; set data.sizes"):
        MIXTURE.sample(0, np.arange(1), np.full(1, 3), "vanilla")


@pytest.mark.parametrize(
    ("tasks", "weights"),
    [
        ([], None),
        (MEMBERS, [1.0]),
        (MEMBERS, [1.0, 0.0, 1.0]),
        (MEMBERS, [1.0, float("nan"), 1.0]),
        (MEMBERS, [float("nan"), 1.0, 1.0]),
        (MEMBERS, [1.0, float("inf"), 1.0]),
        (MEMBERS, [1e308, 1e308, 1.0]),
    ],
)
def test_what_cannot_be_mixed_is_refused(tasks, weights):
    with pytest.raises(UserError, match="weights must be above 0 with a finite sum, one for each of 1 or more tasks"):
        Mixture(tasks, weights)


def test_tasks_without_a_regime_in_common_and_with_an_end_are_refused():
    one, other, short = Counting(8), StringCopying(8), StringCopying(8)
    one.regimes, other.regimes, short.num_problems = ("cot",), ("vanilla",), 10
    with pytest.raises(UserError, match="must have a regime in common, and Counting and StringCopying have none"):
        Mixture([one, other])
    with pytest.raises(UserError, match="needs problems without end, got StringCopying, which has 10"):
        Mixture([Counting(8), short])


@pytest.mark.parametrize("change", [
    lambda: EitherFormRetriever(RegularExpressionRetriever(max_length=5000)), lambda: lambda *searched: searched[1],
], ids=["a limit within", "a function"])  # fmt: skip
def test_retrievers_that_differ_within_are_not_one(change):
    one, other = Index(8), Index(8)
    one.retriever, other.retriever = change(), change()
    Mixture([one, one]), Mixture([Index(8), Index(8)])
    with pytest.raises(UserError, match="must search with one retriever and its settings"):
        Mixture([one, Index(8)])
    if not isinstance(one.retriever, EitherFormRetriever):
        with pytest.raises(UserError, match="must search with one retriever and its settings"):
            Mixture([one, other])


class Listing(EitherFormRetriever):
    """Has what may be in a retriever of one's own."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers, self.parts, self.seen, self.me = np.array(numbers), [EitherFormRetriever()], {}, self


def test_retrievers_of_one_s_own_are_compared_whatever_they_hold():
    one, other, third = Index(8), Index(8), Index(8)
    one.retriever, other.retriever, third.retriever = Listing([1, 2]), Listing([1, 2]), Listing([1, 3])
    one.retriever.seen["a query"] = "what it found"
    Mixture([one, other])
    with pytest.raises(UserError, match="must search with one retriever"):
        Mixture([one, third])


def test_a_mixture_within_a_mixture_draws_all_of_its_tasks():
    """With other random numbers than the outer one, which would leave out those of its first half."""
    within = Mixture([Counting(8), StringCopying(8)])
    for inner in (within, ReadAgain(within)):
        outer = Mixture([Counting(8), inner]).sample(0, np.arange(2000), np.full(2000, 8), "vanilla").kinds
        rows = np.flatnonzero(outer == 1)
        kinds = within.sample(0, rows, np.full(len(rows), 8), "vanilla").kinds
        assert abs(outer.mean() - 0.5) < 0.05 and abs(kinds.mean() - 0.5) < 0.06


def test_tasks_search_with_their_retriever_and_all_with_one():
    class Own(EitherFormRetriever):
        pass

    one, other = Index(8), Index(8)
    one.retriever = Own()
    assert isinstance(Mixture([one]).retriever, Own)
    with pytest.raises(UserError, match="must search with one retriever and its settings, got Own and EitherFormRetr"):
        Mixture([one, other])
    other.retriever = Own()
    assert Mixture([one, other]).retriever is one.retriever
    other.retriever.limit = 3
    with pytest.raises(UserError, match="one retriever and its settings, got Own and Own"):
        Mixture([one, other])
