"""In the steps of the real command the host waits for nothing, so that a GPU is never idle."""

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from lit_retrieval.cli import main
from lit_retrieval.training import default_callbacks
from lit_retrieval.training.progress_bar import ProgressBar, ProgressLines
from lit_retrieval.training.step_graph import StepGraphs

# Operations whose result, or its size, the host needs: on a GPU each waits until all kernels before it are done.
WAITING = {
    "_local_scalar_dense", "_unique", "_unique2", "allclose", "bincount", "equal", "is_nonzero", "item",
    "masked_select", "nonzero", "nonzero_numpy", "repeat_interleave", "unique_consecutive", "unique_dim",
}  # fmt: skip


class WaitsError(Exception):
    """The host would wait."""


class NoWaits(TorchDispatchMode):
    """Refuses what the host would wait for: reading a number, or the size of a selection."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        is_selection = name.startswith(("index", "_unsafe_index")) and any(
            one.dtype == torch.bool for part in args if isinstance(part, list | tuple) for one in part
            if isinstance(one, torch.Tensor)
        )  # fmt: skip
        if name in WAITING or is_selection:
            raise WaitsError(name)
        return func(*args, **(kwargs or {}))


class Watch(Callback):
    """Watches all steps between two looks of the host; the first one makes the optimizer's state.

    Args:
        as_graphs: Whether to take steps whole, as those of CUDA graphs are; `record` runs a step again.
    """

    def __init__(self, as_graphs=False):
        self.as_graphs, self.mode, self.seen = as_graphs, NoWaits(), 0

    def on_train_start(self, trainer, pl_module):
        if self.as_graphs:
            pl_module.graphs = StepGraphs(trainer, pl_module, lambda run: run)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        pl_module.whole_step._waits = True  # as on a GPU, where a look waits
        self.seen += 1
        if self.seen == 2:
            self.mode.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.seen == 8:
            self.mode.__exit__(None, None, None)

    def on_exception(self, trainer, pl_module, exception):
        if 2 <= self.seen <= 8:
            self.mode.__exit__(None, None, None)


ATTENTION = "[{mixers: [{class_path: lit_retrieval.mixers.Attention}, {class_path: lit_retrieval.mixers.SwiGLU}]}]"
TINY = [
    "--model.hidden_size", "8", "--data.batch_size", "4", "--data.val_samples", "4", "--trainer.max_steps", "9",
    "--trainer.accelerator", "cpu", "--trainer.val_check_interval", "20", "--inspection.log_images_every", "0",
]  # fmt: skip
CASES = {
    "quickstart, vanilla": ["--model.stages", ATTENTION, "--trainer.precision", "bf16-mixed"],
    "quickstart, cot, as graphs": [],
    "quickstart, retrieval": ["--trainer.accumulate_grad_batches", "2"],
    "two_tasks_lengths, retrieval": [],
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * case.startswith("two")) for case in CASES]
)
def test_the_host_waits_for_nothing_between_two_looks(tmp_path, monkeypatch, case):
    config, regime, *graphs = case.split(", ")
    watch = Watch(as_graphs=bool(graphs))

    def with_watch(*arguments, **options):
        made = default_callbacks(*arguments, **options)
        return [watch, *(ProgressBar() if isinstance(one, ProgressLines) else one for one in made)]

    monkeypatch.setattr("lit_retrieval.cli.retrieval_cli.default_callbacks", with_watch)
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", config, *TINY, "--data.regime", regime, *CASES[case]])
    assert watch.seen >= 8


def test_a_wait_is_refused_where_there_is_one():
    values = torch.arange(4)
    for wait in (
        lambda: values.sum().item(), lambda: values[values > 1], lambda: values.nonzero(), lambda: bool(values[0] > 1),
        lambda: values.index_put((values > 1,), values[0]), lambda: values.unique(),
    ):  # fmt: skip
        with pytest.raises(WaitsError), NoWaits():
            wait()
