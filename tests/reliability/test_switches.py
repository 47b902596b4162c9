"""Every switch and callback of Lightning either works, with the same samples and an exact resume, or is refused.

What is refused is in `lit_retrieval/cli/switches.py` and in test_mistakes.py.
"""

import csv
import inspect
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer, callbacks
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_retrieval.cli import main
from lit_retrieval.cli.ranges import LEAST
from lit_retrieval.cli.switches import CALLBACKS, SWITCHES
from lit_retrieval.lightning_internals import batches_trained
from lit_retrieval.training import logged_names

TINY = """
seed_everything: 0
data:
  task: {class_path: lit_retrieval.tasks.IsTree, init_args: {max_size: 4}}
  regime: vanilla
  sizes: [4]
  batch_size: 4
  val_samples: 4
  eval_batch_size: 2
model:
  hidden_size: 4
  stages: [{mixers: [{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dim: 2}}]}]
  warmup_samples: 0
trainer: {accelerator: cpu, max_steps: 6, val_check_interval: 2, enable_progress_bar: false, log_every_n_steps: 1}
inspection: {log_images_every: 0}
last_checkpoint: {keep: 9, every_n_steps: 1}
"""
PATH = "lightning.pytorch.callbacks."
# By trainer keys, or callbacks with their arguments; those of a row are tried together. Training is that without them.
UNCHANGED = [
    {
        "num_sanity_val_steps": 1, "detect_anomaly": True, "deterministic": True, "inference_mode": False,
        "min_steps": 3, "min_epochs": 0, "sync_batchnorm": True, "benchmark": False, "limit_val_batches": 0.5,
        "limit_test_batches": 1, "limit_predict_batches": 1, "max_time": "00:01:00:00", "enable_autolog_hparams": False,
        "enable_model_summary": True, "strategy": "auto", "devices": 1, "num_nodes": 1, "precision": "32-true",
        "logger": False, "gradient_clip_val": 0, "gradient_clip_algorithm": "norm", "fast_dev_run": False,
    },
    {
        "Timer": {}, "EarlyStopping": {"monitor": "val/loss", "patience": 99}, "ModelSummary": {}, "LambdaCallback": {},
        "LearningRateMonitor": {}, "num_sanity_val_steps": -1,
    },
    {
        "ModelCheckpoint": {"every_n_train_steps": 1, "save_top_k": -1}, "OnExceptionCheckpoint": {"dirpath": "other"},
        "RichModelSummary": {}, "DeviceStatsMonitor": {"cpu_stats": False}, "profiler": "simple", "logger": True,
        "plugins": [],
    },
]  # fmt: skip
# The same, for those with which training or its weights are others, and how many batches a run takes.
CHANGED = [
    ({"limit_train_batches": 3, "max_epochs": 2, "max_steps": -1}, 6),
    ({"limit_train_batches": 3, "check_val_every_n_epoch": 1, "val_check_interval": 1.0}, 6),
    ({"limit_train_batches": 4, "accumulate_grad_batches": 2, "max_steps": 4}, 8),
    ({"limit_train_batches": 3, "accumulate_grad_batches": 2, "max_steps": 4}, 6),
    ({"limit_train_batches": 2, "reload_dataloaders_every_n_epochs": 1, "EMAWeightAveraging": {}}, 6),
]
# Not tried here: keys that say where a run is and what it shows, and callbacks with a reason.
ELSEWHERE = {"accelerator", "callbacks", "default_root_dir", "enable_progress_bar", "log_every_n_steps"}
NO_SWITCHES = {
    "Callback", "Checkpoint", "ProgressBar", "BaseFinetuning", "BasePredictionWriter",  # to derive from
    "ModelPruning", "WeightAveraging", "ThroughputMonitor",  # need a function as an argument
    "RichProgressBar", "TQDMProgressBar",  # in place of ours; test_mistakes.py
}  # fmt: skip


class Record(Callback):
    """Keeps the tokens of each batch trained on, by its number; the run ends once, before the batch `stop`."""

    batches: dict[int, list[int]]
    stop: int | None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        number = batches_trained(trainer)
        if number == Record.stop:
            Record.stop = None
            raise KeyboardInterrupt
        Record.batches[number] = batch.tokens.flatten().tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("switches")
    (path / "tiny.yaml").write_text(TINY)
    return path


@pytest.fixture
def run(folder, monkeypatch):
    """Trains the tiny model with some switches; returns its batches and its last weights."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])

    def run(switches, name, stop=None):
        Record.batches, Record.stop = {}, stop
        words = ["fit", "--config", "tiny.yaml", "--run_dir", name, f"--trainer.callbacks+={__name__}.Record"]
        for key, value in switches.items():
            if hasattr(callbacks, key):
                words += [f"--trainer.callbacks+={PATH}{key}"]
                words += [f"--trainer.callbacks.{argument}={given}" for argument, given in value.items()]
            else:
                words += [f"--trainer.{key}={value}"]
        if stop is not None:
            with pytest.raises((SystemExit, KeyboardInterrupt)):
                main(words)
        main(words)
        newest = max(Path(name).glob("checkpoints/step_*.ckpt"), key=lambda path: int(path.stem.split("_")[1]))
        return Record.batches, torch.load(newest)["state_dict"]

    return run


def assert_same(one, other):
    assert one[0] == other[0]
    for name, weights in one[1].items():
        assert torch.equal(weights, other[1][name]), name


@pytest.fixture(scope="module")
def plain():
    """The batches and the weights without any switch, once they are known."""
    return []


@pytest.mark.parametrize("row", range(len(UNCHANGED)))
def test_a_resumed_run_with_these_is_the_run_without_them(run, plain, row):
    if not plain:
        plain.append(run({}, "plain"))
    assert len({str(batch) for batch in plain[0][0].values()}) == 6
    assert_same(run(UNCHANGED[row], f"unchanged {row}", stop=3), plain[0])


@pytest.mark.parametrize("row", range(len(CHANGED)))
def test_no_sample_comes_twice_and_a_resume_is_exact(run, row):
    switches, count = CHANGED[row]
    whole = run(switches, f"whole {row}")
    assert len({str(batch) for batch in whole[0].values()}) == len(whole[0]) == count
    assert_same(run(switches, f"cut {row}", stop=3), whole)


def test_a_csv_file_has_one_row_a_step_after_a_resume(run, capfd):
    place = {"logger.save_dir": "logs", "logger.name": "", "logger.version": ""}
    run({"logger": "lightning.pytorch.loggers.CSVLogger", **place}, "csv", stop=3)
    with Path("logs/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["train/loss"]] == list("012345")
    assert [row["step"] for row in rows if row["val/loss"]] == list("135")
    assert "deleted" not in capfd.readouterr().err


def test_tensorboard_has_one_point_a_step_after_a_resume(run):
    place = {"logger.save_dir": "boards", "logger.name": "", "logger.version": ""}
    for _ in range(2):
        run({"logger": "lightning.pytorch.loggers.TensorBoardLogger", **place}, "board")
        points = EventAccumulator("boards").Reload().Scalars("train/loss")
        assert [point.step for point in points] == list(range(6))
        for path in Path("board/checkpoints").glob("step_[456].ckpt*"):  # as if killed after three steps
            path.unlink()


def test_a_few_steps_write_nothing(run, folder):
    before = set(folder.iterdir())
    main(["fit", "--config", "tiny.yaml", "--run_dir", "dev", "--trainer.fast_dev_run", "2"])
    assert set(folder.iterdir()) == before


def test_every_switch_and_callback_of_this_lightning_is_tried_or_refused():
    tried = {key for switches in (*UNCHANGED, *(row for row, _ in CHANGED)) for key in switches}
    refused = {kind.__name__ for kind in CALLBACKS}
    assert tried | set(SWITCHES) | set(LEAST) | ELSEWHERE >= set(inspect.signature(Trainer).parameters)
    assert tried | refused | NO_SWITCHES >= set(callbacks.__all__)


def test_all_that_is_logged_can_be_monitored(run, monkeypatch):
    logged = set()
    monkeypatch.setattr(Record, "on_train_end", lambda self, trainer, module: logged.update(trainer.callback_metrics))
    monkeypatch.setattr(Record, "setup", lambda self, trainer, module, stage: known.update(logged_names(module.data)))
    known = set()
    run({"max_steps": 2}, "logged")
    assert {"val/closed_loop_accuracy", "train/loss"} <= logged <= known
