"""What all prompts of a batch begin with is read once, and the replies are those of whole prompts."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from fla_layers import make_layer
from forgetful import Forgetful, enlarge, make_model
from mixer_cases import MIXERS
from own_networks import Gru
from pretrained_models import VOCABULARY, write_folder

from lit_retrieval.decoding import Conversations, ModelGraphs, generate
from lit_retrieval.mixers import Attention, FlaLayer, Mamba, SwiGLU
from lit_retrieval.models import Stage, WholeModel
from lit_retrieval.pretrained import Folder
from lit_retrieval.retrieval import ShortFormRetriever
from lit_retrieval.vocabulary import FIRST_WORD, Vocabulary

WORDS = Vocabulary(f"w{number}" for number in range(FIRST_WORD, VOCABULARY))
ATTENTION = partial(Attention, num_heads=2)
STAGES = {
    "transformer": [Stage([ATTENTION, SwiGLU], 2)], "hybrid": [Stage([Mamba], 2), Stage([ATTENTION, SwiGLU])],
    **{name: [Stage([mixer])] for name, mixer in MIXERS.items() if "GLU" not in name and " " not in name},
}  # fmt: skip
FLA = ["GatedLinearAttention", "GatedDeltaNet", "Mamba2", "RWKV7Attention"]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")


class Counted:
    """Counts the tokens that a model reads; `takes_several` is the model's own unless it is given."""

    def __init__(self, model, takes_several=None):
        self.model, self.read = model, []
        self.takes_several = model.takes_several if takes_several is None else takes_several

    def __call__(self, tokens, state=None, positions=None):
        self.read.append(tuple(tokens.shape))
        return self.model(tokens, state, positions)


def prompts(shared, rests, seed=0):
    """Prompts that begin with as many tokens in common, and end with so many others each, the first always another."""
    rng = np.random.default_rng(seed)
    common = rng.integers(FIRST_WORD, len(WORDS), shared)
    rows = [np.append(common, rng.integers(FIRST_WORD, len(WORDS), rest)) for rest in rests]
    for number, row in enumerate(rows):
        row[shared : shared + 1] = FIRST_WORD + number
    return rows


def write(model, rows, answers=range(FIRST_WORD, VOCABULARY, 9), most=12):
    """Replies to the prompts; a ninth of the words end a turn, so rows leave early."""
    return generate(model, Conversations([[row] for row in rows], answers, ShortFormRetriever(), WORDS, most))


def check(model, shared=41, rests=(1, 7, 3, 7, 12)):
    """Replies with the prefix read once are those without, token for token; returns the shapes that were read."""
    rows = prompts(shared, rests)
    apart, once = Counted(model, takes_several=False), Counted(model)
    expected = write(apart, rows)
    assert write(once, rows) == expected
    assert write(Forgetful(apart), rows) != expected, "what is written depends on the state"
    assert apart.read[0] == (len(rows), shared + min(rests))
    return once.read


def made(stages):
    return make_model(VOCABULARY, 32, stages)


@pytest.mark.parametrize("name", STAGES)
def test_models_of_stages_read_it_once_and_reply_the_same(name):
    assert check(made(STAGES[name]))[:2] == [(1, 41), (5, 1)]
    assert check(made(STAGES[name]), rests=(9, 7, 12))[:2] == [(1, 41), (3, 7)]


@on_linux
@pytest.mark.parametrize("name", FLA)
def test_layers_of_fla_do_so_too(name):
    model = made([Stage([lambda hidden_size, layer_idx: FlaLayer(make_layer(name))])])
    assert check(model, rests=(9, 7, 12))[:2] == [(1, 41), (3, 7)]


@on_linux
@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "mamba2", "falcon_h1", "gla", "mamba"])
def test_pretrained_models_do_if_several_tokens_may_follow_their_state(architecture, tmp_path):
    loaded = Folder(write_folder(tmp_path, architecture))
    model = enlarge(WholeModel(VOCABULARY, loaded.load), 5.0).eval()
    first, second, *_ = check(model, rests=(9, 7, 12))
    assert (first, second) == (((3, 48), (3, 1)) if architecture == "mamba" else ((1, 41), (3, 7)))


class CanNotRepeat(Gru):
    """Has a state from which rows may leave, but which no row is in twice."""

    takes_several = False


@pytest.mark.parametrize("network", [Gru, CanNotRepeat])
def test_a_network_may_say_that_it_does_not(network):
    torch.manual_seed(0)
    model = enlarge(WholeModel(VOCABULARY, network), 5.0).eval()
    assert check(model, rests=(9, 7, 12))[0] == ((1, 41) if network is Gru else (3, 48))


def test_a_model_that_says_nothing_reads_whole_prompts():
    model, shapes = made(STAGES["transformer"]), []

    def silent(tokens, state=None, positions=None):
        shapes.append(tuple(tokens.shape))
        return model(tokens, state, positions)

    assert write(silent, prompts(41, (9, 7))) == write(model, prompts(41, (9, 7))) and shapes[0] == (2, 48)


@pytest.mark.parametrize(
    ("shared", "rests", "first"),
    [
        (31, (9, 7), (2, 38)), (32, (9, 7), (1, 32)), (41, (9,), (1, 50)), (41, (0, 0), (1, 40)), (41, (0, 9), (1, 40)),
        (32, (0, 9), (2, 32)), (33, (0, 9), (1, 32)),
    ],
)  # fmt: skip
def test_it_is_read_once_if_it_is_long_enough_and_the_last_token_by_every_row(shared, rests, first):
    """A prompt may be what another begins with, all may be the same, and one row shares with none."""
    model = made(STAGES["hybrid"])
    once, rows = Counted(model), prompts(shared, rests)
    assert write(once, rows) == write(Counted(model, takes_several=False), rows) and once.read[0] == first


@pytest.mark.parametrize("name", ["Mamba", "attention", "hybrid"])
def test_recorded_steps_follow_it(name):
    model, runs = made(STAGES[name]), []

    def record(step):
        return lambda: runs.append(step())

    rows = prompts(41, (9, 7, 12, 8, 9))
    assert write(ModelGraphs(model, record), rows) == write(Counted(model, takes_several=False), rows)
    assert len(runs) > 5
