"""LightningCLI with our module and data, in a folder that a run is found in again."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn

from lit_retrieval.cli.ranges import check_ranges
from lit_retrieval.cli.start import Prefer, Start, begin_evaluation, begin_fit, check_model, is_first_rank, model_of
from lit_retrieval.errors import UserError
from lit_retrieval.files import write_atomically
from lit_retrieval.training import (
    AtomicCheckpointIO,
    BestCheckpoint,
    Inspection,
    LastCheckpoint,
    ProgressBar,
    ScoreFile,
)

_ORDERS = ("fresh", "prefer")  # what is said to one command, and is no part of the run


class SaveConfiguration(SaveConfigCallback):
    """Writes the whole configuration of a training run into its folder."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write `config.yaml`, which the next command reads; `run_dir` in it names the folder, and so the run."""
        if stage != "fit":
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        run = self.config.clone()
        for order in _ORDERS:
            run.pop(order, None)
        run["run_dir"] = str(folder)
        with write_atomically(folder / "config.yaml") as file:
            file.write(self.parser.dump(run, skip_unset=False, skip_validation=True))


class RetrievalCLI(LightningCLI):
    """LightningCLI with our module and data, one link, and runs that go on where they stopped."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands of a Trainer; `weights_only` is no choice, since a checkpoint must not run code."""
        return {name: skipped | {"weights_only"} for name, skipped in LightningCLI.subcommands().items()}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the size of the vocabulary, and name what to keep checkpoints of, and where."""
        parser.link_arguments("data.vocab_size", "model.vocab_size", apply_on="instantiate")
        parser.add_argument(
            "--run_dir", type=str | None, help="The run's folder; if absent, runs/NAME-HASH of the configuration."
        )
        parser.add_argument(
            "--prefer", type=Prefer | None, help="What wins where a checkpoint's hyperparameters differ."
        )
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
        parser.add_lightning_class_args(Inspection, "inspection")
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
        if subcommand == "fit":
            parser.add_argument("--fresh", action="store_true", help="Begin anew, in the next folder beside it.")
        return parser

    def _set_seed(self) -> None:
        """Seed what is random, once the numbers that Lightning takes are in their ranges."""
        check_ranges(self._configuration())
        super()._set_seed()

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration as it was given: Lightning would let a checkpoint's hyperparameters override it."""

    def before_instantiate_classes(self) -> None:
        """Find the run and its checkpoint, before anything is built."""
        if self._get(self.config, "trainer.default_root_dir") is not None:
            raise UserError("trainer.default_root_dir is taken; write the run's folder in --run_dir")
        configuration = self._configuration()
        run_dir, ckpt_path, prefer = (self._get(self.config, key) for key in ("run_dir", "ckpt_path", "prefer"))
        name = Path(str((self._get(self.config, "config") or ["lit_retrieval"])[-1])).stem
        if self._get(self.config, "trainer.fast_dev_run"):
            self.start = Start(None)
        elif self.subcommand == "fit":
            self.start = begin_fit(name, configuration, run_dir, self._get(self.config, "fresh"), prefer)
        else:
            self.start = begin_evaluation(name, configuration, run_dir, ckpt_path)
            if ckpt_path is None and configuration["model"].get("construction") is None:
                rank_zero_warn(f"{self.subcommand} without --ckpt_path takes a model that has learned nothing")
        if prefer == "checkpoint":
            self.config = self.parser.parse_object({self.subcommand: {"model": model_of(self.start)}}, self.config)
        elif prefer is None:
            check_model(self.start, configuration["model"])
        if is_first_rank():
            print(*self.start.news, sep="\n", end="\n" if self.start.news else "", flush=True)
        if self.start.is_finished:
            sys.exit()

    def _configuration(self) -> dict[str, Any]:
        text = self.parser.dump(self.config, skip_unset=False, format="yaml")
        configuration: dict[str, Any] = yaml.safe_load(text)[self.subcommand]
        return configuration

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Put everything that a run writes into its folder; scores of other commands go into a folder of their own."""
        folder = self.start.folder
        if folder is not None:
            kwargs["default_root_dir"] = str(folder.path)
            self.trainer_defaults["callbacks"].append(ScoreFile())
        if self._get(self.config_init, "trainer.logger") is None:
            kwargs["logger"] = self._logger()
        kwargs["plugins"] = [*_listed(self._get(self.config_init, "trainer.plugins")), AtomicCheckpointIO()]
        if self._get(self.config_init, "trainer.enable_progress_bar") is not False:
            self.trainer_defaults["callbacks"].append(ProgressBar())
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError) as error:  # the Trainer checks its own arguments
            raise UserError(f"trainer: {' '.join(str(error).split())}") from None

    def _logger(self) -> TensorBoardLogger | bool:
        if self.start.folder is None or self.subcommand == "predict":
            return False
        is_fit = self.subcommand == "fit"
        step = self.start.content["global_step"] if is_fit and self.start.content is not None else 0
        # What was logged after the checkpoint is logged again: purge_step makes readers forget the first time.
        return TensorBoardLogger(
            self.start.folder.path, name="", version="" if is_fit else str(self.subcommand), default_hp_metric=False,
            purge_step=step,
        )  # fmt: skip

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        checkpoint = self.start.checkpoint
        return {**kwargs, "ckpt_path": None if checkpoint is None else str(checkpoint), "weights_only": True}

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command; while it trains, nobody else trains in the same folder."""
        guard: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if subcommand == "fit" and self.start.folder is not None and is_first_rank():
            guard = self.start.folder.writing()
        with guard:
            super()._run_subcommand(subcommand)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
