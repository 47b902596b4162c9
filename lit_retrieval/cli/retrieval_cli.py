"""A LightningCLI that finds run folders and resumes runs."""

import contextlib
import json
import re
import sys
from argparse import SUPPRESS
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn

from lit_retrieval.cli.endings import is_mistake
from lit_retrieval.cli.ranges import check_has_end, check_ranges, check_some_batches
from lit_retrieval.cli.start import (
    Prefer,
    Start,
    begin_evaluation,
    begin_fit,
    check_code,
    check_model,
    hashes,
    is_first_rank,
    known_to,
    warn_of_other_code,
)
from lit_retrieval.cli.start_callbacks import News, SameStart, SaveConfiguration
from lit_retrieval.cli.switches import (
    check_callbacks,
    check_folders,
    check_monitors,
    check_processes,
    check_strategy,
    check_switches,
    meeting_place,
)
from lit_retrieval.errors import UserError, one_line
from lit_retrieval.parsing import Replace, files_are_told
from lit_retrieval.pretrained import weights_sha256
from lit_retrieval.tasks import read_manifest
from lit_retrieval.tokens import is_same_tokenizer, tokenizer_sha256
from lit_retrieval.training import (
    AtomicCheckpointIO,
    BestCheckpoint,
    Gpu,
    Inspection,
    LastCheckpoint,
    ScalarLogger,
    default_callbacks,
    drop_points,
    keep_rows,
    logged_names,
    put_rates,
)

_KNOWING = ("construction", "pretrained")  # models that may be evaluated without training


# A cache of parsers: the attributes of a RetrievalCLI that hold its parser, by the parser's commands.
_PARSERS: dict[frozenset[str], dict[str, Any]] = {}


class RetrievalCLI(LightningCLI):
    """A command line: the constructor parses it, and `run` runs it.

    LightningCLI does both in its constructor, through hooks; here the hooks that do more than parse are empty.

    Args:
        model_class, datamodule_class: The classes that the command builds.
        args: The arguments of the command line.
        options: Further arguments of LightningCLI.
    """

    def __init__(self, model_class: type, datamodule_class: type, *, args: list[str], **options: Any) -> None:
        # Building a parser takes 0.05 s, so if the first argument is a command, the other commands' parsers stay empty.
        self._parsed = set(args[:1]) & set(self.subcommands()) or set(self.subcommands())
        super().__init__(model_class, datamodule_class, args=args, **options)

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Build the parser, or reuse that of an earlier command in this process."""
        key = frozenset(self._parsed)
        if key not in _PARSERS:
            before = set(vars(self))
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
            _PARSERS[key] = {name: made for name, made in vars(self).items() if name not in before}
        vars(self).update(_PARSERS[key])

    def run(self) -> None:
        """Find the run and its checkpoint, build the objects, and run the command."""
        self._identify_weights()
        self._check_tokenizer()
        configuration = self.configuration()
        check_ranges(configuration)
        check_some_batches(str(self.subcommand), configuration["trainer"])
        check_switches(configuration["trainer"])
        check_has_end(str(self.subcommand), configuration["trainer"])
        super()._set_seed()
        self.start = self._find_start(configuration)
        self._before = configuration
        if self.start.is_finished:
            if is_first_rank():
                print(*self.start.news, sep="\n", flush=True)
            sys.exit()
        self._build()
        if (place := meeting_place(self.trainer)) is not None:
            print(place, flush=True)
        with self._only_writer():
            self._forget_later_steps()
            getattr(self.trainer, str(self.subcommand))(**self._arguments())

    def _build(self) -> None:
        """Build the objects; raises `UserError` for what can't be built, such as a layer of `math.sqrt`."""
        self.config_dump = self._dump()  # Lightning's own way is slower
        try:
            super().instantiate_classes()
        except ValueError as error:
            if not (found := re.search(r"^ *- (.+)$", str(error), re.MULTILINE)) or "Given value" not in str(error):
                raise
            given = re.findall(r"class_path='([\w.]+)'", str(error).split("Given value: ")[-1])
            said = found[1] if "; set " in found[1] else f"{found[1]}; set another class_path"
            raise UserError(f"can't build {' or '.join(given) or 'the model'}: {said}") from error

    def configuration(self) -> dict[str, Any]:
        """All keys of the command with their values, defaults included, as in YAML, and the hashes of its files."""
        configuration = self._dump()
        data = configuration["data"]
        with files_are_told():
            files = {name: Path(data[name]) for name in ("train_file", "val_file") if data[name] is not None}
            found = {name: read_manifest(path)["sha256"] for name, path in files.items()}
        data["file_sha256"] = {**found, **(data["file_sha256"] or {})} or None
        configuration["code_sha256"] = {**(configuration["code_sha256"] or {}), **hashes(configuration)} or None
        return configuration

    def _identify_weights(self) -> None:
        """Add the sha256 of pretrained weights and of a tokenizer to the configuration, and to the run's identity."""
        hashes = {"model.pretrained": ("folder", weights_sha256), "data.task": ("tokenizer", tokenizer_sha256)}
        for key, (folder, sha256) in hashes.items():
            given = self.config[self.subcommand].get(f"{key}.init_args")
            if given is not None and folder in given and given.get("sha256", "") is None:
                with files_are_told():
                    given["sha256"] = sha256(Path(given[folder]))

    def _check_tokenizer(self) -> None:
        """Raise `UserError` if the model's folder has another tokenizer than the task."""
        keys = "model.pretrained.init_args.folder", "data.task.init_args.tokenizer"
        model, task = (self.config[self.subcommand].get(key) for key in keys)
        if None in (model, task) or not (Path(model) / "tokenizer.json").is_file():
            return
        with files_are_told():
            if not is_same_tokenizer(Path(model), Path(task)):
                raise UserError(
                    f"the model must have the tokenizer of the task, got that of {model} and that of {task}; set "
                    f"{keys[0]} and {keys[1]} to the same folder"
                )

    def _dump(self) -> dict[str, Any]:
        """All keys of the command with their values, as JSON, which is the fastest to read; not checked again."""
        text = self.parser.dump(self.config, skip_unset=False, skip_validation=True, format="json")
        keys: dict[str, Any] = json.loads(text)[self.subcommand]
        return keys

    def _set_seed(self) -> None:
        """Empty; `run` sets the seed."""

    def _parse_ckpt_path(self) -> None:
        """Keep the given configuration, which Lightning would override with a checkpoint's hyperparameters."""

    def instantiate_classes(self) -> None:
        """Empty; `run` builds the objects."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Empty; `run` runs the command."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The Trainer's commands, without the option `weights_only`, because a checkpoint must not run code."""
        return {name: skipped | {"weights_only"} for name, skipped in LightningCLI.subcommands().items()}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the vocabulary size, and add the run's options and the callbacks that have keys."""
        parser.link_arguments("data.vocab_size", "model.vocab_size", apply_on="instantiate")
        parser.add_argument("--replace", action=Replace, help=SUPPRESS, default=SUPPRESS)
        parser.add_argument(
            "--run_dir", type=str | None, help="Run folder; runs/NAME-HASH of the configuration if absent."
        )
        code = "Hashes of your own code and of files that it reads; entered by the command, others need --prefer."
        parser.add_argument("--code_sha256", type=dict[str, str] | None, help=code)
        which = "Which hyperparameters to use when checkpoint and command line differ."
        parser.add_argument("--prefer", type=Prefer | None, help=which)
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
        parser.add_lightning_class_args(Inspection, "inspection")
        parser.add_lightning_class_args(Gpu, "gpu")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Turn off Lightning's table of scores, which `ScoreTable` replaces, and add `--fresh` to `fit`."""
        if subcommand not in self._parsed:
            return self.init_parser(**kwargs)
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand in ("validate", "test"):
            parser.set_defaults({"verbose": False})
        if subcommand == "fit":
            parser.add_argument("--fresh", action="store_true", help="Start over in a new folder (NAME-HASH-2, ...).")
        return parser

    def _find_start(self, configuration: dict[str, Any]) -> Start:
        """Find the run and its checkpoint, and check that the checkpoint's model is that of the command."""
        given = self.config[self.subcommand]
        if given.get("trainer.default_root_dir") is not None:
            raise UserError("trainer.default_root_dir must not be set; write the run's folder in --run_dir")
        run_dir, ckpt_path, prefer = (given.get(key) for key in ("run_dir", "ckpt_path", "prefer"))
        name = Path(str((given.get("config") or ["lit_retrieval"])[-1])).stem
        if given.get("trainer.fast_dev_run"):
            if ignored := [key for key in ("ckpt_path", "prefer", "fresh") if given.get(key)]:
                raise UserError(
                    f"trainer.fast_dev_run loads and writes no run; leave out --{ignored[0]}, or set "
                    "trainer.limit_test_batches and the like in its place"
                )
            return Start(None)
        if self.subcommand == "fit" and prefer is None:
            check_code(given.get("code_sha256"), configuration)
        if self.subcommand == "fit":
            start = begin_fit(name, configuration, run_dir, given.get("fresh"), prefer)
        else:
            start = begin_evaluation(name, configuration, run_dir, ckpt_path)
            if start.folder is not None and start.checkpoint is not None:
                warn_of_other_code(start.folder)
            if ckpt_path is None and all(configuration["model"].get(key) is None for key in _KNOWING):
                rank_zero_warn(f"{self.subcommand} without --ckpt_path uses an untrained model")
        if prefer == "checkpoint" and start.model is not None:
            given.pop("model")  # jsonargparse would merge its lists with those of the checkpoint, item by item
            self.config = self.parser.parse_object({self.subcommand: {"model": start.model}}, self.config)
        elif prefer is None:
            check_model(start, configuration["model"])
        elif self.subcommand == "fit" and start.content is not None:
            start = start._replace(is_changed=put_rates(start.content, configuration["model"]))
        return start

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer, with our callbacks, logger and checkpoints in the run's folder."""
        built, folder = self.config_init[self.subcommand], self.start.folder
        given = {**built["trainer"], **kwargs}
        default = default_callbacks(
            built["inspection"], built["checkpoint"], built["last_checkpoint"], built["gpu"],
            writes_scores=folder is not None, shows_bar=given["enable_progress_bar"] is not False,
        )  # fmt: skip
        check_callbacks(_listed(given["callbacks"]), default)
        given["callbacks"] = [*_listed(given["callbacks"]), News(self.start.news), *default]
        if not any(isinstance(one, ProgressBar) for one in given["callbacks"]):
            given["enable_progress_bar"] = False  # or Lightning would add its own
        if self.subcommand == "fit":
            check_monitors(given["callbacks"], logged_names(self.datamodule))
        writers = [
            one for one in (*given["callbacks"], *_listed(given["logger"])) if isinstance(one, Callback | Logger)
        ]
        configuration = known_to(self._before, self.configuration())  # without files that building has written
        given["callbacks"].append(SameStart(self.start, configuration))
        if folder is not None:
            given["default_root_dir"] = str(folder.path)
            given["callbacks"].append(SaveConfiguration(configuration))
        if given["logger"] is None:
            given["logger"] = self._logger()
        # Only the Trainer now refers to the checkpoint's content, so it can free what it does not need.
        given["plugins"] = [*_listed(given["plugins"]), AtomicCheckpointIO(self.start.checkpoint, self.start.content)]
        self.start = self.start._replace(content=None)
        try:
            trainer = Trainer(**given)
        except (ValueError, TypeError, ImportError, RuntimeError) as error:  # the Trainer checks its own arguments
            raise UserError(f"trainer: {one_line(error)}") from None
        check_processes(trainer)
        if self.subcommand == "fit":
            check_strategy(trainer.strategy, self.start.is_changed)
        check_folders(writers)
        if folder is not None and built["checkpoint"].dirpath is None:  # else it would be the first logger's
            built["checkpoint"].dirpath = str(folder.path.absolute() / "checkpoints")
        return trainer

    def _logger(self) -> ScalarLogger | bool:
        if self.start.folder is None or self.subcommand == "predict":
            return False
        if self.subcommand == "fit":
            return ScalarLogger(self.start.folder.path, name="", version="", default_hp_metric=False)
        # The values of an earlier evaluation are dropped.
        command = str(self.subcommand)
        return ScalarLogger(self.start.folder.path, name="", version=command, default_hp_metric=False, purge_step=0)

    def _forget_later_steps(self) -> None:
        """Remove the logged values of steps after the checkpoint, because a resumed run logs them again."""
        if self.subcommand != "fit" or not is_first_rank():
            return
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                drop_points(logger, self.start.step)
            elif isinstance(logger, CSVLogger) and self.start.step > 0:
                keep_rows(logger, self.start.step)

    def _arguments(self) -> dict[str, Any]:
        """The arguments of the Trainer's method."""
        checkpoint = self.start.checkpoint
        arguments = self._prepare_subcommand_kwargs(str(self.subcommand))
        return {**arguments, "ckpt_path": None if checkpoint is None else str(checkpoint), "weights_only": True}

    @contextlib.contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Lock the folder of a training run against other processes; after a mistake, remove a new folder."""
        folder = self.start.folder
        if self.subcommand == "fit" and folder is not None and is_first_rank():
            with folder.writing(self.start.seen), folder.undone_after(is_mistake):
                yield
        else:
            yield


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
