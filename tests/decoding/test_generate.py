"""The decoding loop, fed by an oracle that knows the transcripts and by real models."""

import numpy as np
import pytest
import torch
from catalogue import CASES, TASKS
from torch.nn import functional as F

from lit_retrieval.data import collate
from lit_retrieval.decoding import UNDECIDED, Conversations, begin, decode, generate
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention, Mamba, SwiGLU
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.retrieval import EitherFormRetriever, RegularExpressionRetriever, ShortFormRetriever
from lit_retrieval.tasks import AssociativeRecall, Author
from lit_retrieval.training.scores import Scores, closed_loop
from lit_retrieval.vocabulary import PAD

EXPRESSIONS = RegularExpressionRetriever(timeout=5.0)  # so that a busy machine turns no result into FAILED
RETRIEVERS = {"ids": ShortFormRetriever(), "either": EitherFormRetriever(EXPRESSIONS), "expressions": EXPRESSIONS}


class Oracle:
    """A model that replays transcripts: whatever it read, it wants what is right next. Its state is (row, place)."""

    def __init__(self, transcripts, vocab_size):
        right = transcripts.tokens.astype(np.int64)
        is_asked = transcripts.author == Author.ASKED
        answers = transcripts.answers[is_asked.any(1)]
        right[is_asked] = answers[answers != PAD]
        self.tokens, self.vocab_size = torch.from_numpy(right), vocab_size

    def __call__(self, tokens, state=None, positions=None):
        rows, place = (torch.arange(len(tokens)), 0) if state is None else state
        time = tokens.shape[1]
        wanted = F.pad(self.tokens, (0, 1))[rows[positions // time], place + positions % time + 1]
        return F.one_hot(wanted, self.vocab_size).float(), (rows, place + time)


def sample(name, regime, count, seed=0):
    task, sizes = TASKS[name]
    return task, task.sample(seed, np.arange(count), np.resize(sizes, count), regime)


def play(model, task, transcripts, retriever=RETRIEVERS["ids"], max_new_tokens=10_000):
    return decode(model, transcripts, task, retriever, max_new_tokens)


def scores(replies, task, transcripts):
    """What a run would report of these replies: by group, each quantity."""
    batch = collate(transcripts)
    measured = closed_loop(replies, batch, task.chances)
    sizes = sorted(set(transcripts.sizes.tolist()))
    means = Scores(list(measured), sizes, int(transcripts.distances.max()), task.kinds)
    means.update(measured, batch)
    return {str(name): float(mean) for name, mean in means.compute().items()}


@pytest.mark.parametrize(
    ("name", "regime", "retriever"),
    # The expressions of the full form are not in the short form, which is matched on ids.
    [
        (name, regime, retriever)
        for name, regime in CASES
        for retriever in RETRIEVERS
        if (retriever, name[-4:]) != ("ids", "full") and name != "mixture_beside"  # its rows are decoded in two parts
    ],
)
def test_an_oracle_writes_every_transcript_again_word_for_word_and_scores_one(name, regime, retriever):
    task, transcripts = sample(name, regime, 100)
    replies = play(Oracle(transcripts, len(task.vocabulary)), task, transcripts, RETRIEVERS[retriever])
    for row, reply in enumerate(replies):
        length = transcripts.length[row]
        assert reply.tokens == transcripts.tokens[row, :length].tolist()
        assert reply.author == transcripts.author[row, :length].tolist()
        assert reply.answers == transcripts.answers[row][transcripts.answers[row] != PAD].tolist()
        assert reply.num_searches == (reply.tokens.count(4) if regime == "retrieval" else 0)
    scored = scores(replies, task, transcripts)
    for quantity, mean in (("closed_loop_accuracy", 1), ("all_right", 1), ("paper_score", 1), ("undecided", 0)):
        of_groups = [value for name, value in scored.items() if name.split("/")[-1] == quantity]
        assert set(of_groups) == {mean} and len(of_groups) > len(set(transcripts.sizes)), "of all, and by size at least"


def test_rows_whose_answers_are_beside_or_written_are_decoded_together_as_apart():
    task, transcripts = sample("mixture_beside", "vanilla", 20)
    model = model_of("mamba", len(task.vocabulary)).eval()
    together = play(model, task, transcripts, max_new_tokens=5)
    asked = (transcripts.author == Author.ASKED).any(1)
    assert 0 < asked.sum() < 20
    for row in range(20):
        (alone,) = play(model, task, transcripts[np.array([row])], max_new_tokens=5)
        assert alone == together[row]
        assert (alone.tokens == transcripts.tokens[row, : transcripts.length[row]].tolist()) or not asked[row]
    batch = collate(transcripts)
    logits, _ = model(batch.tokens[:, :-1], positions=batch.positions)
    given = logits.argmax(-1)[torch.from_numpy(asked)[batch.rows]].tolist()
    assert given == [answer for row in np.flatnonzero(asked) for answer in together[int(row)].answers]


def test_the_model_is_never_asked_for_words_that_are_forced_on_it():
    task, transcripts = sample("associative_recall_4", "retrieval", 8)
    oracle = Oracle(transcripts, len(task.vocabulary))
    oracle.tokens = oracle.tokens * torch.from_numpy(transcripts.author == Author.MODEL)
    replies = play(oracle, task, transcripts)
    assert [reply.answers for reply in replies] == transcripts.answers.tolist()


def silent(vocab_size, word=0):
    def model(tokens, state=None, positions=None):
        return F.one_hot(torch.full_like(positions, word), vocab_size).float(), None

    return model


def test_the_token_limit_is_one_number_for_every_row_and_leaves_it_undecided():
    task, transcripts = sample("is_tree_binary", "cot", 9)
    replies = play(silent(len(task.vocabulary)), task, transcripts, max_new_tokens=7)
    assert all(reply.answers == [UNDECIDED] for reply in replies)
    assert [len(reply.tokens) for reply in replies] == (transcripts.prompt_length + 7).tolist()


def test_a_search_that_finds_nothing_forces_failed_on_the_model():
    task, transcripts = sample("is_tree_binary", "retrieval", 2)
    end = task.vocabulary.encode(["<EndSearch>"])[0]
    (reply, _) = play(silent(len(task.vocabulary), int(end)), task, transcripts, max_new_tokens=4)
    assert task.vocabulary.decode(reply.tokens[-4:]) == ["<EndSearch>", "FAILED"] * 2
    assert reply.author[-4:] == [Author.MODEL, Author.RETRIEVER] * 2


def test_an_answer_word_inside_a_query_is_no_answer():
    task = AssociativeRecall(num_keys=4, num_values=2)
    transcripts = task.sample(0, np.arange(1), np.full(1, 4), "retrieval")
    words = iter(["<StartSearch>", "v1", "<EndSearch>", None, "v2"])
    prompt = transcripts.prompt_length[0]

    def model(tokens, state=None, positions=None):
        word = next(words)
        return F.one_hot(torch.tensor([task.vocabulary.encode([word])[0] if word else 0]).long(), 16).float(), None

    (reply,) = play(model, task, transcripts)
    assert task.vocabulary.decode(reply.answers) == ["v2"] and len(reply.tokens) == prompt + 5


def test_an_empty_batch_is_no_work():
    task = TASKS["is_tree_binary"][0]
    assert list(generate(silent(8), begin([], task, RETRIEVERS["ids"], 9))) == []


def model_of(name, vocab_size):
    torch.manual_seed(0)
    stages = {
        "transformer": [Stage([Attention, lambda **kw: SwiGLU(**kw, intermediate_size=32)], 2)],
        "mamba": [Stage([Mamba], 2)],
        "hybrid": [Stage([Mamba], 2), Stage([Attention, SwiGLU])],
    }
    return SequenceModel(vocab_size, 32, stages[name])


class Recorder:
    """Calls a model, and keeps the logits of each word with the row that it belongs to."""

    def __init__(self, model, batch):
        self.model, self.seen = model, [[] for _ in range(batch)]

    def __call__(self, tokens, state=None, positions=None):
        rows, inner = (torch.arange(len(tokens)), None) if state is None else state
        logits, inner = self.model(tokens, inner)
        for row, line in zip(rows.tolist(), logits, strict=True):
            self.seen[row].append(line)
        return logits.flatten(0, 1)[positions], (rows, inner)


@pytest.mark.parametrize("architecture", ["transformer", "mamba", "hybrid"])
@pytest.mark.parametrize("name", ["is_tree_binary", "associative_recall_4", "string_copying_full"])
def test_cached_logits_equal_those_of_the_full_forward(architecture, name):
    """Forced rows of many lengths, then words that the model chooses, rows leaving all the while."""
    task, transcripts = sample(name, "retrieval", 12)
    model = model_of(architecture, len(task.vocabulary))
    recorder = Recorder(model, 12)
    whole = [transcripts.tokens[row, : transcripts.length[row]] for row in range(12)]
    forced = Conversations([[tokens] for tokens in whole], {-2}, RETRIEVERS["ids"], task.vocabulary, 9)
    replies = generate(recorder, forced)
    assert [len(reply.tokens) for reply in replies] == (transcripts.length + 9).tolist()
    assert len(set(transcripts.length)) > 1, "rows must leave at different times"
    for reply, seen in zip(replies, recorder.seen, strict=True):
        with torch.no_grad():
            full, _ = model(torch.tensor([reply.tokens]))
        cached = torch.cat(seen)[: len(reply.tokens) - 1]
        torch.testing.assert_close(cached, full[0, :-1], atol=1e-4, rtol=0)
        chosen = [at for at, author in enumerate(reply.author) if author == Author.MODEL]
        assert [reply.tokens[at] for at in chosen] == cached[[at - 1 for at in chosen]].argmax(-1).tolist()


BROKEN = [[], [[1]], [9999], [-1], [0.5], None, "v1", ((1,), (1, 2)), ("v1",), (True,), (0.5,), (-1,) * 999, 3]


@pytest.mark.parametrize("found", BROKEN, ids=lambda found: f"{found!r:.20}")
def test_a_retriever_that_returns_no_tokens_of_the_vocabulary_is_refused_in_one_line(found):
    class Broken:
        def __call__(self, context, query, vocabulary):
            return np.array(found) if isinstance(found, list) else found

    def search(context, query, vocabulary):
        return found

    task, transcripts = sample("is_tree_binary", "retrieval", 2)
    with pytest.raises(UserError, match="Broken must return an array or a list of one or more token ids") as error:
        play(Oracle(transcripts, len(task.vocabulary)), task, transcripts, Broken())
    assert "\n" not in str(error.value) and len(str(error.value)) < 250
    with pytest.raises(UserError, match="search must return an array"):
        play(Oracle(transcripts, len(task.vocabulary)), task, transcripts, search)


@pytest.mark.parametrize("kind", [list, tuple, np.int64])
def test_a_retriever_may_return_a_list_of_token_ids(kind):
    def search(context, query, vocabulary):
        found = task.retriever(context, query, vocabulary)
        return found.astype(kind) if kind is np.int64 else kind(found.tolist())

    task, transcripts = sample("is_tree_binary", "retrieval", 4)
    oracle = Oracle(transcripts, len(task.vocabulary))
    given, own = (play(oracle, task, transcripts, one) for one in (search, task.retriever))
    assert [given[row] for row in range(4)] == [own[row] for row in range(4)]


@pytest.mark.parametrize("architecture", ["transformer", "mamba", "hybrid"])
def test_logits_at_positions_are_those_of_all_positions(architecture):
    model, tokens = model_of(architecture, 64), torch.randint(64, (3, 11))
    positions = torch.tensor([0, 7, 10, 32])
    everywhere, state = model(tokens)
    selected, same_state = model(tokens, None, positions)
    torch.testing.assert_close(selected, everywhere.flatten(0, 1)[positions], atol=1e-5, rtol=0)
    torch.testing.assert_close(same_state, state)
