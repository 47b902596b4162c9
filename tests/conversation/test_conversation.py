from itertools import pairwise

import numpy as np
import pytest

from lit_retrieval import decoding
from lit_retrieval.conversation import Author, Conversation, spans
from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import EitherFormRetriever
from lit_retrieval.tasks import IsTree, Turn, WordTask
from lit_retrieval.vocabulary import Vocabulary

WORDS = Vocabulary(["a", "b", "yes", "no"])


def converse(turns, said, **options):
    """A conversation in which the model says these words."""
    conversation = Conversation(
        [WORDS.encode(turn.split()) for turn in turns], set(WORDS.encode(["yes", "no"]).tolist()),
        EitherFormRetriever(), WORDS, **options,
    )  # fmt: skip
    for token in WORDS.encode(said.split()).tolist():
        conversation.take_forced()
        conversation.step(token)
    return conversation


def text_of(reply):
    return " ".join(
        span.mark(" ".join(WORDS.decode(reply.tokens[span.start : span.stop]))) for span in spans(reply.author)
    )


def test_searches_turns_and_answers_are_put_in_where_they_belong():
    conversation = converse(["<s> a b ?", "b ?"], "<StartSearch> a <EndSearch> yes no")
    reply = conversation.reply()
    assert text_of(reply) == "<s> a b ? <StartSearch> a <EndSearch> [b] yes b ? no"
    assert WORDS.decode(reply.answers) == ["yes", "no"] and reply.num_searches == 1 and conversation.is_finished


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_the_limit_counts_the_tokens_after_the_prompt(limit):
    conversation = converse(["<s> a ?"], " ".join(["b"] * limit), max_new_tokens=limit)
    assert conversation.is_finished and conversation.reply().answers == [decoding.UNDECIDED]
    assert not converse(["<s> a ?"], " ".join(["b"] * (limit - 1)), max_new_tokens=limit).is_finished


@pytest.mark.parametrize("author", [[], [1], [1, 1, 2], [1, 2, 3, 2, 1, 2], [2, 2, 2]])
def test_spans_are_the_runs_of_one_author(author):
    found = list(spans(np.array(author, np.int8)))
    assert [int(span.author) for span in found for _ in range(span.start, span.stop)] == author
    assert all(before.author != after.author for before, after in pairwise(found))
    assert all(isinstance(span.author, Author) for span in found)


class Slow(WordTask):
    def __init__(self):
        super().__init__(["a", "yes"], ["yes"])
        self.retriever = self.search

    def search(self, context, query, vocabulary):
        raise TimeoutError

    def draw(self, rng, size):
        return None

    def write_turns(self, problem, regime):
        return [Turn("<s> a ?", "<StartSearch> a <EndSearch> yes")]


def test_a_search_that_takes_too_long_writes_no_sample():
    with pytest.raises(UserError, match="a search of Slow took too long"):
        Slow().sample(0, np.arange(1), np.ones(1, np.int64), "retrieval")


def test_the_old_name_of_max_new_tokens_is_still_taken():
    with pytest.warns(UserWarning, match="now called data.max_new_tokens"):
        assert TranscriptData(IsTree(max_size=4), sizes=[4], budget=77).max_new_tokens == 77
