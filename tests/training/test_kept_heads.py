import pytest
import torch
from lightning.pytorch import Trainer
from torch.nn import functional as F

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention, Mamba, SlidingWindowAttention
from lit_retrieval.models import Stage
from lit_retrieval.tasks import AssociativeRecall
from lit_retrieval.training import KeptHeads, SequenceModule

TASK = AssociativeRecall()


def module_of(*mixers):
    torch.manual_seed(0)
    return SequenceModule(len(TASK.vocabulary), 16, [Stage(list(mixers))])


def layers_of(module, kind):
    return [one for one in module.modules() if isinstance(one, kind)]


@pytest.mark.parametrize("kind", [Attention, SlidingWindowAttention])
@pytest.mark.parametrize("heads", [[], [2], [0, 3], [0, 1, 2, 3]], ids=str)
def test_the_output_is_the_sum_of_the_kept_heads(kind, heads):
    module, callback = module_of(kind, kind), KeptHeads(heads)
    x = torch.randn(2, 9, 16)
    for layer in layers_of(module, kind):
        before, whole = layer.out_proj.weight.clone(), layer(x)[0]
        q, k, _ = layer._project(x, 0)
        weights = layer._attend(q, k, torch.eye(9).expand(2, 4, -1, -1))
        values = F.linear(x, layer.qkv_proj.weight[32:]).view(2, 9, 4, 4).transpose(1, 2)
        mixed = weights @ values
        expected = sum((mixed[:, head] @ before[:, 4 * head : 4 * head + 4].T for head in heads), torch.zeros(2, 9, 16))
        callback.on_test_start(None, module)
        torch.testing.assert_close(layer(x)[0], expected, atol=1e-6, rtol=1e-5)
        callback.on_test_end(None, module)
        assert torch.equal(layer.out_proj.weight, before) and torch.equal(layer(x)[0], whole)


@pytest.mark.parametrize("stage", ["fit", "validate", "predict"])
def test_a_command_that_would_keep_all_heads_is_refused(stage):
    with pytest.raises(UserError, match="used by `test` alone"):
        KeptHeads([0]).setup(None, None, stage)


class Looking(KeptHeads):
    """Notes which columns of the output projection are zero during the test."""

    def on_test_batch_start(self, trainer, pl_module, *others):
        self.zeros = [(one.out_proj.weight == 0).all(0).tolist() for one in layers_of(pl_module, Attention)]


def test_a_test_runs_with_the_kept_heads_alone(tmp_path):
    module, callback = module_of(Mamba, Attention), Looking([1])
    data = TranscriptData(TASK, "vanilla", sizes=[8], test_samples=4)
    Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path, callbacks=[callback],
        enable_checkpointing=False, use_distributed_sampler=False,
    ).test(module, data, verbose=False)  # fmt: skip
    assert callback.zeros == [[True] * 4 + [False] * 4 + [True] * 8]
    assert not any((layer.out_proj.weight == 0).any() for layer in layers_of(module, Attention))


@pytest.mark.parametrize(
    ("mixers", "heads", "said"),
    [
        ([Attention], [4], r"must be those of layers of Attention, 0 to 3, got \[4\]"),
        ([Attention], [-1], "0 to 3"),
        ([Mamba], [0], "KeptHeads needs a model with a layer of Attention"),
    ],
)
def test_heads_that_are_not_there_are_refused(mixers, heads, said):
    with pytest.raises(UserError, match=said):
        KeptHeads(heads).on_test_start(None, module_of(*mixers))
