"""Our CPU path through fla's layers: against float64 steps and fla's own kernels, and what a newer fla would hear."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from fla_layers import FURTHER, HIDDEN_SIZE, OTHERS, SMALL, make_layer
from torch import Tensor

from lit_retrieval.mixers import FlaLayer
from lit_retrieval.ops.fla_cpu import install, mamba, on_gpu, recurrences
from lit_retrieval.ops.linear_recurrence import linear_recurrence_naive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
TOLERANCE = 1e-4  # float32 rounds to 6e-8; norms of small vectors and sums over all steps lose up to three digits


def run_with_gradients(mixer: FlaLayer, x: Tensor, before: Tensor | None) -> dict[str, Tensor]:
    """Outputs, last state, and the gradients of a loss on both for inputs, parameters and the first state."""
    x = x.clone().requires_grad_()
    first_state = None if before is None else mixer(before.clone().requires_grad_())[1]
    first = {f"first state {place}": tensor for place, tensor in enumerate(tensors_of(first_state))}
    y, state = mixer(x, first_state)
    last = {f"state {place}": tensor for place, tensor in enumerate(tensors_of(state))}
    loss = sum(
        (one * torch.linspace(-1, 1, one.numel(), dtype=one.dtype).view(one.shape)).sum() for one in last.values()
    )
    loss = loss + (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)).sum()
    named = {"inputs": x, **first, **dict(mixer.named_parameters())}
    grads = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
    return {"outputs": y, **last, **dict(zip(named, grads, strict=True))}


def tensors_of(state) -> list[Tensor]:
    if isinstance(state, tuple):
        return [tensor for part in state for tensor in tensors_of(part)]
    return [state] if isinstance(state, Tensor) else []


VARIANTS = [
    ("Mamba2", {"n_groups": 2, "D_has_hdim": True}),
    ("Mamba2", {"norm_before_gate": True, "use_bias": True}),
    ("Mamba2", {"rmsnorm": False, "use_conv_bias": False}),
    ("DeltaNet", {"expand_k": 0.625, "expand_v": 0.75}),  # 20 channels, and heads of 10 keys and 12 values
    ("GatedDeltaNet", {"num_v_heads": 4}),
    ("GatedLinearAttention", {"use_short_conv": True}),
]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in SMALL), *VARIANTS], ids=str)
def test_layer_agrees_with_float64_steps(name, options, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    mixer, exact = FlaLayer(make_layer(name, **options)), FlaLayer(make_layer(name, **options).double())
    for time in (1, 2, 63, 64, 100, 130) if not options else (2, 66):
        x, before = (torch.randn(2, steps, HIDDEN_SIZE, generator=generator) for steps in (time, 5))
        for prefix in (None, before):
            actual = run_with_gradients(mixer, x, prefix)
            with monkeypatch.context() as patch:
                for module in (mamba, recurrences):
                    patch.setattr(module, "linear_recurrence", linear_recurrence_naive)
                expected = run_with_gradients(exact, x.double(), None if prefix is None else prefix.double())
            assert actual.keys() == expected.keys()
            for part, wanted in expected.items():
                limit = TOLERANCE * max(1.0, float(wanted.detach().abs().max()))
                assert (actual[part] - wanted).abs().max() <= limit, (part, time, prefix is None)


@pytest.mark.parametrize("name", SMALL)
def test_second_derivatives_are_an_error(name):
    mixer, x = FlaLayer(make_layer(name)), torch.randn(1, 5, HIDDEN_SIZE, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(mixer(x)[0].square().sum(), x, create_graph=True)


def interpret(batch: int, time: int, names: Iterable[str]) -> dict[str, dict[str, float]]:
    program = Path(__file__).parents[1] / "fla_interpreted.py"
    ran = subprocess.run(
        [sys.executable, str(program), str(batch), str(time), *names], capture_output=True, text=True, timeout=300,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    distances: dict[str, dict[str, float]] = json.loads(ran.stdout.splitlines()[-1])
    return distances


# Ours have no chunks, so 17 steps show whether both mean the same; 66 are two beyond a chunk of fla's kernels. These
# three are of different families: a decay for each key, a delta rule, and a decay for each head.
FAMILIES = ("GatedLinearAttention", "DeltaNet", "MultiScaleRetention")
# Those further layers whose kernels the interpreter can run, float32, with the gradient of the first state.
INTERPRETED = (
    "Comba", "GatedDeltaNet2", "GatedSlotAttention", "PrecondGatedDeltaNet", "PrecondKDA", "Raven", "RodimusAttention",
    "YOCOGatedRetention",
)  # fmt: skip


@pytest.mark.parametrize(
    ("batch", "time", "names"),
    [
        (1, 17, FAMILIES),
        *(pytest.param(*size, tuple(SMALL), marks=pytest.mark.slow) for size in ((1, 17), (2, 66))),
        pytest.param(1, 9, INTERPRETED, marks=pytest.mark.slow),
    ],
)
def test_layers_agree_with_flas_own_kernels(batch, time, names):
    distances = interpret(batch, time, names)
    assert distances.keys() == set(names)
    for name, parts in distances.items():
        assert {"outputs", "last state: recurrent 0", "inputs"} < set(parts)
        for part, distance in parts.items():
            assert distance <= TOLERANCE, (name, part)


# In fla these take no mask, or mask values only; log-linear attention counts positions from the row's beginning.
WITHOUT_MASK = {
    "ABCAttention", "BasedLinearAttention", "DeltaFormerAttention", "LogLinearMamba2", "MomentumDeltaNet",
    "ReBasedLinearAttention",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in (*SMALL, *FURTHER, *OTHERS) if name not in WITHOUT_MASK])
def test_padding_on_the_left_changes_nothing(name):
    layer = make_layer(name).eval()
    install()
    x = torch.randn(2, 9, HIDDEN_SIZE, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, :4] = 0
    with torch.inference_mode():
        padded, alone = layer(x, attention_mask=mask)[0], layer(x[:1, 4:], attention_mask=None)[0]
        torch.testing.assert_close(padded[:1, 4:], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(padded[1:], layer(x[1:], attention_mask=None)[0], rtol=1e-4, atol=1e-5)


def test_a_function_chooses_by_the_device_of_its_tensors():
    import fla.layers.gla

    FlaLayer(make_layer("GatedLinearAttention"))
    q = torch.randn(1, 4, 2, 8)
    o, _ = fla.layers.gla.chunk_gla(q=q, k=q, v=q, g=torch.zeros_like(q))
    torch.testing.assert_close(o, recurrences.gla(q, q, q, torch.zeros_like(q))[0])
    with pytest.raises(Exception, match=r"meta|[Tt]riton|[Dd]evice|driver|CUDA|pointer"):
        fla.layers.gla.chunk_gla(**{name: torch.empty(1, 4, 2, 8, device="meta") for name in "qkvg"})


def made_for(name: str) -> tuple[list[Tensor], dict[str, object]]:
    """Arguments of a gated function: more heads of values than of keys for the delta rule, and a state."""
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 9, 2, 4, generator=generator) for _ in range(2))
    v, g, beta = torch.randn(2, 9, 4, 3, generator=generator), *torch.randn(2, 2, 9, 4, generator=generator)
    state = torch.randn(2, 4, 3, 4, generator=generator)
    if name == "chunk_simple_gla":
        options = {"initial_state": state[:, :2], "output_final_state": True, "state_v_first": True}
        return [q, k, v[:, :, :2], -g[:, :, :2].abs()], options
    options = {
        "initial_state": state, "output_final_state": True, "state_v_first": True, "use_qk_l2norm_in_kernel": True,
        "use_beta_sigmoid_in_kernel": True, "use_gate_in_kernel": True, "A_log": torch.randn(4, generator=generator),
        "dt_bias": torch.randn(4, generator=generator),
    }  # fmt: skip
    return [q, k, v, g, beta], options


@pytest.mark.parametrize("name", ["chunk_gated_delta_rule", "chunk_simple_gla"])
def test_a_decay_for_each_key_gives_the_numbers_of_one_for_each_head(name):
    make_layer("GatedLinearAttention")
    install()
    results = []
    ours = {"chunk_gated_delta_rule": recurrences.gated_delta_rule, "chunk_simple_gla": recurrences.gla}[name]
    for function in (getattr(on_gpu, name), ours):
        given, options = made_for(name)
        leaves = [one.requires_grad_() for one in (*given, *options.values()) if isinstance(one, Tensor)]
        y, state = function(*given, **options)
        results.append([y, state, *torch.autograd.grad(y.square().sum() + state.square().sum(), leaves)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_refused", [True, False])
def test_flas_function_is_replaced_where_it_refuses_the_gpu(monkeypatch, is_refused):
    module = importlib.import_module("lit_retrieval.ops.fla_cpu.install")
    monkeypatch.setattr(on_gpu, "_compiles_gates_wrongly", lambda: is_refused)
    instead = on_gpu.Instead("", on_gpu.is_refused, lambda *args, g=None: "instead")
    choose = module._for_gpu(lambda *args, g=None: "theirs", lambda *args, g=None: "ours", instead)
    x = torch.empty(1, device="meta")
    with_gate = "instead" if is_refused else "theirs"
    assert [choose(x, x, x, x), choose(x, x, x, g=x), choose(x, x, x)] == [with_gate, with_gate, "theirs"]
    assert module._for_gpu(lambda x: "theirs", lambda x: "ours", None)(x) == "theirs"
    always = on_gpu.Instead("", on_gpu.always)
    assert module._for_gpu(lambda x: "theirs", lambda x: "ours", always)(x) == "ours"


@pytest.mark.parametrize("time", [1, 7])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_mamba2_by_flas_kernels_is_mamba2(groups, time):
    """What runs on a GPU, here with our function in place of fla's kernel."""
    make_layer("Mamba2")
    install()
    shapes = [
        (2, time, groups, 8),
        (2, time, groups, 8),
        (2, time, 4, 6),
        (2, time, 4, 1),
        (2, 4, 8, 6),
        (2, time, 4, 1),
        (4, 6),
    ]
    generator, results = torch.Generator().manual_seed(0), []
    q, k, v, decay, state, rate, skip = (torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes)
    leaves = [q, k, v, decay, state, rate, skip]
    for recur in (mamba.recur_by_fla, mamba.linear_recurrence):
        y, last = recur(q, k, v, -decay.exp(), state=state, rate=rate.sigmoid(), skip=skip)
        results.append([y, last, *torch.autograd.grad(y.square().sum() + last.square().sum(), leaves)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_whole_mamba2_is_the_same_by_flas_kernels(monkeypatch):
    layer, x = make_layer("Mamba2"), torch.randn(2, 9, HIDDEN_SIZE)
    mixer = FlaLayer(layer)
    wanted, state = mixer(x)
    step, _ = mixer(x[:, :1], state)
    monkeypatch.setattr(mamba, "linear_recurrence", mamba.recur_by_fla)
    found, state = mixer(x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixer(x[:, :1], state)[0], step, rtol=1e-4, atol=1e-5)
