"""Checks that a sample file fits its task, and that test files are not training samples."""

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Regime, SampleFile, Task, describe, load_samples

_AT_ONCE = 65_536  # samples of a file read together


def load_fitting(path: Path, task: Task, regime: Regime) -> SampleFile:
    """Read a sample file; raises `UserError` unless its vocabulary, answers and kinds are those of the task."""
    file = load_samples(path)
    written, kinds = file.manifest.get("task"), max(1, len(task.kinds))
    if file.identity != task.vocabulary.identity:
        raise UserError(
            f"{path} has another vocabulary than data.task; set data.task to the task that wrote it{_named(written)}"
        )
    if file.manifest.get("regime") != regime:
        raise UserError(
            f"data.regime must be {file.manifest.get('regime')}, as in {path}, got {regime}; set it, or use another "
            "file"
        )
    if file.most("kinds") >= kinds or not file.answers <= set(task.answer_words.tolist()):
        raise UserError(
            f"{path} has other answers or kinds of problems than data.task; set data.task to the task that wrote it"
            f"{_named(written)}"
        )
    if task.kinds and written is not None and written != json.loads(json.dumps(describe(task))):
        rank_zero_warn(f"{path} was written by another task than data.task, whose kinds may have other names"
                       f"{_named(written)}")  # fmt: skip
    return file


def check_apart(
    files: dict[str, SampleFile], task: Task, seed: int, sizes: Iterable[int], eval_sizes: Iterable[int]
) -> None:
    """Raise `UserError` if samples to score are trained on: of the same stream and of the same sizes.

    Of files that do not say from which stream they are, equal samples are a warning, because small problems repeat.

    Args:
        files: The files by key: data.train_file, data.val_file and data.test_file.
        task: The task, which generates the training samples if there is no data.train_file.
        seed: Random seed of the generated samples.
        sizes: Sizes of the training samples.
        eval_sizes: Sizes of the samples to score that are generated.
    """
    train = files.get("data.train_file")
    if train is not None:
        _check_generated(files, train, task, seed, eval_sizes)
    trained = (_stream(describe(task), seed, "fit") if train is None else _stream_of(train)), train and _hash(train)
    sizes = set(sizes if train is None else train.sizes)
    for key, file in files.items():
        is_same = _stream_of(file) == trained[0] is not None and not sizes.isdisjoint(file.sizes)
        is_trained_on = is_same or _hash(file) == trained[1]
        if key != "data.train_file" and is_trained_on:
            raise UserError(
                f"{key} must have samples that are not trained on, got some of the stream `fit` with the same seed; "
                "write it with --split validate or test"
            )
        if key != "data.train_file" and train is not None and None in (_stream_of(file), _stream_of(train)):
            _warn_of_common(file, train, key)


def _check_generated(
    files: dict[str, SampleFile], train: SampleFile, task: Task, seed: int, sizes: Iterable[int]
) -> None:
    """Raise `UserError` if the training file has the samples that would be generated for a split without a file."""
    for split, key in (("validate", "data.val_file"), ("test", "data.test_file")):
        is_same = _stream_of(train) == _stream(describe(task), seed, split) and not set(sizes).isdisjoint(train.sizes)
        if key not in files and is_same:
            raise UserError(
                f"data.train_file must not have samples to score, got those of the stream `{split}` with the same "
                "seed; write it with --split fit"
            )


def _warn_of_common(file: SampleFile, train: SampleFile, key: str) -> None:
    trained = set(_digests(train))
    if count := sum(digest in trained for digest in _digests(file)):
        rank_zero_warn(f"{count:,} of {len(file):,} samples of {key} are also in data.train_file")


def _digests(file: SampleFile) -> Iterator[bytes]:
    """A hash of each sample's tokens."""
    for start in range(0, len(file), _AT_ONCE):
        part = file.take(np.arange(start, min(start + _AT_ONCE, len(file))))
        for tokens, length in zip(part.tokens, part.length.tolist(), strict=True):
            yield blake2b(tokens[:length].tobytes(), digest_size=16).digest()


def _hash(file: SampleFile) -> str:
    return str(file.manifest["sha256"])


def _stream_of(file: SampleFile) -> str | None:
    """The stream that a file was written from, as text; None if its manifest has none."""
    named = [file.manifest.get(name) for name in ("task", "seed", "split")]
    return None if None in named else _stream(*named)


def _stream(task: Any, seed: Any, split: Any) -> str:
    return json.dumps([_without_nulls(task), seed, split], sort_keys=True)


def _without_nulls(value: Any) -> Any:
    """A description without null arguments, so that a new argument does not change the streams of older files."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list | tuple) else value


def _named(task: Any) -> str:
    """The task in a manifest, written as in a configuration; empty if the manifest has none."""
    return f": {json.dumps(task)}" if task else ""
