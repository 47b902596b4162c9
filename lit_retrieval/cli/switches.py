"""Lightning's options and callbacks that can't be used here, each with the reason and what to write instead."""

import difflib
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer, callbacks
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import FSDPStrategy, Strategy
from torch.distributed import is_torchelastic_launched
from torch.distributed.fsdp import ShardingStrategy

from lit_retrieval.errors import UserError, one_line
from lit_retrieval.ranges import check_at_most


class Refusal(NamedTuple):
    """Values of a Trainer option that are refused.

    Args:
        is_refused: Whether a value is refused, given the value and all keys of the trainer.
        why: The reason.
        instead: What to write instead.
    """

    is_refused: Callable[[Any, dict[str, Any]], bool]
    why: str
    instead: str


_ENDLESS = "the stream of samples has no end"
_NO_EPOCHS = f"{_ENDLESS}, and so no epochs"
_NOTHING_WRITTEN = "write --trainer.fast_dev_run 10 for ten steps that write nothing"
_PROCESSES = ("ddp_spawn", "ddp_fork", "ddp_notebook", "xla")

SWITCHES = {
    "barebones": Refusal(lambda value, _: bool(value), "a run writes checkpoints and scores", _NOTHING_WRITTEN),
    "check_val_every_n_epoch": Refusal(
        lambda value, trainer: value > 1 and trainer.get("limit_train_batches") is None, _NO_EPOCHS,
        "write trainer.val_check_interval, or set trainer.limit_train_batches",
    ),
    "enable_checkpointing": Refusal(
        lambda value, _: value is False, "a run writes checkpoints, from which it resumes", _NOTHING_WRITTEN
    ),
    "max_epochs": Refusal(
        lambda value, trainer: value > 0 and trainer.get("limit_train_batches") is None, _NO_EPOCHS,
        "write trainer.max_steps, or set trainer.limit_train_batches",
    ),
    "max_time": Refusal(
        lambda value, _: isinstance(value, str) and not any(part.strip("0") for part in value.split(":")),
        "it leaves no time for a step", "write days:hours:minutes:seconds, or leave it out",
    ),
    "model_registry": Refusal(
        lambda value, _: value is not None, "no checkpoint is uploaded", "leave it out, and copy best.ckpt yourself"
    ),
    "overfit_batches": Refusal(
        lambda value, _: bool(value), _ENDLESS,
        "write a few samples with `python -m lit_retrieval.tasks write`, and name their file in data.train_file",
    ),
    "profiler": Refusal(lambda value, _: value == "xla", "nothing runs on XLA", "write simple, advanced or pytorch"),
    "strategy": Refusal(
        lambda value, _: str(value).startswith(_PROCESSES), "only processes that run the whole command can share a run",
        "write ddp",
    ),
    "use_distributed_sampler": Refusal(
        lambda value, _: bool(value), "each rank has its own samples already", "leave it out"
    ),
    "val_check_interval": Refusal(
        lambda value, trainer: isinstance(value, str | dict)
        or (isinstance(value, float) and trainer.get("limit_train_batches") is None),
        f"{_ENDLESS}, and the step of a validation must not depend on the speed of the machine",
        "write a number of batches",
    ),
}  # fmt: skip

CALLBACKS: dict[type[Callback], tuple[str, str]] = {
    callbacks.LearningRateFinder: (
        "it changes model.learning_rate, so the same command would not resume the run",
        "try several values of model.learning_rate with tools/sweep.py",
    ),
    callbacks.BatchSizeFinder: (
        "it changes data.batch_size, so the same command would not resume the run",
        "set data.batch_size; if memory runs out, divide it by K, and set trainer.accumulate_grad_batches K",
    ),
    callbacks.GradientAccumulationScheduler: (
        "all optimizer steps must have the same number of samples", "set trainer.accumulate_grad_batches"
    ),
    callbacks.StochasticWeightAveraging: (
        "it replaces the schedule of the learning rate", "write lightning.pytorch.callbacks.EMAWeightAveraging"
    ),
    callbacks.BackboneFinetuning: ("the model has no backbone", "leave it out"),
    callbacks.SpikeDetection: ("it can't be resumed", "set trainer.gradient_clip_val; a NaN ends the run anyway"),
}  # fmt: skip


def check_switches(trainer: dict[str, Any]) -> None:
    """Raise `UserError` if a key of the trainer has a value that can't be used here."""
    for key, refusal in SWITCHES.items():
        value = trainer.get(key)
        if value is not None and refusal.is_refused(value, trainer):
            raise UserError(f"trainer.{key}={value} can't be used: {refusal.why}; {refusal.instead}")


def check_callbacks(given: Iterable[Callback], default: Iterable[Callback]) -> None:
    """Raise `UserError` for a callback that can't be used here, or is one of the default ones."""
    there = {type(callback) for callback in default}
    for callback in given:
        if type(callback) in there:
            raise UserError(f"every run has a {type(callback).__name__}; leave it out of trainer.callbacks")
        for kind, (why, instead) in CALLBACKS.items():
            if isinstance(callback, kind):
                raise UserError(f"the callback {kind.__name__} can't be used: {why}; {instead}")


def check_processes(trainer: Trainer) -> None:
    """Raise `UserError` for processes that can't work: too many for a CPU, another number than the launcher's, forks.

    Also for several nodes that can't find each other.
    """
    if isinstance(trainer.accelerator, CPUAccelerator):
        check_at_most("devices", trainer.num_devices, max(16, 4 * (os.cpu_count() or 1)), "trainer.devices")
    launcher = trainer.strategy.launcher
    if launcher is not None and launcher.is_interactive_compatible:  # Lightning's choice in a notebook
        raise UserError(
            "trainer.devices must be 1 in a notebook, since only processes that run the whole command can share a run; "
            "train in a terminal"
        )
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None:
        _check_alone("torchrun", "WORLD_SIZE" if is_torchelastic_launched() else "", "torchrun.yaml")
        is_srun = SLURMEnvironment.detect()  # false in an interactive shell, by the name of the job
        each = ", or for a run of its own in each process set SLURM_JOB_NAME=interactive"
        _check_alone("srun", "SLURM_STEP_NUM_TASKS" if is_srun else "", f"slurm.yaml{each}")
    if environment is not None and launcher is not None:  # Lightning checks this later, with a traceback
        try:
            environment.validate_settings(num_devices=trainer.num_devices, num_nodes=trainer.num_nodes)
        except ValueError as error:
            raise UserError(f"trainer: {one_line(error)}") from None
    if trainer.num_nodes > 1 and isinstance(environment, LightningEnvironment):
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
        if missing:
            raise UserError(
                f"trainer.num_nodes={trainer.num_nodes} needs {', '.join(missing)} in the environment of each node; "
                "set them, or start the processes with torchrun or srun"
            )


def _check_alone(launcher: str, variable: str, instead: str) -> None:
    """Raise `UserError` if a launcher's environment variable says that it has started several processes."""
    if (count := int(os.environ.get(variable, "1"))) > 1:
        raise UserError(
            f"{launcher} has started {count} processes, and trainer.devices is 1; add --trainer "
            f"configs/trainer/{instead}"
        )


def check_strategy(strategy: Strategy, is_changed: bool) -> None:
    """Raise `UserError` for a strategy that would silently do something wrong.

    Args:
        strategy: The trainer's strategy.
        is_changed: Whether the checkpoint's content was changed after reading.
    """
    if is_changed and type(strategy).load_checkpoint is not Strategy.load_checkpoint:
        raise UserError(
            f"{type(strategy).__name__} reads a checkpoint from its file, so values of --prefer command_line, and "
            "--ckpt_path of another run, can't be used; leave them out, or set trainer.strategy ddp"
        )
    whole = (ShardingStrategy.FULL_SHARD, ShardingStrategy.SHARD_GRAD_OP)
    if isinstance(strategy, FSDPStrategy) and (kind := strategy.sharding_strategy) not in whole:
        raise UserError(
            f"FSDP must spread the model over all processes, got sharding_strategy {kind.name}, with which the norm of "
            "the gradient would count each copy; write FULL_SHARD or SHARD_GRAD_OP"
        )


def meeting_place(trainer: Trainer) -> str | None:
    """A line about the address at which the nodes of a run connect; None for a single node."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.num_nodes == 1 or environment is None or environment.local_rank() > 0:
        return None
    address = f"{environment.main_address}:{environment.main_port}"
    return f"waiting for the processes of {trainer.num_nodes} nodes at {address} (MASTER_ADDR and MASTER_PORT)"


def check_monitors(given: Collection[Callback], names: Collection[str]) -> None:
    """Raise `UserError` if a callback monitors a score that is not logged.

    A user's callback may log more scores, so nothing is checked if there is one.
    """
    if any(type(callback).__module__.split(".")[0] not in ("lit_retrieval", "lightning") for callback in given):
        return
    for callback in given:
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in names:
            nearest = difflib.get_close_matches(monitor, names, 1) or ["val/loss"]
            raise UserError(
                f"{type(callback).__name__} must monitor a score that is logged, got {monitor}; set its monitor, such "
                f"as {nearest[0]}"
            )


def check_folders(writers: Iterable[Callback | Logger]) -> None:
    """Create the folders in which callbacks and loggers write; raises `UserError` if one can't be created."""
    for writer in writers:
        for argument in ("dirpath", "save_dir"):
            folder = getattr(writer, argument, None)
            if folder is None or "://" in str(folder):
                continue
            try:
                Path(folder).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"the folder {folder} can't be created: {error.strerror}; set another in {argument} of "
                    f"{type(writer).__name__}"
                ) from None
