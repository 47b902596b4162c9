"""Where a command begins: which folder is the run's, and which checkpoint is loaded."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning.pytorch.utilities import rank_zero_only

from lit_retrieval import runs
from lit_retrieval.errors import UserError
from lit_retrieval.runs import RunFolder

Prefer = Literal["command_line", "checkpoint"]
RUNS = Path("runs")
_SHOWN = 3  # differences that an error names


class Start(NamedTuple):
    """Where a command begins.

    Args:
        folder: The run's folder; None if the command belongs to none.
        checkpoint: What to load; None to begin with a new model.
        content: What is in it; the Trainer takes it over.
        news: What to tell the user about it, a line each.
        is_finished: Whether nothing is left to train.
        step: Optimizer steps of the checkpoint.
        model: The hyperparameters of its model, as they stand in a configuration; None without a checkpoint.
    """

    folder: RunFolder | None
    checkpoint: Path | None = None
    content: dict[str, Any] | None = None
    news: tuple[str, ...] = ()
    is_finished: bool = False
    step: int = 0
    model: dict[str, Any] | None = None


def begin_fit(
    name: str, configuration: dict[str, Any], run_dir: str | None, fresh: bool, prefer: Prefer | None
) -> Start:
    """Find the run that this configuration is, and go on from its newest whole checkpoint if it has one.

    Args:
        name: What the run is called, if it is in no folder of its own choice.
        configuration: All keys of the command.
        run_dir: A folder of one's own choice.
        fresh: Begin anew in the next folder beside it.
        prefer: What to do if the run in the folder was started with another configuration.
    """
    if run_dir and Path(run_dir).is_file():
        raise UserError(f"run_dir={run_dir} is a file; name a folder in --run_dir")
    folder = RunFolder(Path(run_dir) if run_dir else RUNS / f"{name}-{runs.run_hash(configuration)}")
    if fresh:
        folder = folder.next_beside()
    elif not run_dir:
        folder = folder.newest_beside()
    path = configuration.get("ckpt_path")
    if path in ("best", "last"):
        raise UserError(
            f"fit goes on from its newest checkpoint by itself; leave --ckpt_path {path} out, or name a file"
        )
    found = folder.newest()
    if found is None:
        return _from_file(folder, path) if path else Start(folder)
    if prefer is None:
        _check_same_run(folder, configuration)
    start = _from_content(folder, found.path, found.content)
    if is_finished := bool(found.content.get("is_finished")) and prefer is None:
        finished = f"{folder.path} is finished after {start.step:,} steps"
        news = f"{finished}; score it with `test --ckpt_path best`, or add --fresh"
    else:
        news = f"resuming {folder.path} after {start.step:,} steps, from {found.path.name}"
    replaced = (f"{line}; taking {found.path.name} in its place" for line in found.damaged)
    return start._replace(is_finished=is_finished, news=(*replaced, news))


def begin_evaluation(name: str, configuration: dict[str, Any], run_dir: str | None, ckpt_path: str | None) -> Start:
    """Find the checkpoint that a model is scored with.

    Args:
        name: What the run is called, if it is in no folder of its own choice.
        configuration: All keys of the command.
        run_dir: The run's folder; if absent, the one of this configuration.
        ckpt_path: `best`, `last` or a file.
    """
    if ckpt_path is None:
        return Start(None)
    if ckpt_path not in ("best", "last"):
        folder = Path(ckpt_path).parent
        return _from_file(RunFolder(folder.parent) if folder.name == "checkpoints" else None, ckpt_path)
    run = RunFolder(Path(run_dir)) if run_dir else _of_configuration(name, configuration)
    if ckpt_path == "best":
        return _from_file(run, str(run.best))
    if (found := run.newest()) is None:
        raise UserError(f"{run.path} has no checkpoint; train with `fit` first, or name another folder in --run_dir")
    return _from_content(run, found.path, found.content)


def check_model(start: Start, model: dict[str, Any]) -> None:
    """Raise `UserError` if the checkpoint's model was made with other hyperparameters than these."""
    if start.model is not None and (different := runs.differences({"model": start.model}, {"model": model})):
        raise UserError(
            f"{start.checkpoint} was trained with other hyperparameters: {_list(different)}; "
            "say which win with --prefer checkpoint or --prefer command_line"
        )


def is_first_rank() -> bool:
    """Whether this is the process that writes; the launchers say so before any rank knows of another."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _from_content(folder: RunFolder | None, path: Path, content: dict[str, Any]) -> Start:
    added = "vocab_size"  # by the link to the data; Lightning's own additions begin with an underscore
    given = content.get("hyper_parameters", {}).items()
    model = {key: value for key, value in given if key != added and not key.startswith("_")}
    return Start(folder, path, content, step=content.get("global_step", 0), model=model)


def _from_file(folder: RunFolder | None, path: str) -> Start:
    if "://" in path:
        raise UserError(f"{path} is an address; fetch the file and its .sha256 yourself, and write its path")
    return _from_content(folder, Path(path), runs.load_checkpoint(Path(path)))


def _of_configuration(name: str, configuration: dict[str, Any]) -> RunFolder:
    """The folder of this configuration's run, which must be there."""
    fitted = {**configuration, "ckpt_path": None}
    folder = RunFolder(RUNS / f"{name}-{runs.run_hash(fitted)}").newest_beside()
    if folder.path.is_dir():
        return folder
    others = sorted(RUNS.glob(f"{name}-*/config.yaml"), key=lambda path: path.stat().st_mtime)
    if not others:
        raise UserError(f"there is no run {folder.path}; train with `fit` first, or name a folder in --run_dir")
    other = RunFolder(others[-1].parent)
    raise UserError(
        f"there is no run of this configuration, {folder.path}; the latest of this name is {other.path}, where "
        f"{_list(runs.differences(other.configuration() or {}, fitted))}. To take it, write --run_dir {other.path}"
    )


def _check_same_run(folder: RunFolder, configuration: dict[str, Any]) -> None:
    there = folder.configuration()
    if there is not None and (different := runs.differences(there, configuration)):
        raise UserError(
            f"{folder.path} holds another run: {_list(different)}; name another folder in --run_dir, "
            "begin beside it with --fresh, or go on with the new values with --prefer command_line"
        )


def _list(different: list[str]) -> str:
    more = len(different) - _SHOWN
    return ", ".join(different[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
