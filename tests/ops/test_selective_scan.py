"""The Numba scan against the naive one in float64, and what callers rely on."""

import numba
import pytest
import torch
from torch import Tensor

from lit_retrieval.ops import selective_scan
from lit_retrieval.ops.selective_scan import selective_scan_naive

BATCH, DIM, STATE_DIM = 3, 20, 5
TOLERANCE = 1e-5  # float32 rounds to 6e-8; sums over some hundred steps lose about two digits of that


def draw(time: int, with_state: bool = True) -> list[Tensor]:
    generator = torch.Generator().manual_seed(time)
    x, dt = (torch.randn(BATCH, time, DIM, generator=generator) for _ in range(2))
    A = -16 * torch.rand(DIM, STATE_DIM, generator=generator)
    B, C = (torch.randn(BATCH, time, STATE_DIM, generator=generator) for _ in range(2))
    state = torch.randn(BATCH, STATE_DIM, DIM, generator=generator)
    tensors = [x, 0.1 * dt.abs(), A, B, C, state]
    return tensors if with_state else tensors[:-1]


def run_with_gradients(scan, tensors: list[Tensor], on_state: bool) -> list[Tensor]:
    """Outputs, last state, and all gradients of a loss on the outputs and, if asked, on the last state."""
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    y, state = scan(*tensors)
    loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum()
    if on_state:
        loss = loss + (state * torch.linspace(-2, 1, state.numel(), dtype=y.dtype).view(state.shape)).sum()
    return [y, state, *torch.autograd.grad(loss, tensors)]


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("time", [1, 2, 63, 64, 100, 130])
def test_numba_agrees_with_naive_in_float64(time, with_state):
    tensors = draw(time, with_state)
    in_double = [tensor.double() for tensor in tensors]
    for on_state in (False, True):
        results = run_with_gradients(selective_scan, tensors, on_state)
        expected = run_with_gradients(selective_scan_naive, in_double, on_state)
        for actual, wanted in zip(results, expected, strict=True):
            assert_close(actual, wanted)


@pytest.mark.parametrize("time", [1, 100])
def test_result_without_gradients_equals_result_with_them(time):
    tensors = draw(time)
    y, state = selective_scan(*tensors)
    y_traced, state_traced = selective_scan(*[tensor.requires_grad_() for tensor in tensors])
    torch.testing.assert_close(y, y_traced.detach())
    torch.testing.assert_close(state, state_traced.detach())


def test_loss_on_the_state_alone_has_gradients():
    tensors = [tensor.requires_grad_() for tensor in draw(20)]
    in_double = [tensor.detach().double().requires_grad_() for tensor in tensors]
    actual = torch.autograd.grad(selective_scan(*tensors)[1].square().sum(), tensors, materialize_grads=True)
    expected = torch.autograd.grad(
        selective_scan_naive(*in_double)[1].square().sum(), in_double, materialize_grads=True
    )
    for got, wanted in zip(actual, expected, strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-5)


def test_state_after_two_halves_equals_state_after_whole():
    x, dt, A, B, C, state = draw(50)
    y, last = selective_scan(x, dt, A, B, C, state)
    y_1, middle = selective_scan(x[:, :23], dt[:, :23], A, B[:, :23], C[:, :23], state)
    y_2, last_of_halves = selective_scan(x[:, 23:], dt[:, 23:], A, B[:, 23:], C[:, 23:], middle)
    torch.testing.assert_close(torch.cat([y_1, y_2], 1), y)
    torch.testing.assert_close(last_of_halves, last)


def test_arguments_are_not_changed():
    tensors = draw(5)
    copies = [tensor.clone() for tensor in tensors]
    selective_scan(*tensors)
    for tensor, copy in zip(tensors, copies, strict=True):
        assert torch.equal(tensor, copy)


def test_extreme_decays_neither_overflow_nor_hide_nan():
    x, dt, A, B, C, state = draw(2)
    y, _ = selective_scan(x, 1e4 * dt, A - 1, B, C, state)
    expected, _ = selective_scan_naive(*[tensor.double() for tensor in (x, 1e4 * dt, A - 1, B, C, state)])
    assert_close(y, expected)
    A[0, 0] = float("nan")
    assert selective_scan(x, dt, A, B, C, state)[0][:, :, 0].isnan().all()


@pytest.mark.parametrize("num_threads", [1, 2])
def test_torch_keeps_its_threads_and_numba_follows(num_threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(num_threads)
        selective_scan(*draw(2))
        assert torch.get_num_threads() == num_threads
        assert numba.get_num_threads() <= num_threads
    finally:
        torch.set_num_threads(before)


def test_first_scan_of_a_process_leaves_torch_threads_alone():
    import subprocess
    import sys

    program = (
        "import torch; from lit_retrieval.ops import selective_scan; torch.set_num_threads(1); "
        "x = torch.ones(1, 1, 1); selective_scan(x, x, -x[0], x, x); assert torch.get_num_threads() == 1"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_wrong_shapes_are_named():
    x, dt, A, B, C, state = draw(3)
    with pytest.raises(ValueError, match=r"C has shape \(3, 2, 5\)"):
        selective_scan(x, dt, A, B, C[:, :2], state)
    with pytest.raises(ValueError, match="no step at all"):
        selective_scan(x[:, :0], dt[:, :0], A, B[:, :0], C[:, :0])


def test_more_threads_change_nothing():
    generator = torch.Generator().manual_seed(0)
    shapes = (16, 40, 64), (16, 40, 64), (64, STATE_DIM), (16, 40, STATE_DIM), (16, 40, STATE_DIM), (16, STATE_DIM, 64)
    x, dt, A, B, C, state = (torch.rand(shape, generator=generator) for shape in shapes)  # large enough for two threads
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2):
            torch.set_num_threads(num_threads)
            results.append(run_with_gradients(selective_scan, [x, dt, -A, B, C, state], on_state=True))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert_close(two, one)
