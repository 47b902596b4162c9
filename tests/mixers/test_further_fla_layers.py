"""The further layers of fla on a CPU: a step's gradients, decoding in parts, rows that leave, one token, refusals."""

import sys

import pytest
import torch
from fla_layers import FURTHER, HIDDEN_SIZE, SMALL, make_layer
from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import FlaLayer, PastInputs, as_mixer, make_mixer, select_rows, without_states
from lit_retrieval.mixers.__main__ import main
from lit_retrieval.mixers.checks.interface import count_elements

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
TOLERANCE = 1e-4  # of gradients in float32 against float64; outputs of parts agree within a tenth of it
READ_AGAIN = {
    "BasedLinearAttention", "DeltaFormerAttention", "MoBA", "MomAttention", "ReBasedLinearAttention",
    "StickBreakingAttention",
}  # fmt: skip


def draw(batch: int, time: int) -> Tensor:
    return torch.randn(batch, time, HIDDEN_SIZE, generator=torch.Generator().manual_seed(time))


def run_in_parts(mixer: nn.Module, x: Tensor, lengths: list[int]) -> tuple[Tensor, object]:
    outputs, state = [], None
    for part in x.split(lengths, 1):
        y, state = mixer(part, state)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def gradients(mixer: nn.Module, x: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    named = {"inputs": x, **dict(mixer.named_parameters())}
    with without_states():
        y, _ = mixer(x)
    loss = (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)).sum()
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), materialize_grads=True), strict=True))


@pytest.fixture(params=FURTHER)
def name(request):
    return request.param


@pytest.fixture
def mixer(name):
    return as_mixer(make_layer(name)).eval()


def test_a_training_step_has_the_gradients_of_float64(mixer, name):
    """In float64 no recurrence runs in Numba; `test_fla_families` has both forms against fla's."""
    x = draw(2, 17)
    expected = gradients(as_mixer(make_layer(name)).eval().double(), x.double())
    for part, actual in gradients(mixer, x).items():
        wanted = expected[part]
        assert wanted.abs().max() > 0, part
        assert (actual - wanted).abs().max() <= TOLERANCE * wanted.abs().max().clamp(min=1), part


@pytest.mark.parametrize("with_gradients", [False, True])
def test_parts_equal_the_whole_and_rows_may_leave_and_repeat(mixer, with_gradients):
    x, rows = draw(3, 37), torch.tensor([2, 0, 2])
    with torch.set_grad_enabled(with_gradients):
        y, whole = mixer(x)
        parts, last = run_in_parts(mixer, x, [20, 1, 1, 1, 14])
        alone, _ = mixer(x[:, :1])
        _, middle = run_in_parts(mixer, x[:, :21], [20, 1])
        kept, _ = mixer(x[rows, 21:], select_rows(middle, rows))
    torch.testing.assert_close(parts, y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone, y[:, :1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kept, y[rows, 21:], rtol=1e-4, atol=1e-5)
    assert count_elements(whole) == count_elements(last) == 3 * mixer.state_size(37)


def test_a_layer_without_a_usable_cache_keeps_its_inputs(mixer, name):
    x = draw(2, 5)
    _, state = mixer(x)
    assert isinstance(state, PastInputs) == (mixer.decoding(x.device) == "prefix") == (name in READ_AGAIN)
    if name in READ_AGAIN:
        assert torch.equal(state.inputs, x)


def test_no_cache_is_built_where_nobody_reads_it(mixer, name):
    """The layer gets no cache, and its outputs are the same."""
    given = []
    mixer.layer.register_forward_pre_hook(lambda layer, args, kwargs: given.append(kwargs), with_kwargs=True)
    x = draw(2, 5)
    with without_states():
        y, state = mixer(x)
    assert not {"past_key_values", "use_cache"} & set(given[0]) and (state is None or name in READ_AGAIN)
    torch.testing.assert_close(mixer(x)[0], y)


def test_no_token_sees_a_later_one_in_training_mode(mixer, name):
    if name == "Raven":
        mixer.layer.add_gumbel_noise = False
    mixer.train()
    x = draw(2, 12)
    changed = torch.cat([x[:, :7], -x[:, 7:]], 1)
    torch.testing.assert_close(mixer(x)[0][:, :7], mixer(changed)[0][:, :7], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "reason"), [
    ("YOCOCrossAttention", "attends to keys and values that another layer makes"),
    ("YOCOSharedKVBuilder", "makes keys and values for other layers"),
])  # fmt: skip
def test_what_is_no_mixer_is_refused_with_the_reason(name, reason):
    import fla.layers

    with pytest.raises(UserError, match=reason) as refused:
        make_mixer(lambda **sizes: getattr(fla.layers, name)(num_heads=2, **sizes), 32, 0)
    assert "\n" not in str(refused.value)


class Refusing(nn.Module):
    """A layer of fla, as it were, that raises."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, hidden_states, **kwargs):
        source = compile("raise error", "/somewhere/fla/layers/attn.py", "exec")
        exec(source, {"error": self.error})  # so that it comes from a file of fla's


@pytest.mark.parametrize(("error", "said"), [
    (ImportError("Please install Flash Attention"), "float32 tensors of a cpu: ImportError: Please install Flash"),
    (AssertionError("does not support float32. Please use bfloat16"), "AssertionError: does not support float32"),
    (NotImplementedError("requires a CUDA GPU"), "NotImplementedError: requires a CUDA GPU"),
    (RuntimeError("0 active drivers ([])"), "runs on a GPU only"),
])  # fmt: skip
def test_what_fla_refuses_is_one_line(error, said):
    with pytest.raises(UserError, match=said) as refused:
        FlaLayer(Refusing(error))(torch.zeros(1, 2, 1))
    assert "fla's Refusing" in str(refused.value) and "\n" not in str(refused.value)


def test_an_error_of_ours_is_none_of_flas():
    class Broken(nn.Module):
        def forward(self, hidden_states):
            raise TypeError("a mistake of ours")

    with pytest.raises(TypeError, match="a mistake of ours"):
        FlaLayer(Broken())(torch.zeros(1, 2, 1))


@pytest.mark.parametrize(("name", "options", "said"), [
    ("BasedLinearAttention", ["--mixer.num_heads=2", "--mixer.num_key_value_heads=2"], "reading all tokens again"),
    ("GatedSlotAttention", ["--mixer.num_heads=2"], "by its own cache"),
])  # fmt: skip
def test_mixers_check_says_how_a_layer_is_decoded(name, options, said, monkeypatch, capsys):
    from lit_retrieval.mixers.checks import RULES

    kept = {"result", "shape", "state", "decoding"}
    monkeypatch.setattr("lit_retrieval.mixers.checks.check.RULES", [rule for rule in RULES if rule.name in kept])
    with pytest.raises(SystemExit) as left:
        main(["check", f"fla.layers.{name}", *options, "--hidden_size=32"])
    assert not left.value.code and said in " ".join(capsys.readouterr().out.split())


def test_every_layer_of_fla_is_tested_or_refused():
    import fla.layers

    assert {*SMALL, *FURTHER} <= {*fla.layers.__all__, "SimpleGatedLinearAttention"}
