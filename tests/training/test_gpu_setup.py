"""What a run tells the GPU: IEEE or TF32, and one set of block sizes."""

import os
from types import SimpleNamespace

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Mamba
from lit_retrieval.models import Stage
from lit_retrieval.training import Gpu, SequenceModule, gpu_setup
from lit_retrieval.training.gpu_setup import set_float32


@pytest.fixture
def settings(monkeypatch):
    """The settings, put back after the test."""
    monkeypatch.setenv("TRITON_F32_DEFAULT", "")
    monkeypatch.setattr(Gpu, "_first", None)
    cudnn, matmul = torch.backends.cudnn, torch.get_float32_matmul_precision()
    before = cudnn.rnn.fp32_precision, cudnn.conv.fp32_precision
    yield lambda: {
        torch.get_float32_matmul_precision(), cudnn.rnn.fp32_precision, cudnn.conv.fp32_precision,
        os.environ["TRITON_F32_DEFAULT"],
    }  # fmt: skip
    cudnn.rnn.fp32_precision, cudnn.conv.fp32_precision = before
    torch.set_float32_matmul_precision(matmul)


def begin(callback, device):
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    callback.setup(trainer, None, "validate")


@pytest.mark.parametrize(("float32", "expected"), [(None, {"highest", "ieee"}), ("tf32", {"high", "tf32"})])
def test_products_of_float32_have_one_meaning_everywhere(settings, monkeypatch, float32, expected):
    fixed = []
    monkeypatch.setattr(gpu_setup, "fix_block_sizes", lambda: fixed.append(True))
    begin(Gpu(float32=float32), "cuda")
    assert settings() == expected and fixed


def test_a_later_run_of_a_process_has_the_settings_with_which_flas_kernels_were_compiled(settings, monkeypatch):
    import fla.ops  # noqa: F401

    monkeypatch.setattr(gpu_setup, "fix_block_sizes", lambda: None)
    begin(Gpu(), "cuda")
    begin(Gpu(graphs=False), "cuda")
    for other in (Gpu(float32="tf32"), Gpu(autotune=True)):
        with pytest.raises(UserError, match="in one process must have the same settings of the GPU"):
            begin(other, "cuda")
    begin(Gpu(float32="tf32"), "cpu")


def test_kernels_of_fla_that_name_a_precision_have_that_of_the_run(settings):
    import fla.ops.gated_delta_rule.chunk_fwd as gated_delta_rule
    import fla.ops.gdn2.chunk_intra as gdn2
    import fla.ops.kda.chunk_intra as kda

    for precision in ("tf32", "ieee"):
        set_float32(precision)
        assert all(one.SOLVE_TRIL_DOT_PRECISION.value == precision for one in (gated_delta_rule, gdn2, kda))


def test_nothing_is_set_on_a_cpu_and_no_block_sizes_where_the_autotuner_is_asked_for(settings, monkeypatch):
    monkeypatch.setattr(gpu_setup, "fix_block_sizes", lambda: pytest.fail("called"))
    before = settings()
    begin(Gpu(), "cpu")
    assert settings() == before
    begin(Gpu(autotune=True), "cuda")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (None, None),
        ("optimizer_factory", torch.optim.SGD),
        ("scheduler_factory", OneCycleLR),
        ("first_state", "same"),
        ("recompute_blocks", True),
        ("is_fused", False),
    ],
)
def test_graphs_are_for_our_optimizer_and_schedule(monkeypatch, name, value):
    """OneCycleLR changes AdamW's betas as well, which a graph would not read again."""
    module = SequenceModule(9, 8, [Stage([Mamba])])
    monkeypatch.setattr(gpu_setup, "can_record", lambda trainer: True)
    monkeypatch.setattr(gpu_setup, "StepGraphs", lambda trainer, module: "graphs")
    if name not in (None, "is_fused"):
        setattr(module, name, value)
    optimizer = SimpleNamespace(defaults={"fused": name != "is_fused"})  # as with complex weights
    Gpu().on_train_start(SimpleNamespace(optimizers=[optimizer]), module)
    assert module.graphs == ("graphs" if name is None else None)
