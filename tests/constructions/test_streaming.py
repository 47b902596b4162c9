"""Alice, Bob and the random-access code: who is always right sent the whole code, and nobody beats the ceiling."""

import numpy as np
import torch
from torch.nn import functional as F

from lit_retrieval.constructions import Theorem56
from lit_retrieval.constructions.streaming import receive, send
from lit_retrieval.mixers import GRU
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.tasks import Index
from lit_retrieval.training.memory import ceiling

SIZE = 256
TASK = Index(max_size=SIZE, num_words=2, distribution="random_access_code")
W1 = int(TASK.answer_words[0])


def codes(seed, count):
    """Contexts `<s> x_1 ... x_n ?`, and the questions for every place."""
    tokens = TASK.sample(seed, np.arange(count), np.full(count, SIZE), "vanilla").tokens
    contexts = torch.from_numpy(tokens[:, : SIZE + 2].astype(np.int64))
    places = TASK.vocabulary.encode([str(place) for place in range(1, SIZE + 1)]).tolist()
    return contexts, [torch.full((count, 1), place) for place in places]


def test_bob_reads_the_whole_code_out_of_a_message_that_is_longer():
    contexts, questions = codes(0, 3)
    model = Theorem56("index").write(TASK.vocabulary)
    answers = receive(model, send(model, contexts), questions)
    assert (answers == contexts[:, 1 : SIZE + 1]).all()
    bits = model.state_bits(SIZE + 2)
    assert bits >= SIZE and ceiling(bits, SIZE) == 1.0


def test_a_trained_model_with_fewer_bits_stays_below_its_ceiling():
    torch.manual_seed(0)
    model = SequenceModel(len(TASK.vocabulary), 16, [Stage([lambda **kw: GRU(**kw, state_dim=4)])], "learned")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(60):
        transcripts = TASK.sample(1, np.arange(16 * step, 16 * step + 16), np.full(16, SIZE), "vanilla")
        tokens = torch.from_numpy(transcripts.tokens.astype(np.int64))
        loss = F.cross_entropy(model(tokens[:, :-1])[0][:, -1], tokens[:, -1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bits = model.state_bits(SIZE + 2)
    assert bits == 4 * 32, "half of the code"
    contexts, questions = codes(2, 20)
    right = (receive(model, send(model, contexts), questions) == contexts[:, 1 : SIZE + 1]).float().mean()
    assert 0.4 < right <= ceiling(bits, SIZE) < 0.9, "5,120 answers: a guess is within 0.03 of a half"
