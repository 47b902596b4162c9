"""The compiled rules against plain ones: every task, regime and retriever, with right, wrong and random words."""

import numpy as np
import pytest
from catalogue import TASKS
from naive_conversation import NaiveConversation

from lit_retrieval.conversation import Author, Conversations, Turns
from lit_retrieval.retrieval import EitherFormRetriever, RegularExpressionRetriever, ShortFormRetriever
from lit_retrieval.tasks import REGIMES
from lit_retrieval.vocabulary import END_SEARCH, FIRST_WORD, PAD, START_SEARCH, Vocabulary


class Several:
    """Finds the last words that a query sees, as many as the query has, and none of a query of three in time."""

    def __call__(self, context, query, vocabulary):
        if len(query) == 3:
            raise TimeoutError
        return np.append(context[-len(query) :] if len(query) else context[:0], 5)


class Backwards(ShortFormRetriever):
    """A derived retriever: the compiled search must not stand in for it."""

    def __call__(self, context, query, vocabulary):
        return super().__call__(context[::-1].copy(), query, vocabulary)


class Kept(EitherFormRetriever):
    """A derived retriever with the call of its base."""


PATIENT = RegularExpressionRetriever(timeout=5.0)
RETRIEVERS = {
    "ids": ShortFormRetriever(), "either": EitherFormRetriever(PATIENT), "kept": Kept(PATIENT), "several": Several(),
    "backwards": Backwards(), "expressions": PATIENT,
}  # fmt: skip


def choices(rng, transcripts, vocab_size, share_wrong, share_signs):
    """What a model would write at each position: the right words, some wrong ones, and some signs of a search."""
    more = rng.integers(0, vocab_size, (len(transcripts), 40))
    right = np.concatenate([transcripts.tokens, more], 1)
    right = np.where(rng.random(right.shape) < share_wrong, rng.integers(0, vocab_size, right.shape), right)
    signs = rng.choice([START_SEARCH, END_SEARCH], right.shape)
    return np.where(rng.random(right.shape) < share_signs, signs, right)


def play_both(task, transcripts, words, retriever, max_new_tokens):
    """The replies of the compiled rules and of the plain ones, and how many rows were finished after each step."""
    answer_tokens, rows = set(task.answer_words.tolist()), range(len(transcripts))
    counts = [len(transcripts.answers_of(row)) for row in rows]
    turns = Turns.of(transcripts.tokens, transcripts.author)
    ours = Conversations(turns, answer_tokens, retriever, task.vocabulary, max_new_tokens, counts)
    shared = answer_tokens, retriever, task.vocabulary, max_new_tokens
    plain = [NaiveConversation(transcripts.turns(row), *shared, counts[row]) for row in rows]
    live = np.arange(len(rows))
    for column in words.T:
        taken = ours.step(column[live], live)
        wanted = [PAD if plain[row].is_finished else plain[row].step(int(column[row])) for row in live]
        assert taken.tolist() == wanted
        finished = np.array([one.is_finished for one in plain])
        assert ours.is_finished.tolist() == finished.tolist()
        assert (ours.num_certain[~finished] == [len(one.waiting) for one in plain if not one.is_finished]).all()
        if column[0] % 3 == 0:  # finished rows leave now and then
            live = live[~finished[live]]
    assert list(ours.replies()) == [one.reply() for one in plain]
    return ours.replies()


@pytest.mark.parametrize(
    ("name", "retriever"),
    # These differ in the search alone, which three tasks show.
    [
        (name, one)
        for name in TASKS
        for one in (RETRIEVERS if name in ("is_tree_binary", "mixture", "counting_full") else ("either", "several"))
    ],
)
def test_the_rules_are_those_of_a_plain_conversation(name, retriever):
    """One pass for each regime and kind of words."""
    task, sizes = TASKS[name]
    rng = np.random.default_rng(len(name))
    for regime in task.regimes:
        transcripts = task.sample(0, np.arange(6), np.resize(sizes, 6), regime)
        transcripts = transcripts[np.flatnonzero(~(transcripts.author == Author.ASKED).any(1))]  # others are read only
        if not len(transcripts):
            continue
        for share_wrong, share_signs in ((0, 0), (0.02, 0), (1, 0), (1, 0.4)):
            words = choices(rng, transcripts, len(task.vocabulary), share_wrong, share_signs)
            limit = int((transcripts.length - transcripts.prompt_length).max()) + (0 if share_wrong == 1 else 20)
            replies = play_both(task, transcripts, words, RETRIEVERS[retriever], limit)
            if not share_wrong and (retriever in ("either", "kept") or regime != "retrieval"):
                assert [one.answers for one in replies] == [transcripts.answers_of(row) for row in range(len(replies))]


WORDS = Vocabulary(["a", "b", "c", "yes", "no"])
A, B, C, YES, NO = range(FIRST_WORD, FIRST_WORD + 5)


class Spy:
    """Keeps what it is asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, context, query, vocabulary):
        self.asked.append((context.tolist(), query.tolist()))
        return np.array([C, C])


@pytest.mark.parametrize(
    ("prompt", "said", "asked"),
    [
        ([A], [B, START_SEARCH, C, END_SEARCH], [([A, B], [C])]),
        ([A], [START_SEARCH, B, END_SEARCH, A, END_SEARCH], [([A], [B]), ([A, END_SEARCH, A], [])]),
        ([A], [START_SEARCH, A, B, START_SEARCH, C, END_SEARCH], [([A, A, B], [C])]),
        ([A], [START_SEARCH, START_SEARCH, YES, END_SEARCH], [([A], [YES])]),
        ([A, START_SEARCH, B], [C, END_SEARCH], [([A], [B, C])]),
        ([A, START_SEARCH, B, END_SEARCH, C], [END_SEARCH], [([A, C], [])]),
        (list(range(FIRST_WORD, FIRST_WORD + 3)) * 300, [END_SEARCH], [([A, B, C] * 300, [])]),
    ],
)
def test_what_a_query_is_and_sees(prompt, said, asked):
    """A search hides its words and leaves one mark; a second start makes plain text of an unfinished query."""
    spy = Spy()
    conversation = Conversations([[np.array(prompt, np.int32)]], {YES, NO}, spy, WORDS)
    conversation.write(0, np.array(said, np.int32))
    assert spy.asked == asked
    (reply,) = conversation.replies()
    assert reply.num_searches == len(asked)


def test_turns_of_transcripts_are_those_of_each_row():
    for name in ("associative_recall_4", "own_task", "mixture"):
        task, sizes = TASKS[name]
        for regime in REGIMES:
            transcripts = task.sample(0, np.arange(9), np.resize(sizes, 9), regime)
            rows = [list(transcripts.turns(row)) for row in range(9)]
            found, wanted = Turns.of(transcripts.tokens, transcripts.author), Turns.join(rows)
            assert all((one == other).all() for one, other in zip(found, wanted, strict=True))
            spoken = [
                [transcripts.tokens[row, start:stop].tolist() for author, start, stop in transcripts.spans(row)
                 if author == Author.PROMPT]
                for row in range(9)
            ]  # fmt: skip
            assert [[turn.tolist() for turn in turns] for turns in rows] == spoken
    empty = Turns.of(np.zeros((0, 3), np.int32), np.zeros((0, 3), np.int8))
    assert len(empty.starts) == len(empty.firsts) == 1
