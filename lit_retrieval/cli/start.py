"""Finds the folder of a run, and the checkpoint to load."""

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lit_retrieval import runs
from lit_retrieval.errors import UserError
from lit_retrieval.runs import RunFolder, after_steps
from lit_retrieval.tokens import ends_sha256

Prefer = Literal["command_line", "checkpoint"]
RUNS = Path("runs")
_SHOWN = 3  # most differences that an error lists
# Callbacks that compare a run's scores with each other, and Lightning's that a user may have added.
_COMPARING = ("BestCheckpoint", "PlateauStopping", "SolvedStopping", "ModelCheckpoint", "EarlyStopping")


class Start(NamedTuple):
    """The folder and the checkpoint with which a command starts.

    Args:
        folder: The run's folder; None if the command has none.
        checkpoint: The checkpoint to load; None for a new model.
        content: The checkpoint's content, passed to the Trainer.
        news: Lines to print.
        is_finished: Whether training is complete.
        step: Optimizer steps of the checkpoint.
        model: The hyperparameters of the checkpoint's model, as in a configuration; None without a checkpoint.
        seen: The checkpoints in the folder when this one was chosen.
        is_changed: Whether the content was changed after reading.
        sha256: The sha256 of the checkpoint's file; empty without one.
    """

    folder: RunFolder | None
    checkpoint: Path | None = None
    content: dict[str, Any] | None = None
    news: tuple[str, ...] = ()
    is_finished: bool = False
    step: int = 0
    model: dict[str, Any] | None = None
    seen: tuple[Path, ...] = ()
    is_changed: bool = False
    sha256: str = ""


def begin_fit(
    name: str, configuration: dict[str, Any], run_dir: str | None, fresh: bool, prefer: Prefer | None
) -> Start:
    """Find the run of this configuration, and resume from its newest valid checkpoint if it has one.

    Args:
        name: The run's name, used if there is no run_dir.
        configuration: All keys of the command.
        run_dir: The run's folder, if given.
        fresh: Whether to start over in a new folder.
        prefer: Which values to use if the run in the folder has another configuration.
    """
    run_dir = expanded(run_dir)
    if run_dir and Path(run_dir).is_file():
        raise UserError(f"run_dir must be a folder, got the file {run_dir}; set --run_dir")
    folder = RunFolder(Path(run_dir)) if run_dir else _usual_folder(name, configuration)
    if fresh:
        folder = folder.next_beside()
    elif not run_dir:
        folder = folder.newest_beside()
    path = expanded(configuration.get("ckpt_path"))
    if path in ("best", "last"):
        raise UserError(
            f"fit resumes from its newest checkpoint by itself; leave out --ckpt_path {path}, or write a file"
        )
    seen, steps, found = tuple(folder.step_files()), configuration["trainer"]["max_steps"], folder.newest()
    if found is None:
        if prefer is not None and not path:
            raise UserError(
                f"{folder.path} has no checkpoint; leave out --prefer, or set the run's folder in --run_dir"
            )
        start = _from_other_run(folder, path, steps) if path else Start(folder, news=(f"new run in {folder.path}",))
        return start._replace(seen=seen)
    if prefer != "command_line":
        _check_same_run(folder, configuration, but_for_model=prefer == "checkpoint")
    start = _from_content(folder, found.path, found.content, found.sha256)
    is_finished = bool(found.content.get("is_finished")) and (prefer is None or start.step >= steps > 0)
    if is_finished:
        finished = f"{folder.path} is finished {after_steps(start.step)}"
        news = f"{finished}; test it with `test --ckpt_path best`, or add --fresh"
    else:
        _check_steps(start, steps)
        news = f"resuming {folder.path} {after_steps(start.step)}, from {found.path.name}"
    replaced = (f"{line}; using {found.path.name} instead" for line in found.damaged)
    return start._replace(is_finished=is_finished, news=(*replaced, news), seen=seen)


def begin_evaluation(name: str, configuration: dict[str, Any], run_dir: str | None, ckpt_path: str | None) -> Start:
    """Find the checkpoint to evaluate.

    Args:
        name: The run's name, used if there is no run_dir.
        configuration: All keys of the command.
        run_dir: The folder to write to and in which to find `best` and `last`; the run's folder if absent.
        ckpt_path: `best`, `last` or a file.
    """
    run_dir, ckpt_path = expanded(run_dir), expanded(ckpt_path)
    given = RunFolder(Path(run_dir)) if run_dir else None
    if ckpt_path is None:
        return Start(given)
    if ckpt_path not in ("best", "last"):
        folder = Path(ckpt_path).parent
        return _from_file(given or (RunFolder(folder.parent) if folder.name == "checkpoints" else None), ckpt_path)
    run = given or _of_configuration(name, configuration)
    if ckpt_path == "best":
        return _from_file(run, str(run.best))
    found = run.last()
    return _from_content(run, found.path, found.content, found.sha256)


def check_model(start: Start, model: dict[str, Any]) -> None:
    """Raise `UserError` if the checkpoint's model has other hyperparameters."""
    if start.model is not None and (different := runs.differences({"model": start.model}, {"model": model})):
        raise UserError(
            f"{start.checkpoint} was trained with other hyperparameters: {_list(different)}; "
            "choose with --prefer checkpoint or --prefer command_line"
        )


def check_code(given: dict[str, str] | None, configuration: dict[str, Any]) -> None:
    """Raise `UserError` if the code or files of a configuration do not match the given hashes."""
    if changed := _changed_code(given, configuration):
        raise UserError(f"{changed[0]} is not that of code_sha256; restore it, or leave out code_sha256 for a new run")


def warn_of_other_code(folder: RunFolder) -> None:
    """Warn if a run's code or files have changed since it was trained; only imported classes are checked."""
    there = folder.configuration()
    if isinstance(there, dict) and (changed := _changed_code(there.get("code_sha256"), there)):
        rank_zero_warn(f"{', '.join(changed)} has changed since {folder.path} was trained")


def hashes(configuration: dict[str, Any]) -> dict[str, str]:
    """Hashes of what a run depends on besides its keys: the user's code, files, and the tokens that end a text."""
    key = "data.task.init_args.tokenizer"
    tokenizer = runs.effective(configuration).get(key)
    ends = "" if tokenizer is None else ends_sha256(Path(str(tokenizer)))
    return {**runs.own_code(configuration), **({key: ends} if ends else {})}


def differences_in_content(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """The keys in which the configurations of two machines differ, without paths whose content has a hash."""
    code = {**(there.get("code_sha256") or {}), **(here.get("code_sha256") or {})}
    hashed = tuple(f"{key} is " for key in (*code, "model.pretrained.init_args.folder"))
    return [one for one in runs.differences(there, known_to(there, here)) if not one.startswith(hashed)]


def _changed_code(given: dict[str, str] | None, configuration: dict[str, Any]) -> list[str]:
    if not given:
        return []
    now = hashes(configuration)
    changed = [name for name, code in given.items() if now.get(name, code) != code]
    return [f"the {'content' if '.init_args.' in name else 'code'} of {name}" for name in changed]


def known_to(there: dict[str, Any], configuration: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the hashes of files that another one lacks.

    An older version wrote no hashes, or only those of code; and a class may write a file that it reads the next time.
    """
    before, now = there.get("code_sha256") or {}, configuration.get("code_sha256") or {}
    is_old = "code_sha256" not in there
    kept = {key: one for key, one in now.items() if key in before or not (is_old or ".init_args." in key)}
    return {**configuration, "code_sha256": kept or None}


def _usual_folder(name: str, configuration: dict[str, Any]) -> RunFolder:
    """The folder of a configuration's run; an older version may have named it without hashes of code or files."""
    versions: list[dict[str, Any]] = [{"code_sha256": {}}, {}]
    older = [known_to(one, configuration) for one in versions]
    folders = [RunFolder(RUNS / f"{name}-{runs.run_hash(one)}") for one in (configuration, *older)]
    for folder, known in zip(folders[1:], older, strict=True):
        there = folder.configuration()
        if not folders[0].path.is_dir() and there is not None and known_to(there, configuration) == known:
            return folder
    return folders[0]


def expanded(path: str | None) -> str | None:
    """The path with a leading ~ expanded; shells do not expand it after `=` or in YAML."""
    return None if path is None else os.path.expanduser(path)


def rank() -> int:
    """The rank of this process; launchers set it before the ranks connect."""
    return int(getattr(rank_zero_only, "rank", 0))


def is_first_rank() -> bool:
    """Whether this process is the first rank, which writes files and messages."""
    return rank() == 0


def _from_content(folder: RunFolder | None, path: Path, content: dict[str, Any], sha256: str) -> Start:
    added = "vocab_size"  # set by the link to the data; names that Lightning adds begin with an underscore
    given = content.get("hyper_parameters", {}).items()
    model = {key: value for key, value in given if key != added and not key.startswith("_")}
    return Start(folder, path, content, step=content.get("global_step", 0), model=model, sha256=sha256)


def _from_file(folder: RunFolder | None, path: str) -> Start:
    if "://" in path:
        raise UserError(f"ckpt_path must be a local file, got {path}; download it with its .sha256, and write its path")
    return _from_content(folder, Path(path), *runs.read_checkpoint(Path(path)))


def _from_other_run(folder: RunFolder, path: str, steps: int) -> Start:
    """A new run that continues from a checkpoint file, without comparing scores with the other run's."""
    start = _from_file(folder, path)
    content = start.content or {}
    callbacks = {key: state for key, state in content.get("callbacks", {}).items() if not key.startswith(_COMPARING)}
    start = start._replace(content={**content, "callbacks": callbacks}, is_changed=True)
    _check_steps(start, steps)
    taken = "its weights, optimizer state, steps and place in the samples"
    return start._replace(news=(f"new run in {folder.path}, from {path} {after_steps(start.step)}: {taken}",))


def _check_steps(start: Start, steps: int) -> None:
    """Raise `UserError` if the checkpoint leaves no steps to train."""
    if start.step >= steps > 0:
        raise UserError(
            f"trainer.max_steps must be above the {start.step:,} of {start.checkpoint}, which count, got {steps:,}; "
            "set trainer.max_steps"
        )


def _of_configuration(name: str, configuration: dict[str, Any]) -> RunFolder:
    """The folder of this configuration's run; raises `UserError` if it does not exist."""
    fitted = {**configuration, "ckpt_path": None}
    folder = _usual_folder(name, fitted).newest_beside()
    if folder.path.is_dir():
        return folder
    others = [RunFolder(path.parent) for path in RUNS.glob(f"{name}-*/config.yaml")]
    if not others:
        raise UserError(f"there is no run {folder.path}; train with `fit` first, or set a folder in --run_dir")
    differences = {other.path: runs.differences(other.configuration() or {}, fitted) for other in others}
    nearest = min(differences, key=lambda path: (len(differences[path]), -path.stat().st_mtime))  # then the latest
    raise UserError(
        f"there is no run of this configuration, {folder.path}; the nearest run of this name is {nearest}, where "
        f"{_list(differences[nearest])}. To use it, write --run_dir {nearest}"
    )


def _check_same_run(folder: RunFolder, configuration: dict[str, Any], but_for_model: bool) -> None:
    there = folder.configuration()
    if there is not None and but_for_model:
        configuration = {**configuration, **{key: there.get(key) for key in ("model", "code_sha256")}}
    elif there is not None:
        configuration = known_to(there, configuration)
    if there is not None and (different := runs.differences(there, configuration)):
        raise UserError(
            f"{folder.path} is the folder of another run: {_list(different)}; set another folder in --run_dir, start "
            "over in a new one with --fresh, or resume with the new values with --prefer command_line"
        )


def _list(different: list[str]) -> str:
    more = len(different) - _SHOWN
    return ", ".join(different[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
