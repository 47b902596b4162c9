"""Alice, Bob and the random-access code: who is always right sent the whole code, and nobody beats the ceiling."""

import numpy as np
import pytest
import torch
from streaming import receive, send
from torch import nn
from torch.nn import functional as F

from lit_retrieval.constructions import Theorem56
from lit_retrieval.mixers import GRU, select_rows
from lit_retrieval.models import MixerStack, SequenceModel, Stage
from lit_retrieval.tasks import AssociativeRecall, Counting, Index
from lit_retrieval.training.memory import ceiling

CODE = "random_access_code"
TASKS = {
    "index": lambda bits: Index(max_size=bits, num_words=2, distribution=CODE),
    "associative_recall": lambda bits: AssociativeRecall(num_keys=bits, num_values=2, distribution=CODE),
    "counting": lambda bits: Counting(max_size=bits, distribution=CODE),
}
QUESTIONS = {"index": "{}", "associative_recall": "k{}", "counting": "{} 0"}
OPTIONS = {"index": ["w1", "w2"], "associative_recall": ["v1", "v2"], "counting": ["NO", "YES"]}
PROBLEMS = pytest.mark.parametrize("problem", TASKS)


def read(problem, words, bits):
    """The code in a context `<s> ... ?`, `(bits,)`."""
    if problem == "counting":
        return [int(str(place) in words) for place in range(1, bits + 1)]
    return [OPTIONS[problem].index(word) for word in words if word in OPTIONS[problem]]


def draw(problem, seed, count, bits):
    """Contexts `(1, time)` with their codes `(count, bits)`, and the questions for every place, `(1, time)` each."""
    task = TASKS[problem](bits)
    sizes = np.full(count, 2 * bits if problem == "associative_recall" else bits)
    texts = [task.vocabulary.decode(row) for row in task.sample(seed, np.arange(count), sizes, "vanilla").tokens]
    texts = [words[: words.index("?") + 1] for words in texts]
    questions = [QUESTIONS[problem].format(place).split() for place in range(1, bits + 1)]
    encoded = [
        [torch.from_numpy(task.vocabulary.encode(words)).long()[None] for words in each] for each in (texts, questions)
    ]
    return encoded[0], torch.tensor([read(problem, words, bits) for words in texts]), encoded[1]


class Recorder(MixerStack):
    """Keeps the majority of each of the code's first groups of places, packed in float32, and guesses the others.

    Args:
        problem: The task that it plays.
        bits: Of the code.
        kept: Of its message, a multiple of 32.
        group: Places that share a bit; an odd number.
    """

    def __init__(self, problem, bits, kept, group=1):
        super().__init__()
        self.mixers, self.embedding = nn.ModuleList(), torch.zeros(0)
        self.problem, self.bits, self.kept, self.group = problem, bits, kept, group
        self.vocabulary = TASKS[problem](bits).vocabulary

    def state_size(self, length):
        return self.kept // 32

    def state_bits(self, length):
        return self.kept

    def forward(self, tokens, state=None):
        words = self.vocabulary.decode(tokens[0].tolist())
        if state is None:
            code = read(self.problem, words, self.bits)[: self.kept * self.group]
            majority = np.array(code).reshape(-1, self.group).mean(1) > 0.5
            return tokens, torch.from_numpy(np.packbits(majority).view(np.float32))
        at = (int(words[0].removeprefix("k")) - 1) // self.group
        remembered = np.unpackbits(state.numpy().view(np.uint8))
        option = OPTIONS[self.problem][remembered[at] if at < self.kept else 0]
        answer = torch.from_numpy(self.vocabulary.encode([option])).long()
        return F.one_hot(answer, len(self.vocabulary))[None].float(), state


def play(model, problem, contexts, codes, questions):
    """The share of all places that Bob is right about."""
    options = torch.from_numpy(TASKS[problem](len(questions)).vocabulary.encode(OPTIONS[problem]))
    answers = torch.cat([receive(model, send(model, context), questions) for context in contexts])
    return (answers == options[codes]).float().mean().item()


@PROBLEMS
def test_bob_reads_the_whole_code_out_of_a_message_that_is_longer(problem):
    bits = 64
    contexts, codes, questions = draw(problem, 0, 3, bits)
    model = Theorem56(problem).write(TASKS[problem](bits).vocabulary)
    assert play(model, problem, contexts, codes, questions) == 1.0
    memory = min(model.state_bits(context.shape[1]) for context in contexts)
    assert memory >= bits and ceiling(memory, bits) == 1.0


@PROBLEMS
@pytest.mark.parametrize("kept", [32, 96])
def test_who_keeps_some_bits_and_guesses_the_others_is_above_chance_and_below_the_ceiling(problem, kept):
    bits, count = 128, 10
    model = Recorder(problem, bits, kept)
    game = draw(problem, 1, count, bits)
    assert send(model, game[0][0]).numel() * 32 == model.state_bits(bits) == kept
    right, expected = play(model, problem, *game), 1 / 2 + kept / (2 * bits)
    deviation = (count * (bits - kept)) ** 0.5 / 2 / (count * bits)  # of so many guesses
    assert abs(right - expected) < 4 * deviation < 0.05 and right < ceiling(kept, bits)


def test_the_majority_of_three_places_tells_more_and_stays_below_the_ceiling():
    bits, kept = 96, 32
    game = draw("index", 1, 20, bits)
    right = play(Recorder("index", bits, kept, group=3), "index", *game)
    assert 1 / 2 + kept / (2 * bits) < 0.71 < right < 0.79 < ceiling(kept, bits), "3 of 4 in a majority; 1,920 answers"


def sign(state):
    """A message of a bit for each number, through which gradients pass unchanged."""
    (numbers,) = state
    return (numbers + (numbers.sign() - numbers).detach(),)


def test_a_trained_model_that_has_learned_something_stays_below_its_ceiling():
    torch.manual_seed(0)
    bits, kept, count = 12, 8, 100
    task = TASKS["index"](bits)
    model = SequenceModel(len(task.vocabulary), 16, [Stage([lambda **kw: GRU(**kw, state_dim=kept)])], "learned")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    questions = torch.from_numpy(task.vocabulary.encode([str(place) for place in range(1, bits + 1)])).long()
    for step in range(400):
        drawn = task.sample(1, np.arange(32 * step, 32 * step + 32), np.full(32, bits), "vanilla").tokens
        contexts = torch.from_numpy(drawn[:, : bits + 2]).long()
        message = select_rows(sign(model(contexts)[1]), torch.arange(32).repeat_interleave(bits))
        logits = model(questions.repeat(32)[:, None], message)[0][:, -1]
        loss = F.cross_entropy(logits, contexts[:, 1 : bits + 1].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    contexts = torch.cat(draw("index", 2, count, bits)[0])
    answers = receive(model, sign(send(model, contexts)), [question.repeat(count, 1) for question in questions])
    right = (answers == contexts[:, 1 : bits + 1]).float().mean()
    assert model.state_size(bits + 2) == kept
    assert 0.6 <= right <= ceiling(kept, bits) < 0.95
