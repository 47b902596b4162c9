"""A retriever that errs: how often, how, and always alike."""

import numpy as np
import pytest

from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import FaultyRetriever, ShortFormRetriever
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


def test_a_wrong_word_is_another_of_the_context():
    found = answers(FaultyRetriever(1, "wrong"))
    is_there = (SAMPLES.tokens[:, :9] == found[:, None]).any(1)
    assert is_there.all() and len(np.unique(found)) == 24


def test_with_nothing_but_the_answer_in_its_context_it_finds_nothing():
    word = TASK.vocabulary.encode(["k1"])
    found = FaultyRetriever(1, "wrong", lambda context, query, vocabulary: word)(word, word, TASK.vocabulary)
    assert found.tolist() == [FAILED]


@pytest.mark.parametrize(("options", "key"), [({"rate": 2.0}, "rate"), ({"fault": "late"}, "fault")], ids=str)
def test_what_it_is_not_is_refused(options, key):
    with pytest.raises(UserError, match=f"set data.retriever.init_args.{key}"):
        FaultyRetriever(**options)
