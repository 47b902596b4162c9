"""A retriever that errs: how often, how, and always alike."""

import numpy as np
import pytest

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import EitherFormRetriever, FaultyRetriever, PassageRetriever, ShortFormRetriever
from lit_retrieval.tasks import AssociativeRecall
from lit_retrieval.vocabulary import FAILED

TASK = AssociativeRecall(num_keys=16, num_values=8)
SAMPLES = TASK.sample(0, np.arange(1000), np.full(1000, 8), "vanilla")


def answers(retriever):
    """What it finds for the question of each sample, a key, `(samples,)`."""
    contexts = [tokens[: length - 2] for tokens, length in zip(SAMPLES.tokens, SAMPLES.length, strict=True)]
    keys = SAMPLES.tokens[np.arange(1000), SAMPLES.prompt_length - 1]
    return np.array([retriever(one, key[None], TASK.vocabulary)[0] for one, key in zip(contexts, keys, strict=True)])


@pytest.mark.parametrize("fault", ["nothing", "wrong"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_it_errs_in_its_share_of_the_queries(rate, fault):
    found, right = answers(FaultyRetriever(rate, fault)), SAMPLES.answers[:, 0]
    wrong = found != right
    assert abs(wrong.mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / 1000)
    assert ((found[wrong] == FAILED) == (fault == "nothing")).all()
    assert np.array_equal(answers(FaultyRetriever(rate, fault, ShortFormRetriever())), found)


def test_faults_within_faults_are_drawn_apart():
    found = answers(FaultyRetriever(0.5, "nothing", FaultyRetriever(0.5, "wrong")))
    shares = (found == FAILED).mean(), ((found != FAILED) & (found != SAMPLES.answers[:, 0])).mean()
    assert np.allclose(shares, (0.5, 0.25), atol=0.06)


def test_a_wrong_word_is_another_of_the_context():
    found = answers(FaultyRetriever(1, "wrong"))
    is_there = (SAMPLES.tokens[:, :9] == found[:, None]).any(1)
    assert is_there.all() and len(np.unique(found)) == 24


def test_with_nothing_but_the_answer_in_its_context_it_finds_nothing():
    word = TASK.vocabulary.encode(["k1"])
    found = FaultyRetriever(1, "wrong", lambda context, query, vocabulary: word)(word, word, TASK.vocabulary)
    assert found.tolist() == [FAILED]


@pytest.mark.parametrize("lag", [1, 4, 100])
def test_a_late_index_lacks_the_newest_tokens(lag):
    one, right = FaultyRetriever(1, "late", lag=lag), ShortFormRetriever()
    for row in range(100):
        context = SAMPLES.tokens[row, : SAMPLES.length[row] - 2]
        for key in context[1::2]:
            expected = right(context[: len(context) - min(lag, len(context))], key[None], TASK.vocabulary)
            assert np.array_equal(one(context, key[None], TASK.vocabulary), expected)


@pytest.mark.parametrize(("lag", "found"), [(1, "c"), (2, "c"), (3, "b"), (5, None), (100, None)])
def test_a_late_index_of_text_lacks_the_newest_words(lag, found):
    assert FaultyRetriever(1, "late", lag=lag).search(r"(?s).*a=(\w)", "a=b x\na=c  y a=d") == found


LINES = "\n".join(f"- w{at} city{at}" for at in range(20))


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("fault", ["nothing", "wrong"])
@pytest.mark.parametrize("retriever", [None, PassageRetriever()], ids=["expressions", "passages"])
def test_it_errs_in_text_in_its_share_of_the_queries(rate, fault, retriever):
    one = FaultyRetriever(rate, fault, retriever)
    queries = [f"w{at}" if retriever else rf"w{at}\b.*?(\w+)" for at in range(20)]
    texts = [f"- x{number} y\n{LINES}" for number in range(20)]
    found = [[one.search(query, text) for query in queries] for text in texts]
    assert found == [[one.search(query, text) for query in queries] for text in texts]
    right = [f"w{at} city{at}" if retriever else f"city{at}" for at in range(20)]
    wrong = [given for row in found for given, true in zip(row, right, strict=True) if given != true]
    assert abs(len(wrong) / 400 - rate) <= 4 * np.sqrt(rate * (1 - rate) / 400)
    others = {None} if fault == "nothing" else {*LINES.replace("- ", "").split("\n" if retriever else None)}
    assert {given for given in wrong if given is None or given[0] not in "xy"} <= others
    assert fault == "nothing" or rate < 1 or len(set(wrong)) > 10, "any of the others"


def test_an_index_is_late_for_its_share_of_the_queries():
    text = "a=b x\na=c  y a=d"
    texts = [f"{number}\n{text}" for number in range(1000)]
    found = [FaultyRetriever(0.1, "late", lag=2).search(r"(?s).*a=(\w)", one) for one in texts]
    assert set(found) == {"c", "d"} and abs(found.count("c") / 1000 - 0.1) <= 5 * np.sqrt(0.09 / 1000)


def test_it_searches_text_only_if_its_retriever_does():
    assert hasattr(FaultyRetriever(), "search") and not hasattr(
        FaultyRetriever(retriever=ShortFormRetriever()), "search"
    )


class OfPassages(AssociativeRecall):
    """Its own retriever is not the default."""

    retriever = ShortFormRetriever()


def test_without_a_retriever_it_errs_about_that_of_the_task():
    task, given = OfPassages(num_keys=16, num_values=8), EitherFormRetriever()
    alone, nested = FaultyRetriever(0.3, "late", lag=3), FaultyRetriever(retriever=FaultyRetriever())
    found = TranscriptData(task, sizes=[8], retriever=alone).retriever
    assert found.retriever is task.retriever and (found.rate, found.fault, found.lag) == (0.3, "late", 3)
    assert TranscriptData(task, sizes=[8], retriever=nested).retriever.retriever.retriever is task.retriever
    assert TranscriptData(task, sizes=[8], retriever=FaultyRetriever(retriever=given)).retriever.retriever is given
    assert FaultyRetriever(0).around(PassageRetriever()).search("w3", LINES) == "w3 city3"


@pytest.mark.parametrize(
    ("options", "key"),
    [({"rate": 2.0}, "rate"), ({"fault": "slow"}, "fault"), ({"lag": 0, "fault": "late"}, "lag")],
    ids=str,
)
def test_what_it_is_not_is_refused(options, key):
    with pytest.raises(UserError, match=f"set data.retriever.init_args.{key}"):
        FaultyRetriever(**options)
