"""fla's activations, losses and helpers on a CPU, against PyTorch in float64."""

import sys
from collections.abc import Callable

import pytest
import torch
from fla_layers import make_layer
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.ops import fla_cpu
from lit_retrieval.ops.fla_cpu import activations, sums

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")


@pytest.fixture(autouse=True)
def _installed():
    make_layer("GatedLinearAttention")
    fla_cpu.install()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def powglu(x: Tensor, y: Tensor) -> Tensor:
    positive = x.clamp(min=1e-9)
    return torch.where(x > 0, positive ** (3 / (positive.sqrt() + 1)), x) * x.sigmoid() * y


EXACT: dict[str, Callable[..., Tensor]] = {
    "sigmoid": torch.sigmoid, "logsigmoid": lambda x: F.logsigmoid(x) / 0.5, "swish": F.silu,
    "elu_p1": lambda x: F.elu(x) + 1, "swiglu": lambda x, y: F.silu(x) * y,
    "sigmoidglu": lambda x, y: x.sigmoid() * y, "powglu": powglu,
    "swiglu_linear": lambda x, y, w, b: F.linear(F.silu(x) * y, w, b),
    "sigmoidglu_linear": lambda x, y, w, b: F.linear(x.sigmoid() * y, w, b),
    "powglu_linear": lambda x, y, w, b: F.linear(powglu(x, y), w, b),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_activations_and_gradients_are_those_of_pytorch(name):
    import fla.modules.activations

    function = getattr(fla.modules.activations, name)
    given = [draw(3, 5, 8), draw(3, 5, 8, seed=1), draw(4, 8), draw(4)]
    given = given if "linear" in name else given[: 1 + name.endswith("glu")]
    more = [0.5] if name == "logsigmoid" else []
    results = []
    for run, dtype in ((lambda *args: function(*args, *more), torch.float32), (EXACT[name], torch.float64)):
        leaves = [one.to(dtype).requires_grad_() for one in given]
        y = run(*leaves)
        results.append([y, *torch.autograd.grad((y * torch.linspace(-1, 2, y.shape[-1])).sum(), leaves)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-6)


def test_half_activations_are_rounded_once():
    x, y, g = (draw(64, seed=seed).bfloat16() for seed in range(3))
    for found, wanted in (
        (activations.swiglu_fwd(x, y), F.silu(x.float()) * y.float()),
        (activations.logsigmoid_fwd(x, 3.0), F.logsigmoid(x.float()) / 3),
        (activations.swiglu_fwdbwd(x, y, g, True)[1], g.float() * F.silu(x.float())),
    ):
        assert torch.equal(found, wanted.bfloat16())


@pytest.mark.parametrize(
    "options",
    [
        {}, {"reduction": "sum"}, {"label_smoothing": 0.1}, {"logit_scale": 0.7, "lse_square_scale": 1e-2},
        {"logit_softcapping": 2.0}, {"inplace_backward": True},
    ],
    ids=str,
)  # fmt: skip
def test_cross_entropy_and_its_gradient(options):
    from fla.modules import FusedCrossEntropyLoss

    logits, target = draw(7, 11), torch.tensor([0, 3, -100, 10, 5, -100, 3])
    results = []
    for dtype in (torch.float32, torch.float64):
        leaf = logits.to(dtype).requires_grad_()
        if dtype == torch.float32:
            loss = FusedCrossEntropyLoss(**options)(leaf * 1, target)
        else:
            loss = exact_cross_entropy(leaf, target, **options)
        results.append([loss, *torch.autograd.grad(2 * loss, leaf)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-6)


def exact_cross_entropy(logits, target, reduction="mean", lse_square_scale=0.0, logit_scale=1.0, logit_softcapping=None,
                        label_smoothing=0.0, inplace_backward=False):  # fmt: skip
    z = logits * logit_scale
    z = z if logit_softcapping is None else logit_softcapping * (z / logit_softcapping).tanh()
    loss = F.cross_entropy(z, target, reduction=reduction, label_smoothing=label_smoothing)
    kept = target != -100
    penalty = lse_square_scale * z.logsumexp(-1)[kept].square().sum()
    return loss + (penalty / kept.sum() if reduction == "mean" else penalty)


@pytest.mark.parametrize("has_bias", [True, False])
def test_linear_cross_entropy_and_its_gradients(has_bias):
    from fla.modules import FusedLinearCrossEntropyLoss

    given = [draw(7, 6), draw(11, 6, seed=1), *([draw(11, seed=2)] if has_bias else [])]
    target = torch.tensor([0, 3, -100, 10, 5, 1, 3])
    results = []
    for dtype in (torch.float32, torch.float64):
        x, weight, *bias = leaves = [one.to(dtype).requires_grad_() for one in given]
        if dtype == torch.float32:
            loss = FusedLinearCrossEntropyLoss()(x, target, weight, *bias)
        else:
            loss = F.cross_entropy(F.linear(x, weight, *bias), target)
        results.append([loss, *torch.autograd.grad(3 * loss, leaves)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-6)


def test_divergence_of_classes_and_its_gradients():
    from fla.modules import FusedKLDivLoss

    x, target_x, weight, target_weight = draw(7, 6), draw(7, 6, seed=1), draw(11, 6, seed=2), draw(11, 6, seed=3)
    leaves = [x.requires_grad_(), weight.requires_grad_()]
    found = FusedKLDivLoss()(x, target_x, weight, target_weight)
    logs, wanted_logs = (x @ weight.T).log_softmax(-1), (target_x @ target_weight.T).log_softmax(-1)
    wanted = F.kl_div(logs, wanted_logs, log_target=True, reduction="batchmean")
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(2 * found, leaves), torch.autograd.grad(2 * wanted, leaves))


@pytest.mark.parametrize("side", ["left", "right"])
def test_packed_rows_come_back(side):
    from fla.ops.utils.pack import pack_sequence, unpack_sequence

    x, ends = draw(3, 5, 2).requires_grad_(), torch.tensor([0, 2, 2, 7])
    packed = pack_sequence(x, ends, padding_side=side)
    first = x[0, 3:] if side == "left" else x[0, :2]
    assert torch.equal(packed, torch.cat([first, x[2]]))
    rows = unpack_sequence(packed, ends, padding_side=side, desired_shape=x.shape)
    assert torch.equal(pack_sequence(rows, ends, padding_side=side), packed)
    (dx,) = torch.autograd.grad((packed * packed.detach()).sum(), x)
    assert torch.equal(dx, rows)


def test_sums_of_chunks_begin_anew_in_each_sequence():
    g = draw(1, 9, 2)
    found = sums.chunk_local_cumsum(g, 2, reverse=True, scale=3.0, cu_seqlens=torch.tensor([0, 3, 9]))
    for start, end in ((0, 2), (2, 3), (3, 5), (5, 7), (7, 9)):
        torch.testing.assert_close(found[:, start:end], 3 * g[:, start:end].flip(1).cumsum(1).flip(1))


def test_softmax_and_its_gradient():
    x = draw(3, 7).requires_grad_()
    p, dp = x.softmax(-1), draw(3, 7, seed=1)
    torch.testing.assert_close(sums.softmax_fwd(x.detach()), p)
    torch.testing.assert_close(sums.softmax_bwd(p.detach(), dp), torch.autograd.grad(p, x, dp)[0])


@pytest.mark.parametrize("dims", [2, 3])
def test_channel_mixing_in_half_precision(dims):
    from fla.ops.rwkv7.channel_mixing import channel_mixing_rwkv7, channel_mixing_rwkv7_torch

    given = [draw(2, 5, 8), draw(2, 8, seed=1), draw(1, 1, 8, seed=2), draw(8, 16, seed=3), draw(16, 8, seed=4)]
    halves = [one.bfloat16() for one in given]
    halves[1] = halves[1] if dims == 2 else halves[1].unsqueeze(1)
    y, last = channel_mixing_rwkv7(*halves)
    wanted, _ = channel_mixing_rwkv7_torch(*[one.float() for one in halves])
    assert torch.equal(y, wanted.bfloat16()) and torch.equal(last, halves[0][:, -1])


@pytest.mark.parametrize("norm", ["RMSNorm", "LayerNorm"])
@pytest.mark.parametrize(
    ("x_dtype", "dtype", "kept"),
    [
        (torch.bfloat16, torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.bfloat16, torch.bfloat16), (torch.bfloat16, None, torch.float32),
    ],
)  # fmt: skip
def test_a_residual_keeps_its_precision_and_the_outputs_theirs(norm, x_dtype, dtype, kept):
    """The sum is normalized before it is rounded, as in fla's kernels."""
    import fla.modules

    x, residual = draw(3, 16).to(x_dtype), None if dtype is None else draw(3, 16, seed=1).to(dtype)
    y, rest = getattr(fla.modules, norm)(16)(x, residual=residual, prenorm=True, residual_in_fp32=dtype is None)
    total = x.double() if residual is None else x.double() + residual.double()
    centered = total if norm == "RMSNorm" else total - total.mean(-1, keepdim=True)
    wanted = centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    assert (y.dtype, rest.dtype) == (x_dtype, kept)
    torch.testing.assert_close(rest, total.to(kept), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(y, wanted.to(x_dtype), rtol=1e-2 if x_dtype == torch.bfloat16 else 1e-5, atol=1e-5)


def test_momentum_takes_no_packed_sequences():
    from fla.ops.momentum_delta_rule import chunk_momentum_delta_rule

    q, decays = draw(1, 9, 2, 16), -draw(1, 9, 2).abs()
    with pytest.raises((UserError, NotImplementedError)):
        chunk_momentum_delta_rule(q, q, q, decays, decays, cu_seqlens=torch.tensor([0, 5, 9]))
