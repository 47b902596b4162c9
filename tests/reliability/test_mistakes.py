"""Fifty mistakes: each ends in one line that names the key or the file, and the fix if there is one."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from lit_retrieval.cli import main

MISSPELT = "{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dmi: 2}}"
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
    (["fit", "TINY", "--trainer.limit_val_batches", "0.1"], "limit_val_batches"),
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
    # Checkpoints.
    (["test", "TINY", "--ckpt_path", "none.ckpt"], "none.ckpt"),
    (["test", "TINY", "--ckpt_path", "best"], "train with `fit` first"),
    (["test", "TINY", "--ckpt_path", "binary.ckpt"], "binary.ckpt can't be read as a checkpoint"),
    (["test", "TINY", "--ckpt_path", "http://example.org/x.ckpt"], "must be a local file, got http"),
]
FILES = {
    "tabs.yaml": b"model:\n\thidden_size: 4\n",
    "binary.yaml": bytes(range(256)),
    "binary.ckpt": bytes(range(256)),
    "empty.yaml": b"",
    "list.yaml": b"- 1\n- 2\n",
    "wrong_key.yaml": b"model:\n  hidden_sise: 4\n",
    "wrong_section.yaml": b"modle:\n  hidden_size: 4\n",
    "wrong_type.yaml": b"model:\n  hidden_size: [4]\n  stages: []\n",
    "dangling.yaml": b"model: nowhere.yaml\n",
}


@pytest.fixture
def mistaken(tmp_path, tiny, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    stages = "[{mixers: [{class_path: lit_retrieval.mixers.Mamba}]}]"
    valid = [stages if "noise" in word else word for word in tiny] + ["--trainer.max_steps", "2"]
    for name, content in FILES.items():
        Path(name).write_bytes(content)

    def run(arguments):
        words = [part for word in arguments for part in (valid if word == "TINY" else [word])]
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code not in (0, None)
        return capfd.readouterr().err

    return run


@pytest.mark.parametrize(
    ("arguments", "said"), MISTAKES, ids=lambda value: " ".join(value)[-60:] if isinstance(value, list) else ""
)
def test_a_mistake_is_named_in_a_few_lines(mistaken, arguments, said):
    err = mistaken(arguments)
    assert "Traceback" not in err and len(err.splitlines()) <= 15
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert said in line


def test_a_file_in_the_folders_place_gets_no_lock_beside_it(mistaken):
    mistaken(["fit", "TINY", "--run_dir", "list.yaml"])
    assert not Path(".list.yaml.lock").exists()


def test_there_are_fifty_of_them():
    assert len(MISTAKES) >= 50
