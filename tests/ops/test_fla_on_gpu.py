"""What runs on a GPU in place of fla's functions: when, and that it needs no CPU and waits for no GPU."""

import contextlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fla_layers import HIDDEN_SIZE, make_layer
from torch import Tensor

from lit_retrieval.mixers import FlaLayer, without_states
from lit_retrieval.ops.fla_cpu import install, mesa_net, on_gpu
from lit_retrieval.ops.fla_cpu.table import TABLE
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.mesa_solve import mesa_solve_naive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
IN_PYTORCH = [
    "Attention", "BitAttention", "Comba", "DeltaFormerAttention", "DeltaNet", "GatedDeltaProduct", "LogLinearMamba2",
    "Mamba3", "MoBA", "MomentumDeltaNet", "MultiheadLatentAttention", "NativeSparseAttention", "Parallax",
    "PrecondGatedDeltaNet", "SlidingWindowSharedKeyAttention", "StickBreakingAttention", "WallAttention",
]  # fmt: skip
module = importlib.import_module("lit_retrieval.ops.fla_cpu.install")


def test_what_is_replaced_is_in_the_table():
    assert set(on_gpu.INSTEAD) <= {row.theirs for row in TABLE if row.kind == "ours"}


def test_no_tensor_is_kept_by_the_question():
    questions = [one.when for one in (*on_gpu.INSTEAD.values(), on_gpu.FLASH_ATTENTION)]
    assert not any(hasattr(when, "cache_info") for when in questions)


@pytest.mark.filterwarnings("ignore:.* has no usable cache")
@pytest.mark.parametrize("name", IN_PYTORCH)
def test_our_form_needs_no_cpu_and_never_waits(name, monkeypatch):
    """Tensors without data refuse tensors of a CPU beside them, and to be read."""
    mixer = FlaLayer(make_layer(name)).to("meta")
    monkeypatch.setattr(module, "_is_on_cpu", lambda *args, **kwargs: True)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *args: False)
    x = torch.empty(2, 66, HIDDEN_SIZE, device="meta", requires_grad=True)
    y, state = mixer(x)
    y.sum().backward()
    assert x.grad is not None and y.is_meta
    assert mixer(x[:, :1], state)[0].is_meta
    with without_states():
        assert mixer(x)[0].is_meta


def of(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.empty(*(shape or (2, 8, 16, 16)), dtype=dtype, device="meta")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_of_float32_goes_without_flash_attention(monkeypatch, dtype):
    choose = module._for_gpu(lambda *args: "theirs", lambda *args: "ours", on_gpu.FLASH_ATTENTION)
    for is_there in (False, True):
        monkeypatch.setattr(on_gpu, "_has_flash_attention", lambda is_there=is_there: is_there)
        assert choose(of(dtype)) == ("theirs" if is_there and dtype == torch.bfloat16 else "ours")


@pytest.mark.parametrize("name", ["parallax.parallel_parallax", "parallax.decode.parallax_decode"])
def test_parallax_runs_ours_in_float32_and_where_gradients_are_wanted(name):
    when, half = on_gpu.INSTEAD[f"fla.ops.{name}"].when, of(torch.bfloat16).requires_grad_()
    assert when(of(torch.float32)) and not when(half.detach())
    assert when(half.detach(), half) == ("decode" in name)
    with torch.no_grad():
        assert not when(half)


@pytest.mark.parametrize(
    ("heads", "dim", "block", "count", "is_ours"),
    [(16, 16, 16, 4, False), (16, 8, 16, 4, True), (8, 16, 16, 4, True), (24, 16, 16, 4, True), (16, 16, 8, 4, True),
     (16, 16, 16, 9, True), (32, 64, 64, 16, False)],
)  # fmt: skip
def test_native_sparse_attention_of_small_heads_or_blocks_is_ours(heads, dim, block, count, is_ours):
    q, k = of(torch.float32, 1, 8, heads, dim), of(torch.float32, 1, 8, 1, dim)
    when = on_gpu.INSTEAD["fla.ops.nsa.parallel.parallel_nsa"].when
    assert when(q, k, k, block_size=block, block_counts=count) == is_ours


@pytest.mark.parametrize("options", [{}, {"use_qk_l2norm_in_kernel": True}], ids=str)
def test_mesa_net_around_another_solver_is_mesa_net(monkeypatch, options):
    """What runs on a GPU, with an exact solver and our recurrence in place of fla's kernels."""
    install()

    def solve(iterations: int, *system: Tensor) -> Tensor:
        return mesa_solve_naive(*system)[0]

    monkeypatch.setattr(mesa_net, "_solve_by_fla", solve)
    monkeypatch.setattr(mesa_net, "recur_by_fla", linear_recurrence)
    generator, results = torch.Generator().manual_seed(0), []
    q, k, v, g, beta, lamb, half, h_kv = (
        torch.randn(*shape, generator=generator)
        for shape in (*3 * [(2, 9, 2, 4)], *2 * [(2, 9, 2)], (2, 4), (2, 2, 4, 8), (2, 2, 4, 4))
    )
    leaves = [q, k, v, -g.abs(), beta.sigmoid(), lamb.exp(), half @ half.mT, h_kv]
    leaves = [one.requires_grad_() for one in leaves]
    for function in (mesa_net.mesa_net_by_fla, mesa_net.mesa_net):
        o, *states = function(*leaves, output_final_state=True, **options)
        loss = o.square().sum() + sum(one.sin().sum() for one in states)
        results.append([o, *states, *torch.autograd.grad(loss, leaves)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)  # conjugate gradients stop at 1e-7


@pytest.mark.slow
def test_mesa_net_by_flas_kernels_is_mesa_net():
    """In Triton's interpreter; fla's own function is off by 0.8 for gradients as small as here."""
    program = Path(__file__).parents[1] / "mesa_interpreted.py"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, env=environment, timeout=600)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert len(found) == 14 and max(found.values()) < 1e-5
