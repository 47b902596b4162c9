"""The command line: `python -m lit_retrieval fit|validate|test|predict --config FILE`."""

import logging
import re
import warnings
from argparse import HelpFormatter
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors, fail
from lit_retrieval.training import (
    LastCheckpoint,
    Memory,
    ProgressBar,
    ScoreTable,
    SequenceModule,
    Throughput,
    TranscriptPrinter,
)

_DESCRIPTION = "Train sequence models on in-context retrieval, and score them with the search run while they decode."
_RUNS = "runs"

# What an endless stream needs, and the parts that every run has.
_TRAINER_DEFAULTS: dict[str, Any] = {
    "use_distributed_sampler": False,
    "check_val_every_n_epoch": None,
    "val_check_interval": 500,
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}


class Parser(OneLineErrors, LightningArgumentParser):
    """A parser whose errors are one line, and whose usage is short."""

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """The help under a usage of one line: it describes each option anyway."""
        command = "{fit,validate,test,predict} " if self._subparsers else ""
        self.usage = f"{self.prog.replace(' [options]', '')} {command}--config FILE [--key value ...]"
        return super().format_help(formatter)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say it in one line, and which packages fla's layers need where they are missing."""
        super().error(message + _missing_package(message), ex)


def _missing_package(message: str) -> str:
    if re.search(r"No module named '(fla|triton)\b", message):
        return "; fla's layers need Linux and pip install flash-linear-attention triton"
    return ""


class RetrievalCLI(LightningCLI):
    """LightningCLI with our module and data, one link, and a checkpoint of the best closed-loop accuracy."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the size of the vocabulary, and name what to keep a checkpoint of."""
        parser.link_arguments("data.vocab_size", "model.vocab_size", apply_on="instantiate")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/closed_loop_accuracy",
                "checkpoint.mode": "max",
                "checkpoint.filename": "best",
                "checkpoint.enable_version_counter": False,
            }
        )

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Leave Lightning's own table of scores out, where `ScoreTable` prints ours."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if "verbose" in self._subcommand_method_arguments[subcommand]:
            parser.set_defaults({"verbose": False})
        return parser

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration as it was given: Lightning would let a checkpoint's hyperparameters override it."""

    def before_instantiate_classes(self) -> None:
        """Refuse a checkpoint that is not there, or none, before anything is built."""
        path = self._get(self.config, "ckpt_path")
        if path is not None:
            _check_checkpoint(Path(path))
        elif self.subcommand != "fit":
            rank_zero_warn(f"{self.subcommand} without --ckpt_path takes a model that has learned nothing")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Log to `runs/NAME`, NAME the stem of the configuration file, unless told otherwise."""
        if self._get(self.config_init, "trainer.logger") is None:
            configs = self._get(self.config, "config") or ["lit_retrieval"]
            kwargs["logger"] = TensorBoardLogger(_RUNS, name=Path(str(configs[-1])).stem)
        if self._get(self.config_init, "trainer.enable_progress_bar") is not False:
            self.trainer_defaults["callbacks"].append(ProgressBar())
        return super().instantiate_trainer(**kwargs)


def _check_checkpoint(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; write the path of a .ckpt file in --ckpt_path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError):
        raise UserError(f"{path} can't be read as a checkpoint; it is cut short or another kind of file") from None
    if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
        raise UserError(f"{path} holds no training run; write a best.ckpt or last.ckpt that `fit` has written")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake of the user's ends it with one line and status 2."""
    _quieten()
    callbacks: list[Callback] = [LastCheckpoint(), Throughput(), ScoreTable(), Memory(), TranscriptPrinter()]
    try:
        RetrievalCLI(
            SequenceModule,
            TranscriptData,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            trainer_defaults={**_TRAINER_DEFAULTS, "callbacks": callbacks},
            parser_class=Parser,
            parser_kwargs={"prog": "python -m lit_retrieval", "description": _DESCRIPTION},
            save_config_kwargs={"overwrite": True},
            args=None if arguments is None else list(arguments),
        )
    except UserError as error:
        fail(str(error))


def _quieten() -> None:
    """Leave out what does not help: advice on workers that write faster than any model reads, and advertisements."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message="Triton is not supported on current platform")  # fla; ours runs there
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)
    logging.getLogger("fla.layers.mamba2").addFilter(_is_said_once)


def _is_said_once(record: logging.LogRecord) -> bool:
    """Whether it is not what fla's Mamba2 says again for every layer."""
    return "does not recommend using Triton's conv1d" not in record.getMessage()


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()
