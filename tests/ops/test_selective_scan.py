"""What only the scan does, and what the first kernel of a process does; `test_every_op.py` has the rest."""

import subprocess
import sys

import pytest
import torch

from lit_retrieval.ops import selective_scan
from lit_retrieval.ops.selective_scan import selective_scan_naive


def test_extreme_decays_neither_overflow_nor_hide_nan():
    generator = torch.Generator().manual_seed(2)
    x, dt, B, C = (torch.randn(3, 2, dim, generator=generator) for dim in (20, 20, 5, 5))
    A, state = -1 - 16 * torch.rand(20, 5, generator=generator), torch.randn(3, 5, 20, generator=generator)
    y, _ = selective_scan(x, 1e3 * dt.abs(), A, B, C, state)
    expected, _ = selective_scan_naive(*[tensor.double() for tensor in (x, 1e3 * dt.abs(), A, B, C, state)])
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    A[0, 0] = float("nan")
    assert selective_scan(x, dt.abs(), A, B, C, state)[0][:, :, 0].isnan().all()


def test_the_first_scan_of_a_process_leaves_torch_threads_alone():
    program = (
        "import torch; from lit_retrieval.ops import selective_scan; torch.set_num_threads(1); "
        "x = torch.ones(1, 1, 1); selective_scan(x, x, -x[0], x, x); assert torch.get_num_threads() == 1"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_empty_sequence_is_refused():
    x, A = torch.zeros(3, 0, 8), torch.zeros(8, 8)
    with pytest.raises(ValueError, match="at least one"):
        selective_scan(x, x, A, x, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_compile_traces_the_scan_whole(dtype):
    x, A = torch.rand(2, 3, 8, dtype=dtype), -torch.rand(8, 8, dtype=dtype)
    compiled = torch.compile(selective_scan, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, x, A, x, x), selective_scan(x, x, A, x, x))
