"""The command: builds the CLI, silences noise and maps errors to exit statuses."""

import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from jsonargparse import add_instantiator
from numba import config

from lit_retrieval import __version__
from lit_retrieval.cli.endings import DISK_FULL, LOST, OUT_OF_MEMORY, ending
from lit_retrieval.cli.help import COMMANDS
from lit_retrieval.cli.parser import Parser, check_files, instantiate
from lit_retrieval.cli.ready_configs import find_configs
from lit_retrieval.cli.retrieval_cli import RetrievalCLI
from lit_retrieval.cli.start import is_first_rank, rank
from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import INTERRUPTED, UserError
from lit_retrieval.numba_cache import announce_compilation
from lit_retrieval.parsing import USER_ERROR, fail, limit_imports, one_line_errors, replace_whole
from lit_retrieval.training import SequenceModule

_DESCRIPTION = (
    "Train sequence models on in-context retrieval, and score them with their searches run. A further command, "
    "`export RUN --to FOLDER`, writes a trained model for transformers; see `export --help`. "
    "`python -m lit_retrieval.tasks` shows samples and checks a task, `python -m lit_retrieval.mixers` checks a layer."
)
_SAID_BY_ALL = (OUT_OF_MEMORY, DISK_FULL, LOST)  # other errors occur on all ranks, and only the first prints them
_PATIENCE = 10.0  # seconds until the first rank has exited after an error that all ranks have
_SAID_BETTER = ("Restoring states", "Restored all states", "Loaded model weights", "Time limit reached")
_SAYS_NOTHING = ("TPU available: False", "`Trainer.fit` stopped: `max_steps")

# Trainer defaults for an endless stream of samples.
_TRAINER_DEFAULTS: dict[str, Any] = {
    "devices": 1,  # several devices share each batch, and run without CUDA graphs
    "use_distributed_sampler": False,
    "check_val_every_n_epoch": None,
    "val_check_interval": 500,
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}


def read_configuration(arguments: Sequence[str]) -> dict[str, Any]:
    """All keys of a command line with their values, defaults included; builds and runs nothing.

    A mistake in the command ends the process with one line and status 2.
    """
    with one_line_errors():
        return _parse(arguments).configuration()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a known error ends it with one line and its exit status."""
    if is_first_rank():
        announce_compilation()
    try:
        _parse(sys.argv[1:] if arguments is None else arguments).run()
    except Exception as error:  # the one place where errors become exit statuses; unknown ones are raised again
        if (known := ending(error)) is None:
            raise
        line, status = known
        if is_first_rank() or status in _SAID_BY_ALL or (status == USER_ERROR and _is_alone()):
            print(line if is_first_rank() else f"rank {rank()}: {line}", file=sys.stderr)
        sys.exit(status)
    except (KeyboardInterrupt, SystemExit) as ended:
        is_interrupted = isinstance(ended, KeyboardInterrupt) or isinstance(ended.__context__, KeyboardInterrupt)
        if not is_interrupted:
            raise
        sys.exit(INTERRUPTED)  # Lightning exits with 1, the status of a bug


def _is_alone() -> bool:
    """Whether only this rank has an error and should print it.

    If the first rank has the error too, its launcher exits within `_PATIENCE` seconds, or ends this rank. srun does
    neither, but before its ranks connect they all have the same mistakes.
    """
    if "SLURM_PROCID" in os.environ and not torch.distributed.is_initialized():
        return False
    launcher, until = os.getppid(), time.monotonic() + _PATIENCE
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while os.getppid() == launcher and time.monotonic() < until:
        time.sleep(0.1)
    return os.getppid() == launcher


def train(arguments: Sequence[str]) -> Path | None:
    """Run `fit` with these arguments in this process; returns the folder of its run, or None if it has none.

    Raises `UserError` for a mistake, where a command would exit.
    """
    said = StringIO()
    try:
        with redirect_stderr(said):
            cli = _parse(["fit", *arguments])
    except SystemExit as ended:
        if not ended.code:  # after --help
            raise
        raise UserError(said.getvalue().strip().removeprefix("error: ")) from None
    try:
        cli.run()
    except SystemExit as ended:
        if ended.code:
            raise
    return None if cli.start.folder is None else cli.start.folder.path


def _parse(arguments: Sequence[str]) -> RetrievalCLI:
    _quieten()
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        fail("NUMBA_DISABLE_JIT must not be set, since kernels and tasks are compiled by Numba; unset it")
    limit_imports()
    add_instantiator(instantiate, object)
    arguments = find_configs(arguments)
    check_files(arguments)
    arguments = replace_whole(arguments, parts=("data", "model", "trainer"), whole=("model",))
    return RetrievalCLI(
        SequenceModule,
        TranscriptData,
        save_config_callback=None,  # our callbacks include `SaveConfiguration`
        seed_everything_default=0,
        auto_configure_optimizers=False,
        trainer_defaults=_TRAINER_DEFAULTS,
        parser_class=Parser,
        parser_kwargs={
            "description": _DESCRIPTION,
            "version": __version__,
            **{name: {"description": about} for name, about in COMMANDS.items()},
        },
        args=arguments,
    )


def _quieten() -> None:
    """Silence warnings that do not apply here, and messages that repeat ours."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*resuming from a checkpoint that ended before the epoch.*")  # exactly
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # so says every command of a cluster
    warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
    warnings.filterwarnings("ignore", message="Triton is not supported on current platform")  # our kernels run there
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_news)
    logging.getLogger("fla.layers.mamba2").addFilter(_is_said_once)


def _is_said_once(record: logging.LogRecord) -> bool:
    """Whether to log a record: all except the warning that fla's Mamba2 repeats for every layer."""
    return "does not recommend using Triton's conv1d" not in record.getMessage()


def _is_news(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    return "Tip:" not in said and not said.startswith((*_SAID_BETTER, *_SAYS_NOTHING))
