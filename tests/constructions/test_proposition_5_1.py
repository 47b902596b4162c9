"""Proposition 5.1: associative recall does not help an RNN with Index; regular expressions do.

An adversary, who knows the first three words of the list and what the RNN has written, answers each query of
associative recall as the retriever does. So a state of M bits and two bits tell Bob all that searches can.
"""

import numpy as np
import pytest
import torch
from streaming import receive
from torch.nn import functional as F

from lit_retrieval.constructions import Proposition51, Theorem52
from lit_retrieval.decoding import decode
from lit_retrieval.errors import UserError
from lit_retrieval.models import MixerStack
from lit_retrieval.retrieval import AssociativeRecallRetriever, RegularExpressionRetriever
from lit_retrieval.tasks import Index
from lit_retrieval.training.memory import ceiling

RECALL = AssociativeRecallRetriever()
EXPRESSIONS = RegularExpressionRetriever(timeout=5.0)


def separated(size, form="recall"):
    return Index(max_size=size, num_words=4, distribution="separated_code", query_form=form)


def simulate(query, third, written):
    """What associative recall finds, from the third word and the words after the list; both bits occur in it."""
    if len(query) != 1 or query[0] in ("~", "-", "@", ">", "<EndSearch>"):
        return "FAILED"
    if query[0] in ("w1", "w2", "w3"):
        return third if query[0] == "w3" else "w3"
    places = [at for at, word in enumerate(written[:-1]) if word == query[0]]
    return written[places[0] + 1] if places else "FAILED"


@pytest.mark.parametrize("size", [16, 64])
def test_an_adversary_answers_every_query_of_associative_recall_as_the_retriever_does(size):
    task, rng = separated(size), np.random.default_rng(size)
    vocabulary = task.vocabulary
    for index in range(40):
        prompt = vocabulary.decode(task.sample(1, np.array([index]), np.array([size]), "vanilla").tokens[0][: size + 3])
        thought = rng.choice(vocabulary.words[4:], 10).tolist()
        context = vocabulary.encode([*prompt, *thought])
        assert {"w1", "w2"} <= set(prompt)
        for word in set(vocabulary.words) - {"<pad>", "<s>"}:
            found = vocabulary.decode(RECALL(context, vocabulary.encode([word]), vocabulary))
            assert found == [simulate([word], prompt[3], [*prompt[size + 1 :], *thought])]
        for query in (["<s>"], ["w3", "w1"], []):
            found = vocabulary.decode(RECALL(context, vocabulary.encode(query), vocabulary))
            assert found == [prompt[1] if query == ["<s>"] else simulate(query, prompt[3], [])]


class Searcher(MixerStack):
    """Bob, with M bits of the code from Alice, the first ones after the third word, which he searches for.

    Its state packs these and the adversary's two bits, the words that follow `<s>` and w3, in bytes.
    """

    def __init__(self, bits, kept):
        super().__init__()
        self.mixers, self.embedding = torch.nn.ModuleList(), torch.zeros(0)
        self.bits, self.kept = bits, kept
        self.task = separated(2 * bits)

    def forward(self, tokens, state=None):
        words = self.task.vocabulary.decode(tokens[0].tolist())
        if state is None:
            code = [int(word == "w2") for word in words[1 : 2 * self.bits : 2]]
            return tokens, torch.from_numpy(np.packbits(code[: 2 + self.kept]))
        known = np.unpackbits(state.numpy())[: 2 + self.kept]
        place = (int(words[0]) - 1) // 2
        answer = torch.tensor([int(known[place]) if place < len(known) else 0])
        first = int(self.task.vocabulary.encode(["w1"])[0])
        return F.one_hot(first + answer, len(self.task.vocabulary))[None].float(), state


@pytest.mark.parametrize("kept", [32, 94])
def test_who_searches_by_associative_recall_stays_below_the_ceiling(kept):
    bits, count = 128, 10
    model = Searcher(bits, kept)
    vocabulary = model.task.vocabulary
    drawn = model.task.sample(2, np.arange(count), np.full(count, 2 * bits), "vanilla").tokens
    questions = [torch.from_numpy(vocabulary.encode([str(1 + 2 * place)])).long()[None] for place in range(bits)]
    right = []
    for row in drawn:
        _, message = model(torch.from_numpy(row[: 2 * bits + 2]).long()[None])
        assert message.numel() * 8 < kept + 2 + 8
        answers = receive(model, message, questions)[0].numpy()
        right.append((answers == row[1 : 2 * bits : 2]).mean())
    expected = 1 / 2 + (kept + 2) / (2 * bits)
    assert abs(np.mean(right) - expected) < 0.06
    assert np.mean(right) < ceiling(kept + 2, bits) < 1


def accuracy(construction, task, size, count, retriever):
    """The share of right answers, and of those at the third position and among the last eight bits."""
    transcripts = task.sample(3, np.arange(count), np.full(count, size), "retrieval")
    replies = decode(construction.write(task.vocabulary), transcripts, task, retriever, 12)
    right = np.array([reply.answers == transcripts.answers_of(row) for row, reply in enumerate(replies)])
    places = np.array([int(task.vocabulary.words[row[size + 2]]) for row in transcripts.tokens])
    is_known = (places == 3) | (places > size - 16)
    return right.mean(), right[is_known], right[~is_known]


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("size", [2, 3, 15, 16, 64, pytest.param(1024, marks=pytest.mark.slow)])
def test_an_rnn_with_associative_recall_knows_what_it_keeps_and_one_bit_more(size, precision):
    share, known, others = accuracy(Proposition51(16, precision), separated(size), size, 300, RECALL)
    assert known.all() and len(known) > 2
    if size <= 16:
        assert share == 1.0
    else:
        assert abs(others.mean() - 1 / 2) < 0.12, "a guess"
        assert share < ceiling(8 + 2, size // 2)


@pytest.mark.parametrize("size", [2, 17, 64, pytest.param(1024, marks=pytest.mark.slow)])
def test_the_same_questions_are_answered_with_regular_expressions(size):
    task = separated(size, "full")
    assert accuracy(Theorem52("index"), task, size, 200, EXPRESSIONS)[0] == 1.0
    assert accuracy(Theorem52("index"), task, size, 200, RECALL)[0] < 0.7, "the query is no single word"


def test_the_state_does_not_depend_on_the_length_and_is_shorter_than_the_code():
    """Theorem 5.2's RNN answers all of more bits than it has, so its searches must tell them."""
    models = [Theorem52("index").write(separated(size, "full").vocabulary) for size in (16, 4096)]
    assert models[0].state_bits(100) == models[1].state_bits(5000) < separated(4096).random_bits(4096)
    assert ceiling(models[0].state_bits(100) + 2, 2048) < 0.98
    assert accuracy(Theorem52("index"), separated(4096, "full"), 4096, 4, EXPRESSIONS)[0] == 1.0


def test_no_words_to_keep_are_refused():
    with pytest.raises(UserError, match="kept must be 1 or more, got 0"):
        Proposition51(0)
