"""The Numba recurrence and the chunked one against the naive one in float64, for every member of the family."""

import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops import linear_recurrence
from lit_retrieval.ops.linear_recurrence import linear_recurrence_chunked, linear_recurrence_naive

BATCH, HEADS, KEY_DIM, VALUE_DIM = 2, 4, 5, 7
TOLERANCE = 1e-5  # float32 rounds to 6e-8; sums over some hundred steps lose about two digits of that
FAMILY = [
    "linear", "decay for a head", "decay for each key", "delta", "gated delta", "reads and writes apart", "mamba-2",
]  # fmt: skip


def draw(kind: str, time: int, with_state: bool = True) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(time)

    def randn(*shape: int) -> Tensor:
        return torch.randn(BATCH, *shape, generator=generator)

    keys, heads = (time, HEADS, KEY_DIM), (time, HEADS, 1)
    shared_keys = (time, 2, KEY_DIM) if kind == "mamba-2" else keys
    tensors = {"q": randn(*shared_keys), "k": randn(*shared_keys), "v": randn(time, HEADS, VALUE_DIM)}
    if kind in ("decay for a head", "gated delta", "mamba-2"):
        tensors["log_decay"] = F.logsigmoid(randn(*heads) + 2)
    if kind in ("decay for each key", "reads and writes apart"):
        tensors["log_decay"] = F.logsigmoid(randn(*keys) + 2)
    if "delta" in kind:
        tensors["write"] = F.normalize(randn(*keys), dim=-1)
        tensors["read"] = -tensors["write"] * randn(*heads).sigmoid()
    if kind == "reads and writes apart":
        tensors["read"], tensors["write"] = F.normalize(randn(*keys), dim=-1), 0.2 * randn(*keys)
    if kind == "mamba-2":
        tensors |= {"rate": F.softplus(randn(*heads)), "skip": randn(HEADS, VALUE_DIM)[0]}
    if with_state:
        tensors["state"] = randn(HEADS, KEY_DIM, VALUE_DIM)
    return tensors


def run_with_gradients(recurrence, tensors: dict[str, Tensor], on_state: bool) -> dict[str, Tensor]:
    """Outputs, last state, and all gradients of a loss on the outputs and, if asked, on the last state."""
    tensors = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    o, state = recurrence(**tensors)
    loss = (o * torch.linspace(-1, 1, o.numel(), dtype=o.dtype).view(o.shape)).sum()
    if on_state:
        loss = loss + (state * torch.linspace(-2, 1, state.numel(), dtype=o.dtype).view(state.shape)).sum()
    grads = torch.autograd.grad(loss, list(tensors.values()), materialize_grads=True)
    return {"outputs": o, "last state": state, **dict(zip(tensors, grads, strict=True))}


def assert_agree(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = TOLERANCE) -> None:
    for name, wanted in expected.items():
        # A sum of squares of few numbers may be small by chance: errors are also measured against numbers of size 1.
        assert (actual[name] - wanted).abs().max() <= tolerance * max(1.0, float(wanted.detach().abs().max())), name


def in_double(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in tensors.items()}


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("time", [1, 2, 63, 64, 100, 130])
@pytest.mark.parametrize("kind", FAMILY)
def test_numba_agrees_with_naive_in_float64(kind, time, with_state):
    tensors = draw(kind, time, with_state)
    for on_state in (False, True):
        expected = run_with_gradients(linear_recurrence_naive, in_double(tensors), on_state)
        assert_agree(run_with_gradients(linear_recurrence, tensors, on_state), expected)


@pytest.mark.parametrize("time", [1, 17, 100])
@pytest.mark.parametrize("kind", FAMILY)
def test_chunked_agrees_with_naive_in_float64(kind, time):
    tensors = in_double(draw(kind, time))
    expected = run_with_gradients(linear_recurrence_naive, tensors, on_state=True)
    assert_agree(run_with_gradients(linear_recurrence_chunked, tensors, on_state=True), expected, 1e-12)


@pytest.mark.parametrize("kind", FAMILY)
def test_result_without_gradients_equals_result_with_them(kind):
    tensors = draw(kind, 40)
    o, state = linear_recurrence(**tensors)
    with_gradients = run_with_gradients(linear_recurrence, tensors, on_state=False)
    torch.testing.assert_close(o, with_gradients["outputs"].detach())
    torch.testing.assert_close(state, with_gradients["last state"].detach())


@pytest.mark.parametrize("recurrence", [linear_recurrence, linear_recurrence_chunked])
@pytest.mark.parametrize("kind", FAMILY)
def test_state_after_two_halves_equals_state_after_whole(kind, recurrence):
    tensors = draw(kind, 50)
    o, last = recurrence(**tensors)
    sequences = {name: tensor for name, tensor in tensors.items() if name not in ("state", "skip")}
    rest = {name: tensor for name, tensor in tensors.items() if name == "skip"}
    o_1, middle = recurrence(
        **{name: tensor[:, :23] for name, tensor in sequences.items()}, **rest, state=tensors["state"]
    )
    o_2, last_of_halves = recurrence(
        **{name: tensor[:, 23:] for name, tensor in sequences.items()}, **rest, state=middle
    )
    torch.testing.assert_close(torch.cat([o_1, o_2], 1), o, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last_of_halves, last, rtol=1e-4, atol=1e-5)


def test_arguments_are_not_changed():
    tensors = draw("reads and writes apart", 5)
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    linear_recurrence(**tensors)
    assert all(torch.equal(tensors[name], copy) for name, copy in copies.items())


@pytest.mark.parametrize("recurrence", [linear_recurrence, linear_recurrence_chunked])
def test_decays_that_forget_everything_give_no_nan(recurrence):
    """A product of decays underflows here, and its inverse would overflow."""
    tensors = draw("reads and writes apart", 100)
    tensors["log_decay"] = 50 * tensors["log_decay"]
    expected = run_with_gradients(linear_recurrence_naive, in_double(tensors), on_state=True)
    assert_agree(run_with_gradients(recurrence, tensors, on_state=True), expected)


@pytest.mark.parametrize("recurrence", [linear_recurrence, linear_recurrence_chunked])
def test_the_same_key_again_and_again_is_no_trouble_for_the_delta_rule(recurrence):
    tensors = draw("delta", 100)
    tensors["write"] = tensors["write"][:, :1].expand_as(tensors["write"]).contiguous()
    tensors["read"], tensors["k"] = -tensors["write"], tensors["write"]
    expected = run_with_gradients(linear_recurrence_naive, in_double(tensors), on_state=True)
    assert_agree(run_with_gradients(recurrence, tensors, on_state=True), expected)


def test_wrong_arguments_are_named():
    tensors = draw("delta", 3)
    with pytest.raises(ValueError, match=r"v has shape \(2, 2, 4, 7\)"):
        linear_recurrence(**(tensors | {"v": tensors["v"][:, :2]}))
    with pytest.raises(ValueError, match="read and write belong together"):
        linear_recurrence(tensors["q"], tensors["k"], tensors["v"], read=tensors["read"])
    with pytest.raises(ValueError, match="3 groups of queries can't be shared by 4 heads"):
        linear_recurrence(*(tensors[name][:, :, :3] for name in "qk"), tensors["v"])
    with pytest.raises(ValueError, match="no step at all"):
        linear_recurrence(*(tensors[name][:, :0] for name in "qkv"))


@pytest.mark.parametrize("value_dim", [8, 24, 40, 64])
@pytest.mark.parametrize("kind", FAMILY)
def test_rows_of_any_length_agree_with_naive(kind, value_dim, monkeypatch):
    """Rows of 8, 16 and 32 numbers are one SIMD value, longer ones and 24 several."""
    monkeypatch.setattr(sys.modules[__name__], "VALUE_DIM", value_dim)
    tensors = draw(kind, 35)
    expected = run_with_gradients(linear_recurrence_naive, in_double(tensors), on_state=True)
    assert_agree(run_with_gradients(linear_recurrence, tensors, on_state=True), expected)
