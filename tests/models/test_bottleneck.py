"""The model that answers from one vector against a loop, and what reaches its answers."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention, LinearRNN, select_rows
from lit_retrieval.models import BottleneckModel, SequenceModel, Stage
from lit_retrieval.models.bottleneck import waves
from lit_retrieval.tasks import MADCompression
from lit_retrieval.training import SequenceModule

MARK = 2
KINDS = {"recurrent": [Stage([LinearRNN])], "attention": [Stage([partial(Attention, num_heads=2)])]}


@pytest.fixture(params=KINDS)
def model(request):
    torch.manual_seed(0)
    return BottleneckModel(9, 8, KINDS[request.param], mark=MARK).double()


def tokens_with_marks(*places, time=11):
    tokens = torch.randint(3, 9, (2, time), generator=torch.Generator().manual_seed(1))
    tokens[0, list(places)] = MARK
    return tokens


def looped(model, tokens):
    """The logits token by token: the last mark's vector, and a decoder that reads it and the tokens since."""
    hidden, _ = model.mix(F.embedding(tokens, model.embedding), None)
    read = hidden.clone()
    for row in range(len(tokens)):
        mark = None
        for place in range(tokens.shape[1]):
            mark = place if tokens[row, place] == MARK else mark
            if mark is not None:
                code = hidden[row, mark] + waves(torch.tensor(place - mark), hidden.shape[2]).double()
                read[row, place] = model.decoder(code)
    return model.predict(read)


@pytest.mark.parametrize("marks", [(), (0,), (4,), (10,), (3, 6)])
@torch.inference_mode()
def test_logits_are_those_of_a_loop_whole_or_in_parts(model, marks):
    tokens = tokens_with_marks(*marks)
    expected = looped(model, tokens)
    torch.testing.assert_close(model(tokens)[0], expected)
    for lengths in ([1] * 11, [5, 1, 5]):
        parts, state = [], None
        for part in tokens.split(lengths, dim=1):
            logits, state = model(part, state)
            parts.append(logits)
        torch.testing.assert_close(torch.cat(parts, 1), expected)
        assert torch.equal(select_rows(state, torch.tensor([0]))[1], state[1][:1])


def test_an_answer_depends_on_its_place_and_on_nothing_after_the_mark(model):
    tokens, others = tokens_with_marks(4), tokens_with_marks(4)
    others[:, 5:] = 3
    one, other = model(tokens)[0][0], model(others)[0][0]
    torch.testing.assert_close(one[4:], other[4:])
    assert (one[4:-1] - one[5:]).abs().amax(1).min() > 1e-6
    others[:, 1] = (others[:, 1] - 2) % 6 + 3
    assert (model(others)[0][0, 4:] - other[4:]).abs().amax(1).min() > 1e-9, "what is before the mark counts"


def test_places_have_waves_of_their_own():
    torch.testing.assert_close(waves(torch.tensor([0, 2]), 5)[:, [0, 3]], torch.tensor([[0, 1], [0.9093, -0.4161]]),
                               atol=1e-4, rtol=0)  # fmt: skip
    assert waves(torch.arange(256), 8).unique(dim=0).shape == (256, 8)


def test_a_module_has_it_by_name_and_counts_its_state():
    stages = [Stage([LinearRNN])]
    with_bottleneck = SequenceModule(20, 8, stages, readout="bottleneck").model
    assert isinstance(with_bottleneck, BottleneckModel) and with_bottleneck.mark == TranscriptData(
        MADCompression(), "vanilla", [4]
    ).task.vocabulary.encode(["?"])  # fmt: skip
    without = SequenceModel(20, 8, stages)
    assert with_bottleneck.state_size(10) == without.state_size(10) + 9
    assert with_bottleneck.state_bits(10) == without.state_bits(10) + 8 * 32 + 64
    with pytest.raises(UserError, match=r"leave out model\.first_state or model\.readout$"):
        SequenceModule(20, 8, stages, first_state="random", readout="bottleneck")
