"""A hundred and fifty mistakes: each ends in one line that names the key or the file, and the fix if there is one."""

from importlib.util import find_spec
from pathlib import Path
from unittest.mock import Mock

import pytest

from lit_retrieval.cli import main
from lit_retrieval.ops import arrays
from lit_retrieval.parsing import USER_ERROR

MISSPELT = "{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dmi: 2}}"
OURS = "lit_retrieval"
CALLBACKS = "lightning.pytorch.callbacks."


def early_stopping(monitor, *arguments):
    return with_arguments(
        f"--trainer.callbacks+={CALLBACKS}EarlyStopping", "callbacks", f"monitor={monitor}", *arguments
    )


def logger(name, *arguments):
    return with_arguments(f"--trainer.logger=lightning.pytorch.loggers.{name}", "logger", *arguments)


def stage(class_path, repeat=1, **arguments):
    mixer = f"{{class_path: {class_path}, init_args: {arguments}}}"
    return ["--model.stages", f"[{{repeat: {repeat}, mixers: [{mixer}]}}]"]


def task(name, *arguments):
    options = [f"--data.task.init_args.{argument}" for argument in arguments]
    return ["--data.task", f"lit_retrieval.tasks.{name}", *options]


def with_arguments(option, key, *arguments):
    return [option, *(f"--trainer.{key}.{argument}" for argument in arguments)]


MISTAKES = [
    # A wrong command, or none.
    ([], "subcommand"),
    (["train"], "train"),
    (["fit", "extra"], "extra"),
    (["fit", "--conifg", "x.yaml"], "conifg"),
    # Files.
    (["fit", "--config", "none.yaml"], "none.yaml"),
    (["fit", "--config", "."], "--config"),
    (["fit", "--config", "tabs.yaml"], "tabs.yaml"),
    (["fit", "--config", "binary.yaml"], "binary.yaml"),
    (["fit", "--config", "empty.yaml"], "empty.yaml"),
    (["fit", "--config", "list.yaml"], "list.yaml"),
    (["fit", "--config", "wrong_key.yaml"], "did you mean model.hidden_size?"),
    (["fit", "--config", "wrong_section.yaml"], "modle"),
    (["fit", "--config", "wrong_type.yaml"], "hidden_size"),
    (["fit", "--config", "dangling.yaml"], "nowhere.yaml"),
    (["fit", "TINY", "--data", "none.yaml"], "none.yaml"),
    (["fit", "TINY", "--trainer", "none.yaml"], "none.yaml"),
    # Keys that are not there, and some that are nearly.
    (["fit", "TINY", "--model.hiden_size", "3"], "did you mean model.hidden_size?"),
    (["fit", "TINY", "--model.learningrate", "3"], "did you mean model.learning_rate?"),
    (["fit", "TINY", "--data.batchsize", "3"], "did you mean data.batch_size?"),
    (["fit", "TINY", "--trainer.maxsteps", "3"], "did you mean trainer.max_steps?"),
    (["fit", "TINY", "--data.task.init_args.maxsize", "9"], "did you mean max_size?"),
    (["fit", "TINY", "--model.stages", f"[{{mixers: [{MISSPELT}]}}]"], "did you mean state_dim?"),
    (["fit", "TINY", "--run_dr", "x"], "did you mean run_dir?"),
    (["test", "TINY", "--fresh"], "--fresh"),
    # Values of another type.
    (["fit", "TINY", "--model.hidden_size", "wide"], "model.hidden_size"),
    (["fit", "TINY", "--model.hidden_size"], "model.hidden_size"),
    (["fit", "TINY", "--data.sizes", "8"], "sizes must be a range such as 4..8"),
    (["fit", "TINY", "--data.regime", "rag"], "data.regime"),
    (["fit", "TINY", "--data.num_workers", "many"], "data.num_workers"),
    (["fit", "TINY", "--seed_everything", "now"], "seed_everything"),
    (["fit", "TINY", "--prefer", "me"], "prefer"),
    (["fit", "TINY", "--trainer.precision", "8-bit"], "precision"),
    (["fit", "TINY", "--model.embedding", "random"], "model.embedding"),
    # Values out of range.
    (["fit", "TINY", "--model.hidden_size", "0"], "hidden_size"),
    (["fit", "TINY", "--model.stages", "[]"], "stages"),
    (["fit", "TINY", "--data.batch_size", "0"], "data.batch_size"),
    (["fit", "TINY", "--data.eval_batch_size", "-1"], "data.eval_batch_size"),
    (["fit", "TINY", "--data.sizes", "[]"], "sizes"),
    (["fit", "TINY", "--data.sizes", "[3]"], "size must be 4 to"),
    (["fit", "TINY", "--data.sizes", "[99]"], "data.task.init_args.max_size"),
    (["fit", "TINY", "--data.max_new_tokens", "0"], "data.max_new_tokens"),
    (["fit", "TINY", "--data.num_workers", "-1"], "num_workers"),
    (["fit", "TINY", "--trainer.max_steps", "-5"], "max_steps"),
    (["fit", "TINY", "--trainer.accumulate_grad_batches", "3", "--trainer.val_check_interval", "10"], "write 9"),
    (["fit", "TINY", "--last_checkpoint.keep", "0"], "keep must be 1 or more, got 0"),
    (["fit", "TINY", "--trainer.default_root_dir", "x"], "--run_dir"),
    (["fit", "TINY", "--model.learning_rate", "-1"], "learning_rate must be 0 or more, got -1"),
    (["fit", "TINY", "--model.learning_rate", "-1e-3"], "learning_rate must be 0 or more, got -0.001"),
    (["fit", "TINY", "--model.learning_rate", "-.5"], "learning_rate must be 0 or more, got -0.5"),
    (["fit", "TINY", "--model.learning_rate", "nan"], "model.learning_rate"),
    (["fit", "TINY", "--model.weight_decay", "-1"], "0 or more, got -1.0; set model.weight_decay"),
    (["fit", "TINY", "--model.warmup_samples", "-5"], "0 or more, got -5; set model.warmup_samples"),
    (["fit", "TINY", "--data.seed", "-1"], "got -1; set data.seed"),
    (["fit", "TINY", "--data.val_samples", "-3"], "1 or more, got -3; set data.val_samples"),
    (["test", "TINY", "--data.test_samples", "-1"], "1 or more, got -1; set data.test_samples"),
    (["predict", "TINY", "--data.predict_samples", "-1"], "1 or more, got -1; set data.predict_samples"),
    (["fit", "TINY", "--seed_everything", "-5"], "seed_everything must be 0 to 4294967295, got -5"),
    (["fit", "TINY", "--trainer.val_check_interval", "0"], "must be 1 or more, got 0; set trainer.val_check_interval"),
    (["fit", "TINY", "--trainer.accumulate_grad_batches", "0"], "must be 1 or more, got 0"),
    (["fit", "TINY", "--trainer.gradient_clip_val", "-1"], "gradient_clip_val must be 0 or more, got -1"),
    # Folders that can be none.
    (["fit", "TINY", "--run_dir", "/proc/x"], "set another in --run_dir"),
    (["fit", "TINY", "--run_dir", "list.yaml"], "run_dir must be a folder, got the file list.yaml; set --run_dir"),
    # Classes.
    (["fit", "TINY", "--data.task", "lit_retrieval.tasks.IsBush"], "IsBush"),
    (["fit", "TINY", "--data.task", "lit_retrieval.tasks.text.Friends"], "needs tokenizer; write init_args"),
    (["fit", "TINY", "--data.task", "nowhere.Task"], "nowhere"),
    (["fit", "TINY", "--data.task", "lit_retrieval.mixers.Mamba"], "data.task"),
    (["fit", "TINY", "--data.task", "os.system"], "os.system"),
    (["fit", "TINY", "--model.stages", "[{mixers: [{class_path: lit_retrieval.mixers.Mambo}]}]"], "Mambo"),
    # Hardware.
    (["fit", "TINY", "--trainer.accelerator", "quantum"], "quantum"),
    (["fit", "TINY", "--trainer.strategy", "fsdp"], "fsdp"),
    (["fit", "TINY", "--trainer.devices", "0"], "devices"),
    (["fit", "TINY", "--trainer.devices", "-2"], "should be an int > 0"),
    # Far too large for this machine, or any.
    (["fit", "TINY", "--model.hidden_size", "1000000000"], "the embedding would take"),
    (["fit", "TINY", "--model.hidden_size", "1000000"], "GB; lower model.hidden_size or model.stages...repeat"),
    (["fit", "TINY", *stage("lit_retrieval.mixers.Mamba", repeat=10**9)], "1,000,000,000 layers"),
    (["fit", "TINY", "--data.task.init_args.max_size", "1000000000"], "max_size must be 1000000 or less"),
    (["fit", "TINY", *task("Index", "num_words=1000000000")], "num_words must be 1000000 or less"),
    (["fit", "TINY", *task("MQAR", "vocab_size=1000000000")], "vocab_size must be 1000000 or less"),
    (["fit", "TINY", "--data.sizes", "4..1000000000000"], "sizes must be 10000 sizes or fewer"),
    (["fit", "TINY", "--data.batch_size", "1000000000000"], "a batch of 1,000,000,000,000 samples would take"),
    (["fit", "TINY", "--data.num_workers", "100000"], "or less, got 100000; set data.num_workers"),
    (["fit", "TINY", "--data.max_new_tokens", "1000000000"], "max_new_tokens must be 10000 or less"),
    (["fit", "TINY", "--data.seed", "100000000000000000000000"], "seed must be 0 to 18446744073709551615"),
    (["fit", "TINY", "--trainer.devices", "100000"], "or less, got 100000; set trainer.devices"),
    (["fit", "TINY", "--trainer.num_nodes", "2", "--trainer.strategy", "ddp"], "MASTER_ADDR, MASTER_PORT, NODE_RANK"),
    # Switches and callbacks of Lightning that can't work.
    (["fit", "TINY", "--trainer.overfit_batches", "2"], "name their file in data.train_file"),
    (["fit", "TINY", "--trainer.val_check_interval", "00:00:00:01"], "write a number of batches"),
    (["fit", "TINY", "--trainer.val_check_interval", "1.0"], "trainer.val_check_interval=1.0 can't be used"),
    (["fit", "TINY", "--trainer.val_check_interval", "0.5"], "must be 1 or more, got 0.5"),
    (["fit", "TINY", "--trainer.limit_train_batches", "0.5"], "must be 1 or more, got 0.5"),
    *[
        ([command, "TINY", f"--trainer.limit_{split}_batches", "0.1"], f"limit_{split}_batches=0.1 must be a batch")
        for command, split in (("fit", "val"), ("validate", "val"), ("test", "test"), ("predict", "predict"))
    ],
    *[
        ([command, "TINY", f"--trainer.limit_{split}_batches", zero], f"nothing to do, because trainer.limit_{split}_")
        for command, split in (("validate", "val"), ("test", "test"), ("predict", "predict"))
        for zero in ("0", "0.0")
    ],
    (["fit", "TINY", "--trainer.enable_checkpointing", "false"], "--trainer.fast_dev_run 10"),
    (["fit", "TINY", "--trainer.barebones", "true"], "trainer.barebones=True can't be used"),
    (["fit", "TINY", "--trainer.strategy", "ddp_spawn"], "write ddp"),
    (["fit", "TINY", "--trainer.strategy", "ddp_notebook"], "write ddp"),
    (["fit", "TINY", "--trainer.strategy", "xla"], "write ddp"),
    (["fit", "TINY", "--trainer.strategy", "deepspeed"], "pip install"),
    (["fit", "TINY", "--trainer.strategy", "quick"], "invalid strategy name"),
    (["fit", "TINY", "--trainer.profiler", "xla"], "write simple, advanced or pytorch"),
    (["fit", "TINY", "--trainer.profiler", "quick"], "profiler"),
    (["fit", "TINY", "--trainer.max_time", "00:00:00:00"], "it leaves no time for a step"),
    (["fit", "TINY", "--trainer.max_time", "soon"], "not a valid duration"),
    (["fit", "TINY", "--trainer.model_registry", "mine"], "copy best.ckpt yourself"),
    (["fit", "TINY", "--trainer.use_distributed_sampler", "true"], "each rank has its own samples already"),
    (["fit", "TINY", "--trainer.gradient_clip_algorithm", "cut"], "gradient_clip_algorithm"),
    (["fit", "TINY", f"--trainer.callbacks+={CALLBACKS}LearningRateFinder"], "tools/sweep.py"),
    (["fit", "TINY", f"--trainer.callbacks+={CALLBACKS}BatchSizeFinder"], "set data.batch_size"),
    (
        [
            "fit",
            "TINY",
            f"--trainer.callbacks+={CALLBACKS}GradientAccumulationScheduler",
            "--trainer.callbacks.scheduling={0: 2}",
        ],
        "set trainer.accumulate_grad_batches",
    ),
    (
        ["fit", "TINY", f"--trainer.callbacks+={CALLBACKS}StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=1"],
        "EMAWeightAveraging",
    ),
    (["fit", "TINY", f"--trainer.callbacks+={CALLBACKS}BackboneFinetuning"], "the model has no backbone"),
    (["fit", "TINY", f"--trainer.callbacks+={CALLBACKS}SpikeDetection"], "can't be resumed"),
    (["fit", "TINY", f"--trainer.callbacks+={CALLBACKS}ThroughputMonitor"], "batch_size_fn"),
    (["fit", "TINY", f"--trainer.callbacks+={CALLBACKS}TQDMProgressBar"], "TQDMProgressBar"),
    (["fit", "TINY", f"--trainer.callbacks+={CALLBACKS}Timr"], "Timr"),
    (["fit", "TINY", *early_stopping("val/los")], "set its monitor, such as val/loss"),
    (["fit", "TINY", *early_stopping("val/loss", "mode=up")], "mode"),
    (["fit", "TINY", "--checkpoint.monitor", "val/accuracy"], "such as val/token_accuracy"),
    (["fit", "TINY", "--checkpoint.mode", "up"], "mode"),
    (["fit", "TINY", "--checkpoint.save_top_k", "3"], "save_top_k 3 needs a name for each file, got best"),
    (["fit", "TINY", "--checkpoint.filename", "step_{step}"], "must not begin with step_"),
    (["fit", "TINY", "--checkpoint.filename", "best-{val/loss:.3f}"], "a name without /"),
    (["fit", "TINY", "--checkpoint.dirpath", "/proc/none"], "set another in dirpath of BestCheckpoint"),
    (["fit", "TINY", "--checkpoint.dirpath", "list.yaml"], "set another in dirpath of BestCheckpoint"),
    (["fit", "TINY", *logger("CSVLogger", "save_dir=/proc/none")], "set another in save_dir of CSVLogger"),
    pytest.param(
        ["fit", "TINY", *logger("WandbLogger")],
        "WandbLogger can't be used: Requirement 'wandb",
        marks=pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed"),
    ),
    pytest.param(
        ["fit", "TINY", f"--trainer.callbacks+={CALLBACKS}DeviceStatsMonitor"],
        "psutil",
        marks=pytest.mark.skipif(find_spec("psutil") is not None, reason="psutil is installed"),
    ),
    # Further numbers.
    (["fit", "TINY", "--data.sizes", "{4: -1}"], "weights above 0"),
    (["fit", "TINY", "--data.sizes", "{4: .nan}"], "weights above 0"),
    (["fit", "TINY", "--data.sizes", "[4, 4]"], "sizes"),
    (["fit", "TINY", "--data.sizes", "4-8"], "sizes must be a range such as 4..8"),
    (["fit", "TINY", "--data.eval_sizes", "[99]"], "size must be 4 to 4, got 99"),
    (["fit", "TINY", "--model.hidden_size", "0o64"], "model.hidden_size"),
    (["fit", "TINY", "--seed_everything", "true"], "seed_everything"),
    (["fit", "TINY", "--seed_everything", "false"], "seed_everything must be a number, got false"),
    (["fit", "TINY", "--trainer.gradient_clip_val", ".inf"], "gradient_clip_val must be"),
    (["fit", "TINY", "--trainer.max_steps=-1"], "trainer.max_steps must be set, got -1: the stream of samples has no"),
    (
        ["fit", "TINY", "--trainer.max_steps=-1", "--trainer.limit_train_batches", "3", "--trainer.max_epochs", "-1"],
        "trainer.max_steps must be set, got -1",
    ),
    (["fit", "TINY", "--trainer.min_steps", "-1"], "min_steps must be 0 or more, got -1"),
    (["fit", "TINY", "--trainer.max_epochs", "0"], "max_epochs must be 1 or more, got 0"),
    (["fit", "TINY", "--trainer.num_sanity_val_steps", "-2"], "num_sanity_val_steps must be -1 or more, got -2"),
    (["fit", "TINY", "--trainer.check_val_every_n_epoch", "0"], "check_val_every_n_epoch must be 1 or more, got 0"),
    (["fit", "TINY", "--trainer.fast_dev_run", "-1"], "fast_dev_run must be 0 or more, got -1"),
    (["fit", "TINY", "--trainer.limit_test_batches", "1.5"], "limit_test_batches"),
    (["fit", "TINY", "--trainer.reload_dataloaders_every_n_epochs", "-1"], "reload_dataloaders_every_n_epochs"),
    (["fit", "TINY", "--last_checkpoint.every_n_steps", "0"], "every_n_steps must be 1 or more, got 0"),
    (["fit", "TINY", "--inspection.log_images_every", "-1"], "log_images_every must be 0 or more, got -1"),
    (["fit", "TINY", "--checkpoint.save_top_k", "-2"], "save_top_k"),
    (
        ["fit", "TINY", f"--trainer.callbacks+={OURS}.training.SolvedStopping", "--trainer.callbacks.validations=0"],
        "validations must be 1 or more, got 0",
    ),
    # Layers.
    (["fit", "TINY", *stage("lit_retrieval.mixers.Mamba", state_dim=0)], "state_dim must be 1 or more, got 0"),
    (["fit", "TINY", *stage("lit_retrieval.mixers.Mamba", state_dim=-4)], "state_dim must be 1 or more, got -4"),
    (["fit", "TINY", *stage("lit_retrieval.mixers.Attention", num_heads=3)], "num_heads"),
    (["fit", "TINY", *stage("lit_retrieval.mixers.SlidingWindowAttention", num_heads=1, window=0)], "window must be 1"),
    (["fit", "TINY", *stage("lit_retrieval.mixers.Mamba", repeat=0)], "repeat must be 1 or more, got 0"),
    (["fit", "TINY", *stage("math.sqrt")], "math.sqrt"),
    (["fit", "TINY", *stage("lit_retrieval.tasks.IsTree")], "IsTree"),
    (["fit", "TINY", *stage("own.NoIndex")], "own.NoIndex"),
    (["fit", "TINY", *stage("own.NoStateSize")], "own.NoStateSize"),
    (["fit", "TINY", *stage("own.OnlyOutput")], "own.OnlyOutput"),
    (["fit", "TINY", *stage("own.WrongWidth")], "own.WrongWidth"),
    (["fit", "TINY", *stage("own.Dictionary")], "own.Dictionary"),
    (["fit", "TINY", *stage("own.BatchSecond")], "own.BatchSecond"),
    (["fit", "TINY", *stage("own.Forgetful")], "own.Forgetful"),
    (["fit", "TINY", *stage("own.Raises")], "own.Raises"),
    (["fit", "TINY", *stage("own.Nothing")], "own"),
    (
        ["fit", "TINY", "--model.construction", "lit_retrieval.constructions.Theorem52"],
        "needs problem; write init_args",
    ),
    # Tasks, retrievers, files of samples.
    (["fit", "TINY", *task("Mixture", "tasks=[]")], "tasks"),
    (["fit", "TINY", *task("Index", "num_words=1")], "num_words must be 2 or more, got 1"),
    (["fit", "TINY", *task("MachineRun", "table=none.yaml")], "there is no file none.yaml"),
    (["fit", "TINY", *task("MachineRun", "table={A: {0: 1XB}}")], "1XB"),
    (["fit", "TINY", *task("CircuitRun", "circuit=none.yaml")], "no file none.yaml; write a circuit's table"),
    (["fit", "TINY", *task("CircuitRun", "circuit={gates: {}}")], "a circuit's table must be like"),
    (["fit", "TINY", *task("Counting", "query_form=long")], "query_form"),
    (["fit", "TINY", "--data.task", "own.Abstract"], "own.Abstract"),
    (["fit", "TINY", "--data.task", "own.Unseeded"], "own.Unseeded"),
    (["fit", "TINY", "--data.task", "own.AString"], "write_turns of AString must return a list"),
    (["fit", "TINY", "--data.retriever", "own.NoCall"], "own.NoCall"),
    (["fit", "TINY", "--data.retriever", "lit_retrieval.retrieval.Google"], "Google"),
    (["fit", "TINY", "--data.train_file", "none.npz"], "there is no file none.npz"),
    (["fit", "TINY", "--data.val_file", "list.yaml"], "the suffix must be .npz or .jsonl, got list.yaml"),
    (["fit", "TINY", "--data.train_file", "lonely.npz"], "there is no manifest lonely.npz.manifest.json"),
    (["fit", "TINY", "--data.train_file", "broken.jsonl"], "the manifest broken.jsonl.manifest.json is damaged"),
    # More classes of Lightning.
    (["fit", "TINY", "--trainer.callbacks", "print"], "trainer.callbacks"),
    (["fit", "TINY", "--trainer.logger", "paper"], "trainer.logger"),
    (["fit", "TINY", "--trainer.plugins", "none"], "trainer.plugins"),
    (["fit", "TINY", "--trainer.devices", "many"], "devices"),
    (["fit", "TINY", f"--trainer.callbacks+={OURS}.training.LastCheckpoint"], "every run has a LastCheckpoint"),
    (["fit", "TINY", "--optimizer", "torch.optim.SGD"], "write --model.optimizer torch.optim.SGD"),
    (["fit", "TINY", "--model.optimizer", "torch.optim.Sgd"], "Sgd"),
    (["fit", "TINY", "--model.optimizer", "torch.nn.Linear"], "torch.nn.Linear"),
    (["fit", "TINY", "--model.optimizer", "torch.optim.SGD", "--model.optimizer.momentum", "-1"], "momentum"),
    (["fit", "TINY", "--model.initializer_range", "-1"], "initializer_range must be above 0 and finite, got -1"),
    # Keys that would have no effect.
    (
        ["fit", "TINY", "--trainer.fast_dev_run", "2", "--fresh"],
        "fast_dev_run loads and writes no run; leave out --fresh",
    ),
    (["test", "TINY", "--trainer.fast_dev_run", "2", "--ckpt_path", "best"], "no run; leave out --ckpt_path"),
    (["test", "TINY", "--trainer.fast_dev_run", "2", "--prefer", "checkpoint"], "no run; leave out --prefer"),
    (["fit", "TINY", "--trainer.max_epochs", "3"], "has no end, and so no epochs; write trainer.max_steps"),
    (["fit", "TINY", "--trainer.check_val_every_n_epoch", "2"], "and so no epochs; write trainer.val_check_interval"),
    (["fit", "TINY", "--model.norm", "none", "--model.norm_eps", "1e-6"], "model.norm_eps is for norms"),
    (["fit", "TINY", "--data.budget", "9", "--data.max_new_tokens", "9"], "the old name of data.max_new_tokens"),
    (
        ["fit", "TINY", "--data.file_sha256", "{train: abc}"],
        "names in data.file_sha256 must be among train_file, val",
    ),
    (["fit", "TINY", "--model.weight_decay", "0.1", "--model.optimizer", "torch.optim.Rprop"], "Rprop has no weight"),
    (
        [
            "fit",
            "TINY",
            "--model.weight_decay",
            "0.1",
            "--model.optimizer",
            "torch.optim.SGD",
            "--model.optimizer.weight_decay",
            "0.2",
        ],
        "SGD has one of its own in model.optimizer; leave out model.weight",
    ),
    (
        ["fit", "TINY", "--trainer.limit_val_batches", "0", f"--trainer.callbacks+={OURS}.training.Curriculum"],
        "Curriculum needs scores; leave out trainer.limit_val_batches 0",
    ),
    (
        [
            "fit",
            "TINY",
            f"--trainer.callbacks+={OURS}.training.SolvedStopping",
            "--trainer.callbacks.monitor",
            "val/loss",
        ],
        "SolvedStopping needs an accuracy, got val/loss",
    ),
    (
        ["test", "TINY", f"--data.retriever={OURS}.retrieval.FaultyRetriever", "--data.retriever.lag=3"],
        "lag is for fault",
    ),
    (["fit", "TINY", "--model.compile", "blocks"], "leave out model.compile, or train on a GPU"),
    (["fit", "TINY", "--model.compile", "all"], "model.compile"),
    (["fit", "TINY", "--model.recompute", "all"], "model.recompute must be blocks or null, got all"),
    (["fit", "TINY", "--model", "torch.nn.Linear"], "there is no file torch.nn.Linear"),
    # Files that list a key twice, and checkpoints.
    (["fit", "TINY", "--config", "twice.yaml"], "twice.yaml"),
    (["fit", "TINY", "--ckpt_path", "best"], "leave out --ckpt_path best"),
    (["validate", "TINY", "--run_dir", "nowhere", "--ckpt_path", "last"], "nowhere has no checkpoint"),
    (["test", "TINY", "--ckpt_path", "none.ckpt"], "none.ckpt"),
    (["test", "TINY", "--ckpt_path", "best"], "train with `fit` first"),
    (["test", "TINY", "--ckpt_path", "binary.ckpt"], "binary.ckpt can't be read as a checkpoint"),
    (["test", "TINY", "--ckpt_path", "http://example.org/x.ckpt"], "must be a local file, got http"),
]
OWN = """
import random

import torch
from torch import nn

from lit_retrieval.tasks import Turn, WordTask


class Right(nn.Module):
    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, hidden_size)

    def forward(self, x, state=None):
        first = torch.zeros_like(x[:, 0]) if state is None else state
        sums = first[:, None] + x.cumsum(1)
        return self.linear(sums), sums[:, -1]

    def state_size(self, length):
        return self.linear.in_features


class NoIndex(Right):
    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size, 0)


class NoStateSize(Right):
    state_size = None


class OnlyOutput(Right):
    def forward(self, x, state=None):
        return super().forward(x, state)[0]


class WrongWidth(Right):
    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return torch.cat([y, y], -1), state


class Dictionary(Right):
    def forward(self, x, state=None):
        y, state = super().forward(x, None if state is None else state["sum"])
        return y, {"sum": state}


class BatchSecond(Right):
    def forward(self, x, state=None):
        y, state = super().forward(x, None if state is None else state[0])
        return y, state[None]


class Forgetful(Right):
    def forward(self, x, state=None):
        return super().forward(x, None)


class Raises(Right):
    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        raise ValueError("not today")


class Abstract(WordTask):
    pass


class Echo(WordTask):
    def __init__(self) -> None:
        super().__init__(["a", "b"], ["a", "b"], 0.5)

    def draw(self, rng, size):
        return "ab"[int(rng.integers(2))]

    def write_turns(self, problem, regime):
        return [Turn(problem, problem)]


class Unseeded(Echo):
    def draw(self, rng, size):
        return random.choice("ab")


class AString(Echo):
    def write_turns(self, problem, regime):
        return problem


class NoCall:
    pass
"""
FILES = {
    "tabs.yaml": b"model:\n\thidden_size: 4\n",
    "binary.yaml": bytes(range(256)),
    "binary.ckpt": bytes(range(256)),
    "empty.yaml": b"",
    "twice.yaml": b"model: {hidden_size: 4}\nmodel: {hidden_size: 8}\n",
    "lonely.npz": b"",
    "broken.jsonl": b"",
    "broken.jsonl.manifest.json": b"{}",
    "own.py": OWN.encode(),
    "list.yaml": b"- 1\n- 2\n",
    "wrong_key.yaml": b"model:\n  hidden_sise: 4\n",
    "wrong_section.yaml": b"modle:\n  hidden_size: 4\n",
    "wrong_type.yaml": b"model:\n  hidden_size: [4]\n  stages: []\n",
    "dangling.yaml": b"model: nowhere.yaml\n",
}


@pytest.fixture
def mistaken(tmp_path, tiny, monkeypatch, capfd):
    """Runs a command that must fail; returns what it said in one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):  # that another test may have left
        monkeypatch.delenv(name, raising=False)
    stages = "[{mixers: [{class_path: lit_retrieval.mixers.Mamba}]}]"
    valid = [stages if "noise" in word else word for word in tiny] + ["--trainer.max_steps", "2"]
    for name, content in FILES.items():
        Path(name).write_bytes(content)
    before = set(tmp_path.rglob("*"))

    def run(arguments):
        words = [part for word in arguments for part in (valid if word == "TINY" else [word])]
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == USER_ERROR
        written = {path for path in set(tmp_path.rglob("*")) - before if "__pycache__" not in path.parts}
        assert written <= {tmp_path / "runs", *tmp_path.glob("runs/.*.lock")}, "a mistake writes nothing"
        err = capfd.readouterr().err
        assert "Traceback" not in err and len(err.splitlines()) <= 15
        (line,) = [line for line in err.splitlines() if line.startswith("error:")]
        return line

    return run


@pytest.mark.parametrize(
    ("arguments", "said"), MISTAKES, ids=lambda value: " ".join(value)[-60:] if isinstance(value, list) else ""
)
def test_a_mistake_is_one_line_that_names_it_and_writes_nothing(mistaken, arguments, said):
    assert said in mistaken(arguments)


def test_kernels_need_numbas_compiler(mistaken, monkeypatch):
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    assert "NUMBA_DISABLE_JIT must not be set" in mistaken(["fit", "TINY"])


def test_a_threading_layer_that_is_missing_is_not_the_mixers_fault(mistaken, monkeypatch):
    monkeypatch.setattr("numba.get_num_threads", Mock(side_effect=ValueError("No threading layer\nHINT: install tbb")))
    arrays._start_numba_threads.cache_clear()
    said = mistaken(["fit", "TINY"])
    assert "No threading layer HINT: install tbb; or unset NUMBA_THREADING_LAYER" in said and "breaks" not in said


def test_a_file_in_the_folders_place_gets_no_lock_beside_it(mistaken):
    mistaken(["fit", "TINY", "--run_dir", "list.yaml"])
    assert not Path(".list.yaml.lock").exists()


def test_there_are_a_hundred_and_fifty_of_them_and_no_two_are_alike():
    assert len({str(one) for one in MISTAKES}) == len(MISTAKES) >= 150


def test_a_class_that_says_what_to_set_is_not_to_be_replaced(mistaken):
    said = mistaken(["fit", "TINY", f"--data.retriever={OURS}.retrieval.FaultyRetriever", "--data.retriever.rate", "2"])
    assert said.strip().endswith("rate must be 0 to 1, got 2.0; set data.retriever.init_args.rate")
