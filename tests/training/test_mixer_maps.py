import pytest
import torch
from torch import nn

from lit_retrieval.mixers import SwiGLU
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.training.mixer_maps import _fit, draw_mixers

TOKENS = torch.arange(5)


class Witness(nn.Module):
    """Draws two maps for two heads, and one for all of them; keeps what it is given."""

    def __init__(self, hidden_size, layer_idx):
        super().__init__()
        self.seen = []

    def forward(self, x, state=None):
        self.seen.append(x)
        return x + 1, None

    def inspect(self, x):
        self.seen.append(x)
        return {"attention": torch.zeros(2, 5, 5), "decay": torch.zeros(1, 4, 5)}

    def state_size(self, length):
        return 0


class Breaking(Witness):
    def forward(self, x, state=None):
        raise RuntimeError("out of order")


class Failing(Witness):
    """`inspect` raises, or returns what is not a stack of maps."""

    def inspect(self, x):
        raise KeyError("head")


class Flat(Witness):
    def inspect(self, x):
        return {"attention": torch.ones(5)}


class Empty(Witness):
    def inspect(self, x):
        return {"attention": torch.ones(0, 5, 5)}


class Nothing(Witness):
    def inspect(self, x):
        return None


class Halves(Witness):
    """Weights of which most are small, in half precision, and decays that are all the same."""

    def inspect(self, x):
        weights = torch.eye(200).bfloat16() * 0.1 + 0.001
        weights[0] = torch.eye(200)[0]
        return {"attention": weights[None], "decay": torch.full((1, 4, 5), 0.02)}


def model(*mixers):
    return SequenceModel(8, 4, [Stage(list(mixers))])


def test_a_mixer_draws_what_it_was_given_in_the_model():
    drawn = model(SwiGLU, Witness, SwiGLU, Witness)
    assert draw_mixers(drawn, TOKENS, pytest.fail).keys() == {"attention", "decay"}
    for mixer in (drawn.mixers[1], drawn.mixers[3]):
        forwarded, inspected = mixer.seen
        assert forwarded.shape == (1, 5, 4) and torch.equal(forwarded, inspected)
    assert not torch.equal(drawn.mixers[1].seen[0], drawn.mixers[3].seen[0])


def test_each_map_has_a_place_in_the_picture_of_its_kind():
    one, two = (draw_mixers(model(*[Witness] * count), TOKENS, pytest.fail) for count in (1, 2))
    assert one["attention"].shape[1] * 2 == pytest.approx(two["attention"].shape[1], rel=0.2)
    assert one["decay"].shape[1] * 2 == pytest.approx(two["decay"].shape[1], rel=0.2)


def test_mixers_that_show_nothing_make_no_picture():
    assert draw_mixers(model(SwiGLU), TOKENS, pytest.fail) == {}


@pytest.mark.parametrize("broken", [Failing, Flat, Empty, Nothing])
def test_an_inspect_that_fails_is_left_out_with_a_warning(broken):
    said = []
    drawn = draw_mixers(model(broken, Witness), TOKENS, said.append)
    assert drawn.keys() == {"attention", "decay"} and len(said) == 1
    assert said[0].startswith(f"layer 0 is not drawn: {broken.__name__}.inspect raised ")


def test_small_values_are_seen():
    drawn = draw_mixers(model(Halves), TOKENS, pytest.fail)
    for picture in drawn.values():
        assert (picture == (253, 231, 37)).all(-1).sum() > 128, "the color of the largest value"
        assert (picture == (68, 1, 84)).all(-1).any(), "the color of 0, in the scale"


@pytest.mark.parametrize("mixers", [[Witness], [Witness, Breaking]], ids=["it ends", "it breaks"])
def test_a_model_is_left_as_it_was(mixers):
    drawn = model(*mixers)
    if Breaking in mixers:
        with pytest.raises(RuntimeError, match="out of order"):
            draw_mixers(drawn, TOKENS, pytest.fail)
    else:
        draw_mixers(drawn, TOKENS, pytest.fail)
    assert not any(mixer._forward_pre_hooks for mixer in drawn.mixers)


@pytest.mark.parametrize(("rows", "columns", "shape"), [(4, 4, (128, 128)), (3, 50, (126, 100)), (99, 300, (99, 128))])
def test_a_map_is_fitted_by_whole_multiples(rows, columns, shape):
    assert _fit(torch.rand(rows, columns)).shape == shape


@pytest.mark.parametrize("place", [(0, 0), (377, 499), (499, 499)])
def test_one_token_of_many_stays_in_sight(place):
    values = torch.zeros(500, 500)
    values[place] = 1.0
    fitted = _fit(values)
    assert fitted.shape == (128, 128) and fitted[place[0] * 128 // 500, place[1] * 128 // 500] == 1
