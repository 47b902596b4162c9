"""The kernels of all ready models, fla's included, compile for an H100 on a machine without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
NAMES = sorted(path.stem for path in CONFIGS.glob("*_0.5M.yaml"))
# They have no kernel of Triton: their layers are PyTorch's or ours, or fla's that run in PyTorch in float32.
OF_PYTORCH = {
    "gru_0.5M", "linear_rnn_0.5M", "log_linear_mamba2_0.5M", "lstm_0.5M", "mamba3_0.5M", "stickbreaking_attention_0.5M",
    "transformer_0.5M", "wall_attention_0.5M", "window_0.5M",
}  # fmt: skip
THREE_PRODUCTS = {  # fla has these in tf32x3, sums of three products, which are about as exact as float32
    "fla.ops.precond_kda.chunk_intra.chunk_precond_kda_fwd_kernel_inter_solve_fused",
    "fla.ops.precond_kda.wy_fast.recompute_w_u_fwd_kernel",
}
PROGRAM = Path(__file__).parents[1] / "kernels_compiled.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="triton is for Linux only")
@pytest.mark.parametrize("name", NAMES)
def test_all_kernels_of_a_ready_model_compile(tmp_path, name):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), name], capture_output=True, text=True, timeout=600, env=environment
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    print(f"{name}: {len(found['kernels'])} kernels")
    assert not found["refused"]
    assert set(found["tf32"]) <= THREE_PRODUCTS
    assert found["errors"] == [] and bool(found["kernels"]) == (name not in OF_PYTORCH)
