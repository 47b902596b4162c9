"""Every op against its naive form in float64, from one table: results, states, gradients, and what callers rely on."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import numba
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval import ops
from lit_retrieval.ops.causal_conv import causal_conv_naive
from lit_retrieval.ops.linear_recurrence import linear_recurrence_chunked, linear_recurrence_naive
from lit_retrieval.ops.linear_rnn import linear_rnn_doubling, linear_rnn_naive
from lit_retrieval.ops.mesa_solve import mesa_solve_naive
from lit_retrieval.ops.rms_norm import rms_norm_naive
from lit_retrieval.ops.selective_scan import selective_scan_naive
from lit_retrieval.ops.silu_gate import silu_gate_naive
from lit_retrieval.ops.slot_recurrence import slot_recurrence_naive

BATCH = 2
BOTH = "outputs and state"
Arguments = dict[str, Tensor]
Randn = Callable[..., Tensor]


class Op(NamedTuple):
    """A row of the table.

    Args:
        fast: The op as it is called, or one of its fast forms.
        naive: Its meaning, in plain PyTorch.
        draw: Makes its arguments from a random generator, the number of steps and that of channels.
        sequences: The arguments with time as their second axis.
        dtype: What the fast form runs in; float32 goes to Numba.
        tolerance: Of errors, as a share of the largest element or of 1. float32 rounds to 6e-8, and sums over some
            hundred steps lose about two digits of that.
    """

    fast: Callable[..., Tensor | tuple[Tensor, Tensor]]
    naive: Callable[..., Tensor | tuple[Tensor, Tensor]]
    draw: Callable[[Randn, int, int], Arguments]
    sequences: str
    dtype: torch.dtype = torch.float32
    tolerance: float = 1e-5


def draw_gate(randn: Randn, time: int, dim: int) -> Arguments:
    return {"x": 3 * randn(time, dim), "gate": 3 * randn(time, dim)}


def draw_norm(randn: Randn, time: int, dim: int) -> Arguments:
    return {"x": randn(time, dim), "weight": randn(dim)[0]}


def draw_convolution(randn: Randn, time: int, dim: int) -> Arguments:
    return {"x": randn(time, dim), "weight": randn(dim, 4)[0], "bias": randn(dim)[0], "state": randn(3, dim)}


def draw_scan(randn: Randn, time: int, dim: int) -> Arguments:
    A = -16 * randn(dim, 11)[0].sigmoid()
    maps = {name: randn(time, 11) for name in "BC"}
    return {"x": randn(time, dim), "dt": 0.1 * randn(time, dim).abs(), "A": A, **maps, "state": randn(11, dim)}


def draw_rnn(randn: Randn, time: int, dim: int) -> Arguments:
    return {"u": randn(time, dim), "A": 0.5 * randn(dim, dim)[0] / dim**0.5, "state": randn(dim)}


def draw_diagonal_rnn(randn: Randn, time: int, dim: int) -> Arguments:
    return {"u": randn(time, dim), "A": randn(dim)[0].sigmoid(), "state": randn(dim)}


def draw_systems(randn: Randn, time: int, dim: int) -> Arguments:
    factor = randn(3, dim, 2)
    return {
        "q": randn(time, 3, dim), "k": F.normalize(randn(time, 3, dim), dim=-1),
        "log_decay": F.logsigmoid(randn(time, 3, 1) + 2), "rate": randn(time, 3, 1).sigmoid(),
        "ridge": 1 + randn(3, dim)[0].sigmoid(), "state": factor @ factor.transpose(2, 3) / dim,
    }  # fmt: skip


def draw_changing_rnn(randn: Randn, time: int, dim: int) -> Arguments:
    return {"u": randn(time, dim), "A": (randn(time, dim) + 2).sigmoid(), "state": randn(dim)}


def draw_slots(randn: Randn, time: int, dim: int) -> Arguments:
    tensors = {"q": randn(time, 4, 13), "k": randn(time, 4, 13), "v": randn(time, 4, dim)}
    return {**tensors, "log_decay": F.logsigmoid(randn(time, 4, dim) + 2), "state": randn(4, 13, dim)}


def draw_recurrence(kind: str) -> Callable[[Randn, int, int], Arguments]:
    def draw(randn: Randn, time: int, dim: int) -> Arguments:
        keys, heads = (time, 4, 13), (time, 4, 1)
        shared = (time, 2, 13) if kind == "mamba-2" else keys
        tensors = {"q": randn(*shared), "k": randn(*shared), "v": randn(time, 4, dim)}
        if kind in ("decay of a head", "gated delta", "mamba-2"):
            tensors["log_decay"] = F.logsigmoid(randn(*heads) + 2)
        if kind in ("decay of a key", "read and write", "read and write, decay to 0"):
            # To 0: a product of decays underflows, and its inverse would overflow.
            tensors["log_decay"] = F.logsigmoid(randn(*keys) + 2) * (50 if "to 0" in kind else 1)
        if "delta" in kind:
            tensors["write"] = F.normalize(randn(*keys), dim=-1)
            tensors["read"] = -tensors["write"] * randn(*heads).sigmoid()
        if "read and write" in kind:
            tensors["read"], tensors["write"] = F.normalize(randn(*keys), dim=-1), 0.2 * randn(*keys)
        if kind == "delta, one key":  # the key of the first step in all others: each corrects the one before
            tensors["write"] = tensors["write"][:, :1].repeat(1, time, 1, 1)
            tensors["read"], tensors["k"] = -tensors["write"], tensors["write"]
        if kind == "mamba-2":
            tensors |= {"rate": F.softplus(randn(*heads)), "skip": randn(4, dim)[0]}
        return {**tensors, "state": randn(4, 13, dim)}

    return draw


FAMILY = [
    "linear attention", "decay of a head", "decay of a key", "delta", "delta, one key", "gated delta",
    "read and write", "read and write, decay to 0", "mamba-2",
]  # fmt: skip
NUMBA = {
    "silu_gate": Op(ops.silu_gate, silu_gate_naive, draw_gate, "x gate"),
    "rms_norm": Op(ops.rms_norm, lambda x, weight: rms_norm_naive(x, weight, 1e-5), draw_norm, "x"),
    "causal_conv": Op(ops.causal_conv, causal_conv_naive, draw_convolution, "x"),
    "causal_conv, no SiLU": Op(
        partial(ops.causal_conv, silu=False), partial(causal_conv_naive, silu=False), draw_convolution, "x"
    ),
    "linear_rnn, changing": Op(ops.linear_rnn, linear_rnn_naive, draw_changing_rnn, "u A"),
    "slot_recurrence": Op(ops.slot_recurrence, slot_recurrence_naive, draw_slots, "q k v log_decay"),
    "selective_scan": Op(ops.selective_scan, selective_scan_naive, draw_scan, "x dt B C"),
    "mesa_solve": Op(ops.mesa_solve, mesa_solve_naive, draw_systems, "q k log_decay rate"),
    "mesa_solve, from the diagonal": Op(
        partial(ops.mesa_solve, from_diagonal=True), mesa_solve_naive, draw_systems, "q k log_decay rate"
    ),
    **{
        f"linear_recurrence, {kind}": Op(
            ops.linear_recurrence, linear_recurrence_naive, draw_recurrence(kind), "q k v log_decay read write rate"
        )
        for kind in FAMILY
    },
}
IN_TORCH = {
    "linear_rnn": Op(linear_rnn_doubling, linear_rnn_naive, draw_rnn, "u", torch.float64, 1e-10),
    "linear_rnn, diagonal": Op(linear_rnn_doubling, linear_rnn_naive, draw_diagonal_rnn, "u", torch.float64, 1e-10),
    "linear_rnn by doubling, changing": Op(
        linear_rnn_doubling, linear_rnn_naive, draw_changing_rnn, "u A", torch.float64, 1e-10
    ),
    **{
        name.replace(",", " in chunks,", 1): op._replace(fast=linear_recurrence_chunked)
        for name, op in NUMBA.items()
        if op.naive is linear_recurrence_naive
    },
}
OPS = NUMBA | IN_TORCH
every_op = pytest.mark.parametrize("name", OPS)


def draw(op: Op, time: int, dim: int, batch: int = BATCH) -> Arguments:
    generator = torch.Generator().manual_seed(time)
    # Drawn for at least one sample: parameters are those of the first.
    tensors = op.draw(lambda *shape: torch.randn(max(batch, 1), *shape, generator=generator), time, dim)
    per_sample = {"state", *op.sequences.split()}
    return {key: (tensor[:batch] if key in per_sample else tensor).to(op.dtype) for key, tensor in tensors.items()}


def run(function, tensors: Arguments, losses: str) -> Arguments:
    """Outputs, last state, and the gradients that a loss on the named results gives every argument."""
    tensors = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    results = function(**tensors)
    named = dict(zip(("outputs", "state"), results if isinstance(results, tuple) else (results,), strict=False))
    loss = sum(
        (one * torch.linspace(-1, 2, one.numel(), dtype=one.dtype).view(one.shape)).sum()
        for name, one in named.items()
        if name in losses or len(named) == 1
    )
    grads = torch.autograd.grad(loss, list(tensors.values()), materialize_grads=True)
    return {**named, **{f"gradient of {name}": grad for name, grad in zip(tensors, grads, strict=True)}}


def assert_agrees(op: Op, tensors: Arguments, losses: str = BOTH) -> None:
    """The fast form agrees with the naive one in float64."""
    actual = run(op.fast, tensors, losses)
    expected = run(op.naive, {name: tensor.double() for name, tensor in tensors.items()}, losses)
    assert actual.keys() == expected.keys()
    for part, wanted in expected.items():
        assert actual[part].shape == wanted.shape and actual[part].dtype == op.dtype, part
        if wanted.numel():
            # A sum of few elements may be small by chance: errors are also measured against 1.
            limit = op.tolerance * wanted.abs().max().clamp(min=1)
            assert (actual[part] - wanted).abs().max() <= limit, part


# Lengths around chunks of 16 steps; channels that are one vector of 16 lanes, several of 8, filled up, several of 32.
@pytest.mark.parametrize(
    ("time", "dim", "has_state", "losses"),
    [(1, 16, True, BOTH), (32, 40, True, "state"), (63, 20, False, "outputs"), (100, 64, True, BOTH)],
)
@every_op
def test_fast_agrees_with_naive(name, time, dim, has_state, losses):
    tensors = draw(OPS[name], time, dim)
    if not has_state:
        tensors.pop("state", None)
    assert_agrees(OPS[name], tensors, losses)


@every_op
def test_arguments_of_any_layout_will_do(name):
    """Transposed inputs, and a sum as the loss, whose gradient is one number with strides of 0."""
    op = OPS[name]
    tensors = draw(op, 7, 24)
    strided = {key: one.transpose(0, -1).contiguous().transpose(0, -1) for key, one in tensors.items()}
    for one in (lambda out: out.sum(), lambda out: out.transpose(0, 1).contiguous().square().sum()):
        grads = []
        for arguments in (tensors, strided):
            leaves = [tensor.detach().requires_grad_() for tensor in arguments.values()]
            results = op.fast(**dict(zip(arguments, leaves, strict=True)))
            outputs = results[0] if isinstance(results, tuple) else results
            grads.append([outputs, *torch.autograd.grad(one(outputs), leaves)])
        for actual, expected in zip(*grads, strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@every_op
def test_an_empty_batch_has_empty_results_and_gradients_of_zero(name):
    assert_agrees(OPS[name], draw(OPS[name], 5, 20, batch=0))


@every_op
def test_results_without_gradients_are_the_same_and_arguments_stay(name):
    op = OPS[name]
    tensors = draw(op, 40, 24)
    copies = {key: tensor.clone() for key, tensor in tensors.items()}
    results = op.fast(**tensors)
    expected = run(op.fast, tensors, "outputs")
    for actual, part in zip(results if isinstance(results, tuple) else (results,), ("outputs", "state"), strict=False):
        torch.testing.assert_close(actual, expected[part].detach())
    assert all(torch.equal(tensors[key], copy) for key, copy in copies.items())


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if "state" in draw(op, 1, 8)])
def test_two_halves_equal_the_whole(name):
    op = OPS[name]
    tensors = draw(op, 50, 20)

    def run_part(part: slice, state: Tensor) -> tuple[Tensor, Tensor]:
        cut = {key: one[:, part] if key in op.sequences.split() else one for key, one in tensors.items()}
        results = op.fast(**cut | {"state": state})
        return results if isinstance(results, tuple) else (results, results[:, -1])

    outputs, last = run_part(slice(None), tensors["state"])
    first, middle = run_part(slice(0, 23), tensors["state"])
    second, last_of_halves = run_part(slice(23, None), middle)
    # Sums of logs of decays reach some hundreds within a chunk, where float32 rounds to 1e-5.
    torch.testing.assert_close(torch.cat([first, second], 1), outputs, rtol=1e-4, atol=5e-5)
    torch.testing.assert_close(last_of_halves, last, rtol=1e-4, atol=5e-5)


# From ones `(1, time, 8)` and rates of 0: the state grows by one a step.
COUNTERS: dict[str, Callable[[Tensor, Tensor], Arguments]] = {
    "linear_recurrence": lambda ones, rates: dict.fromkeys("qkv", ones[:, :, None]),
    "linear_recurrence, with a correction": lambda ones, rates: {
        **dict.fromkeys("qkv", ones[:, :, None]), "read": 0 * ones[:, :, None], "write": ones[:, :, None]
    },
    "linear_rnn": lambda ones, rates: {"u": ones, "A": torch.eye(8, dtype=ones.dtype)},
    "linear_rnn, diagonal": lambda ones, rates: {"u": ones, "A": ones[0, 0]},
    "selective_scan": lambda ones, rates: {**dict.fromkeys(["x", "dt", "B", "C"], ones), "A": rates},
}  # fmt: skip


@pytest.mark.parametrize("half", [None, torch.bfloat16], ids=["alone", "autocast"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", COUNTERS)
def test_a_state_counts_to_thousands_in_every_dtype(name, dtype, half):
    """bfloat16 has 8 bits: a sum of ones kept in it stops at 256, and one in float16 at 2048."""
    op, state = getattr(ops, name.split(",")[0]), None
    kept = torch.float64 if dtype == torch.float64 else torch.float32
    for time in (2500, *100 * [5]):
        ones = torch.ones(1, time, 8, dtype=dtype)
        with nullcontext() if half is None else torch.autocast("cpu", half):
            results = op(**COUNTERS[name](ones, torch.zeros(8, 8, dtype=dtype)), state=state)
        state = results[1] if isinstance(results, tuple) else results[:, -1]
        assert state.dtype == kept and (not isinstance(results, tuple) or results[0].dtype == dtype)
    assert (state == 3000).all()


@pytest.mark.parametrize("name", NUMBA)
def test_a_wrong_shape_is_refused(name):
    op = NUMBA[name]
    tensors = draw(op, 3, 8)
    for key, tensor in tensors.items():
        with pytest.raises(ValueError, match=r"\w+ has shape \(.*\), but the other arguments require"):
            op.fast(**tensors | {key: torch.cat([tensor, tensor], -1)})


@pytest.mark.parametrize("name", NUMBA)
def test_second_derivatives_are_an_error_in_float32_and_right_in_float64(name):
    def penalty(function: Callable[..., Tensor | tuple[Tensor, Tensor]], tensors: Arguments) -> list[Tensor]:
        leaves = {key: tensor.detach().requires_grad_() for key, tensor in tensors.items()}
        results = function(**leaves)
        loss = (results[0] if isinstance(results, tuple) else results).square().sum()
        grads = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
        return torch.autograd.grad(sum(grad.square().sum() for grad in grads), list(leaves.values()))

    op = NUMBA[name]
    tensors = draw(op, 3, 8)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        penalty(op.fast, tensors)
    tensors = {key: tensor.double() for key, tensor in tensors.items()}
    for actual, expected in zip(penalty(op.fast, tensors), penalty(op.naive, tensors), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", NUMBA)
def test_threads_change_nothing(name):
    tensors = draw(NUMBA[name], 40, 24, batch=48)  # large enough for two threads
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2):
            torch.set_num_threads(num_threads)
            results.append(run(NUMBA[name].fast, tensors, BOTH))
            assert torch.get_num_threads() == num_threads and numba.get_num_threads() <= num_threads
    finally:
        torch.set_num_threads(before)
    for part, one in results[0].items():
        torch.testing.assert_close(results[1][part], one, rtol=1e-5, atol=1e-5)
