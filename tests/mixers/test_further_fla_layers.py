"""The further layers of fla on a CPU: a step's gradients, decoding in parts, rows that leave, one token, refusals."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest
import torch
from fla_layers import FURTHER, HIDDEN_SIZE, OTHERS, SMALL, make_layer
from tiny_fit import fit
from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import FlaLayer, PastInputs, as_mixer, make_mixer, select_rows, without_states
from lit_retrieval.mixers.__main__ import main
from lit_retrieval.mixers.checks import report
from lit_retrieval.mixers.mixer import count_elements
from lit_retrieval.ops.fla_cpu import install
from lit_retrieval.training import SequenceModule

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
TOLERANCE = 1e-4  # of gradients in float32 against float64; outputs of parts agree within a tenth of it
ROWS = {  # heads, times keys or slots where each decays by itself
    "ABCAttention": 2 * 8, "Comba": 2, "GatedDeltaNet2": 2 * 16, "GatedSlotAttention": 2 * 8,
    "LightNetAttention": 2 * 16, "PrecondGatedDeltaNet": 2, "PrecondKDA": 2 * 16, "Raven": 2 * 8,
    "RodimusAttention": 16, "YOCOGatedRetention": 2,
}  # fmt: skip
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


def test_a_decay_is_shown_where_there_is_one(mixer, name):
    maps = mixer.inspect(draw(1, 5))
    assert {kind: tuple(one.shape) for kind, one in maps.items()} == (
        {"decay": (1, ROWS[name], 5)} if name in ROWS else {}
    )
    assert all(one.min() >= 0 and one.max() <= 1 for one in maps.values())


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
    assert ".Refusing " in str(refused.value) and "\n" not in str(refused.value)


def test_a_kernel_that_does_not_compile_is_one_line():
    make_layer("Comba")  # loads Triton
    from triton.runtime.errors import OutOfResources

    with pytest.raises(UserError, match="OutOfResources"):
        FlaLayer(Refusing(OutOfResources(300_000, 232_448, "shared memory")))(torch.zeros(1, 2, 1))


def test_too_little_memory_is_no_refusal():
    with pytest.raises(torch.OutOfMemoryError):
        FlaLayer(Refusing(torch.OutOfMemoryError("CUDA out of memory")))(torch.zeros(1, 2, 1))


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

    tested = {*SMALL, *FURTHER, *OTHERS, "Mamba"} - {"SimpleGatedLinearAttention"}
    assert tested == {*fla.layers.__all__} - {"YOCOCrossAttention", "YOCOSharedKVBuilder"}


# Values for arguments of many layers; a layer that has none of that name has fewer variants.
VALUES = {
    "mode": ["chunk", "fused_recurrent"], "num_kv_heads": [1], "num_v_heads": [4], "expand_k": [2.0], "expand_v": [2.0],
    "use_short_conv": [True, False], "conv_bias": [True], "conv_size": [2], "conv_kernel": [2],
    "use_conv_bias": [False],
    "use_output_gate": [True, False], "use_gate": [True, False], "use_input_gate": [True], "gate_fn": ["sigmoid"],
    "output_gate_activation": ["sigmoid"], "gate_logit_normalizer": [4], "gate_low_rank_dim": [4], "clamp_min": [-1.0],
    "use_forget_gate": [True, False], "use_scalar_gate": [True], "allow_neg_eigval": [True, False],
    "lower_bound": [-5.0],
    "safe_gate": [True], "elementwise_affine": [False], "fuse_norm": [True, False], "output_norm": ["identity"],
    "use_norm": [False], "feature_map": ["relu", "elu", "identity", "swish", "t2r", "hedgehog", "dpfp", "hadamard"],
    "tie_feature_map_qk": [True], "do_feature_map_norm": [True], "norm_q": [True], "norm_k": [True],
    "normalize": [False],
    "qk_norm": [True, "sum"], "use_qk_norm": [True], "qk_activation": ["relu", "elu", "identity"], "qkv_bias": [True],
    "use_beta": [False], "use_gamma": [False], "window_size": [7], "use_rope": [True, False], "rope_inv_freq": ["yoco"],
    "n_groups": [2], "D_has_hdim": [True], "rmsnorm": [False], "norm_before_gate": [True], "dt_limit": [(0.001, 0.1)],
    "hidden_act": ["gelu"], "dt_init": ["constant"], "use_bias": [True], "value_dim": [48], "num_householder": [1, 3],
    "use_output_correction": [False], "use_inner_decay": [False], "use_low_rank_w": [False], "use_w_shortconv": [False],
    "use_p_times_alpha": [False], "min_log_mu": [None], "decay_type": ["GLA"], "bias_rmm": [True],
    "router_score": ["softmax"], "residual_in_fp32": [False], "attend_current": [True], "shared_mem": [True],
    "single_kv_proj": [True],
}  # fmt: skip
REFUSED = {  # by us, with the reason, or by a mistake in fla's layer
    ("DeltaFormerAttention", "num_kv_heads"), ("ForgettingAttention", "window_size"), ("GatedSlotAttention", "expand_v")
}  # fmt: skip
FIRST = {**SMALL, "Mamba": {"state_size": 8, "intermediate_size": 2 * HIDDEN_SIZE}}


def variants(name: str) -> Iterator[tuple[str, FlaLayer]]:
    """The layer with one argument changed, for all values that fla takes."""
    import fla.layers
    from fla.layers.simple_gla import SimpleGatedLinearAttention

    known = inspect.signature(getattr(fla.layers, name, SimpleGatedLinearAttention).__init__).parameters
    for key, values in VALUES.items():
        for value in values if key in known and (name, key) not in REFUSED else ():
            with suppress(AssertionError, AttributeError, KeyError, NotImplementedError, UserWarning, ValueError):
                yield f"{key}={value}", FlaLayer(make_layer(name, **FIRST.get(name, {}) | {key: value})).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FIRST, *FURTHER, *OTHERS])
def test_variants_train_and_decode_in_parts(name):
    x, rows, count = draw(3, 37), torch.tensor([2, 0, 2]), 0
    for changed, mixer in variants(name):
        for with_gradients in (True, False):
            with torch.set_grad_enabled(with_gradients):
                y, _ = mixer(x)
                parts, _ = run_in_parts(mixer, x, [20, 1, 1, 1, 14])
                _, middle = run_in_parts(mixer, x[:, :21], [20, 1])
                kept, _ = mixer(x[rows, 21:], select_rows(middle, rows))
            torch.testing.assert_close(parts, y, rtol=1e-4, atol=2e-5, msg=changed)
            torch.testing.assert_close(kept, y[rows, 21:], rtol=1e-4, atol=2e-5, msg=changed)
            if with_gradients:
                y.square().sum().backward()
        grads = [one.grad for one in mixer.parameters() if one.grad is not None]
        assert grads and all(grad.isfinite().all() for grad in grads), changed
        count += 1
    assert count >= 1


@pytest.mark.slow
def test_all_rules_of_a_mixer_hold(name):
    import fla.layers

    install()
    torch.manual_seed(0)  # Raven chooses slots, which rounding to bfloat16 may change
    factory = partial(getattr(fla.layers, name), **FURTHER[name])
    verdicts = {verdict.rule: verdict for verdict in report(factory, HIDDEN_SIZE, 0)}
    if name == "MomentumDeltaNet":  # traced, PyTorch's gradient of softplus has another layout than without
        del verdicts["torch.compile"]
    assert not [one for one in verdicts.values() if one.result not in ("pass", "n/a")]
    does_not_apply = {rule for rule, one in verdicts.items() if one.result == "n/a"}
    assert does_not_apply <= {"CUDA", "causal with NaN"}


def test_a_training_step_builds_no_cache_unless_states_are_handed_on(tmp_path):
    from fla.layers import GatedLinearAttention

    given = []

    class Watched(GatedLinearAttention):
        def forward(self, hidden_states, past_key_values=None, use_cache=False, **options):
            if self.training and not hidden_states.is_leaf:  # a step, not the checks before it
                given.append(use_cache)
            return super().forward(hidden_states, past_key_values=past_key_values, use_cache=use_cache, **options)

    for first_state in (None, "same"):
        fit(tmp_path, mixer=partial(Watched, num_heads=2), module=partial(SequenceModule, first_state=first_state))
        assert set(given) == {first_state == "same"}
        given.clear()
