"""Layers that begin as in fla's models, which draw some of their weights."""

import warnings
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lit_retrieval.mixers import FlaLayer, make_mixer
from lit_retrieval.models import SequenceModel, Stage

MODELS = {
    "PrecondKDA": ("PrecondKDA", {"num_heads": 2, "head_dim": 32, "expand_v": 1.0}),
    "RodimusAttention": ("Rodimus", {"expand_ratio": 32, "input_gate_low_rank": 16}),
    "WallAttention": ("WallTransformer", {"num_heads": 2, "gate_init_bias": 5.0, "use_scalar_gate": True}),
}
WIDTH = 64


def layer_of(name, options):
    import fla.layers

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_mixer(partial(getattr(fla.layers, name), **options), WIDTH, 0).layer


def of_a_model(name, model, options):
    """The same layer as the first one of fla's model."""
    import fla.models

    config = getattr(fla.models, f"{model}Config")(
        hidden_size=WIDTH, num_hidden_layers=1, vocab_size=10, fuse_cross_entropy=False, fuse_norm=False, **options,
        **({"block_type": "rodimus"} if model == "Rodimus" else {}),
    )  # fmt: skip
    whole = getattr(fla.models, f"{model}Model")(config)
    return next(one for one in whole.modules() if type(one).__name__ == name)


@pytest.mark.parametrize("name", MODELS)
def test_what_only_a_model_of_fla_draws_is_as_there(name):
    """In mean and spread: the numbers are random."""
    model, options = MODELS[name]
    ours, theirs = layer_of(name, options), of_a_model(name, model, options)
    drawn = {
        "PrecondKDA": {"dt_bias"},
        "RodimusAttention": {f"{gate}_gate_proj.{part}" for gate in ("g", "tau") for part in ("weight", "bias")}
        | {"i_gate_proj.0.weight", "i_gate_proj.1.weight", "i_gate_proj.1.bias"},
        "WallAttention": {"g_proj.bias", "gs_proj.bias"},
    }[name]
    for part in drawn:
        one, other = (layer.get_parameter(part).detach() for layer in (ours, theirs))
        assert one.shape == other.shape
        assert one.mean() == pytest.approx(other.mean().item(), abs=5 * other.std().item() / one.numel() ** 0.5)
        assert one.std() == pytest.approx(other.std().item(), rel=0.4), part
    if name == "PrecondKDA":
        assert 0.0009 < F.softplus(ours.dt_bias).min() < F.softplus(ours.dt_bias).max() < 0.101


@pytest.mark.parametrize("name", MODELS)
def test_a_class_that_is_derived_from_one_begins_alike_and_may_change_it(name):
    import fla.layers

    options, base = MODELS[name][1], getattr(fla.layers, name)

    class Mine(base):
        def __init__(self, **given):
            super().__init__(**given)
            next(self.parameters()).data.fill_(0.5)

    class Ungated(base):
        def __init__(self, **given):
            super().__init__(**given)
            for parameter in self.parameters():
                parameter.data.fill_(0.25)

    layers = []
    for made in (base, Mine, Ungated):
        torch.manual_seed(0)
        layers.append(make_mixer(partial(made, **options), WIDTH, 0).layer)
    mine = FlaLayer(layers[1]).eval()
    with torch.no_grad():
        x = torch.randn(1, 6, WIDTH)
        (whole, _), (_, state) = mine(x), mine(x[:, :3])
        torch.testing.assert_close(mine(x[:, 3:], state)[0], whole[:, 3:], rtol=1e-4, atol=1e-5)
    plain, mine, ungated = (dict(layer.named_parameters()) for layer in layers)
    changed = {part for part, one in plain.items() if not torch.equal(one, mine[part])}
    assert changed == {next(iter(plain))}
    assert all((one == 0.25).all() for one in ungated.values())
    assert base.__init__.__module__.startswith("fla.") and not hasattr(base.__init__, "__wrapped__")


@pytest.mark.parametrize("name", MODELS)
def test_they_stay_with_an_initializer_range(name):
    import fla.layers

    models = []
    for std in (None, 0.5):
        torch.manual_seed(0)
        stages = [Stage([partial(getattr(fla.layers, name), **MODELS[name][1])])]
        models.append(SequenceModel(5, WIDTH, stages, initializer_range=std))
    kept = [part for part, one in models[1].named_parameters() if hasattr(one, "_no_reinit")]
    assert kept
    for part in kept:
        assert torch.equal(models[0].get_parameter(part), models[1].get_parameter(part))
