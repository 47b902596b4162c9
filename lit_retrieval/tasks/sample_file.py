"""Writes samples to a file, with a manifest beside it, and reads them back."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from inspect import signature
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lit_retrieval import __version__
from lit_retrieval.conversation import Author
from lit_retrieval.errors import UserError
from lit_retrieval.files import write_atomically
from lit_retrieval.ranges import check_choice
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.sample_hash import Flat, SampleHash, dtype_of, flatten
from lit_retrieval.tasks.task import REGIMES, Task, Transcripts
from lit_retrieval.tasks.writing import Rows
from lit_retrieval.tokens import is_tokenizer
from lit_retrieval.vocabulary import FIRST_WORD, SPECIAL_WORDS, Vocabulary

Form = Literal["ids", "words"]
SUFFIXES = (".npz", ".jsonl")
_MANIFEST_TYPES = {
    "words": list, "form": str, "regime": str, "version": str, "samples": int, "sha256": str, "file_sha256": str,
}  # fmt: skip
_AUTHORS = [author.name.lower() for author in Author]


class SampleFile:
    """The samples read from a file.

    Args:
        flat: The samples.
        manifest: The manifest: `words` (the vocabulary's `identity`), `task`, `regime` and more.
    """

    def __init__(self, flat: Flat, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self.identity = tuple(manifest["words"])
        self._flat = flat
        self._token_ends, self._answer_ends = np.cumsum(flat["length"]), np.cumsum(flat["num_answers"])

    def __len__(self) -> int:
        return len(self._flat["length"])

    @property
    def num_samples(self) -> int:
        """Number of samples in the file."""
        return len(self)

    @property
    def longest_reply(self) -> int:
        """The largest number of tokens after a prompt."""
        return int((self._flat["length"] - self._flat["prompt_length"]).max())

    @property
    def answers(self) -> set[int]:
        """The token ids of all answers."""
        return set(np.unique(self._flat["answers"]).tolist())

    def most(self, name: Literal["kinds", "distances"]) -> int:
        """The largest number in this array of `Transcripts`."""
        return int(self._flat[name].max(initial=0))

    @property
    def sizes(self) -> list[int]:
        """The sizes of the problems, in ascending order."""
        return [int(size) for size in np.unique(self._flat["sizes"])]

    def indices_of(self, size: int) -> Counts:
        """The indices of the problems of a size, `(found,)`."""
        return np.flatnonzero(self._flat["sizes"] == size)

    def take(self, indices: Counts) -> Transcripts:
        """The samples with these indices, 0 to `len(self) - 1`, `(batch,)`."""
        flat = self._flat
        length, num_answers = flat["length"][indices], flat["num_answers"][indices]
        tokens, answers = _spread(self._token_ends[indices], length), _spread(self._answer_ends[indices], num_answers)
        rows = Rows(
            _pad(flat["tokens"], *tokens), _pad(flat["author"], *tokens), length, flat["prompt_length"][indices],
            _pad(flat["answers"], *answers), _pad(flat["distances"], *answers),
        )  # fmt: skip
        return rows.transcripts(flat["sizes"][indices], flat["kinds"][indices])


def save_samples(
    path: Path, vocabulary: Vocabulary, batches: Iterable[Transcripts], manifest: dict[str, Any], form: Form = "ids",
    overwrite: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write samples to `path`, and their manifest to `path.manifest.json`.

    Both files are written atomically, the manifest last. `load_samples` refuses a file and a manifest that don't match.

    Raises `UserError` for a suffix other than .npz and .jsonl, for an existing file, and for a manifest without a
    regime.

    Args:
        path: The file; `.npz` stores the flat arrays of `flatten`, `.jsonl` one object per sample.
        vocabulary: The vocabulary of the token ids.
        batches: The samples.
        manifest: The `regime`, and any other entries; the vocabulary, number of samples, version of this package and
            sha256 are added.
        form: Tokens in .jsonl: ids or words.
        overwrite: Replace an existing file.

    Returns:
        The complete manifest.
    """
    _check_output(path, form, overwrite)
    if form == "words" and vocabulary.is_text:
        raise UserError("form must be ids for a task in text, got words; set --form, or leave it out")
    check_choice("regime", manifest.get("regime", ""), REGIMES, "manifest")
    sample_hash, parts = SampleHash(vocabulary.identity), []
    with _open_both(path) as (file, manifest_file):
        for transcripts in batches:
            parts.append(flatten(transcripts))
            sample_hash.update(parts[-1])
        if not parts:
            raise UserError("the number of samples must be 1 or more, got 0; write at least one")
        flat = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if path.suffix == ".npz":
            np.savez(file, **flat)  # type: ignore[arg-type]
        else:
            file.writelines(_lines(flat, vocabulary, form))
        file.flush()
        whole = {
            **manifest, "form": form, "samples": len(flat["length"]), "version": __version__,
            "sha256": sample_hash.hexdigest(), "file_sha256": sha256(Path(file.name).read_bytes()).hexdigest(),
            "words": list(vocabulary.identity),
        }  # fmt: skip
        manifest_file.write(json.dumps(whole, indent=1) + "\n")
    return whole


def load_samples(path: Path) -> SampleFile:
    """Read samples; raises `UserError` unless the file and its manifest are complete and match.

    The task and regime in the manifest can't be checked against the samples.
    """
    manifest = read_manifest(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}; write the path of a file of samples") from None
    if sha256(content).hexdigest() != manifest["file_sha256"]:
        raise UserError(f"{path} is damaged: its sha256 is not the one in its manifest; copy or write it again")
    if tuple(manifest["words"][:FIRST_WORD]) != SPECIAL_WORDS and not is_tokenizer(manifest["words"]):
        raise UserError(
            f"{path} was written by version {manifest['version']}, which has other special words; write it again with "
            f"version {__version__}"
        )
    return SampleFile(_read_samples(path, content, manifest), manifest)


def manifest_path(path: Path) -> Path:
    """The path of the manifest of a file of samples."""
    return path.with_name(f"{path.name}.manifest.json")


def describe(task: Task) -> dict[str, Any]:
    """The class path of a task, and its arguments that are also attributes of the same names."""
    arguments = {name: getattr(task, name) for name in signature(type(task)).parameters if hasattr(task, name)}
    return {
        "class_path": f"{type(task).__module__}.{type(task).__qualname__}",
        "init_args": {name: _plain(value) for name, value in arguments.items()},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):  # also a table of a machine, which is one
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Task):
        return describe(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _check_output(path: Path, form: Form, overwrite: bool) -> None:
    if path.suffix not in SUFFIXES:
        raise UserError(f"the suffix must be {' or '.join(SUFFIXES)}, got {path}; write another name")
    if form not in get_args(Form):
        raise UserError(f"form must be ids or words, got {form!r}; set --form")
    if path.suffix == ".npz" and form == "words":
        raise UserError(f"form must be ids for .npz, got words for {path}; write a .jsonl file for words")
    check_free(path, manifest_path(path), overwrite=overwrite)


def check_free(*outputs: Path, overwrite: bool) -> None:
    """Raise `UserError` if a file can't be written to this path, or exists and may not be overwritten."""
    for output in outputs:
        if not output.parent.is_dir():
            raise UserError(f"there is no folder {output.parent}; create it first")
        if output.is_dir():
            raise UserError(f"{output} is a folder; write another name")
        if output.exists() and not overwrite:
            raise UserError(f"{output} already exists; write another name, or --overwrite true to replace it")


@contextmanager
def _open_both(path: Path) -> Iterator[tuple[IO[bytes], IO[str]]]:
    """Open a file of samples and its manifest before samples are drawn; the manifest is renamed last."""
    with ExitStack() as stack:
        try:
            manifest_file = stack.enter_context(write_atomically(manifest_path(path)))
            file = stack.enter_context(write_atomically(path, "wb"))
        except OSError as error:
            raise UserError(f"{path} can't be written: {error.strerror}; write to another folder or name") from None
        yield file, manifest_file


def _lines(flat: Flat, vocabulary: Vocabulary, form: Form) -> Iterator[bytes]:
    start = first = 0
    for row, length in enumerate(flat["length"].tolist()):
        stop, last = start + length, first + int(flat["num_answers"][row])
        ids, answers = flat["tokens"][start:stop].tolist(), flat["answers"][first:last].tolist()
        sample = {
            "tokens": ids if form == "ids" else vocabulary.decode(ids),
            "author": [_AUTHORS[author] for author in flat["author"][start:stop]],
            "answers": answers if form == "ids" else vocabulary.decode(answers),
            "distances": flat["distances"][first:last].tolist(),
            **{name: int(flat[name][row]) for name in ("prompt_length", "sizes", "kinds")},
        }
        yield json.dumps(sample).encode() + b"\n"
        start, first = stop, last


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a file of samples; raises `UserError` if it can't be read or is damaged."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"the suffix must be {' or '.join(SUFFIXES)}, got {path}; write the path of a file of samples")
    if not path.is_file():
        raise UserError(f"there is no file {path}; write the path of a file of samples")
    source = manifest_path(path)
    try:
        manifest = json.loads(source.read_text())
        if isinstance(manifest, dict) and manifest.get("form") == "text":
            raise UserError(f"{path} has prompts for language models; write samples with --form ids or words")
        fault = _fault(manifest, path.suffix) if isinstance(manifest, dict) else "it must be a JSON object"
    except FileNotFoundError:
        raise UserError(f"there is no manifest {source}; copy it too, or write the samples again") from None
    except OSError as error:
        raise UserError(
            f"the manifest {source} can't be read: {error.strerror}; make it readable, or copy it again"
        ) from None
    except ValueError as error:
        fault = str(error)
    if fault:
        raise UserError(f"the manifest {source} is damaged: {fault}; write the samples again with --overwrite true")
    return dict(manifest)


def _fault(manifest: dict[str, Any], suffix: str) -> str | None:
    """The first error in a manifest, found without reading the samples; None if there is no error."""
    for name, kind in _MANIFEST_TYPES.items():
        if type(manifest.get(name)) is not kind:
            return f"{name} must be of type {kind.__name__}, got {manifest.get(name)!r}"
    for name, choices in (("regime", REGIMES), ("form", get_args(Form) if suffix == ".jsonl" else ("ids",))):
        if manifest[name] not in choices:
            return f"{name} must be {' or '.join(choices)}, got {manifest[name]!r}"
    if not all(isinstance(word, str) for word in manifest["words"]):
        return "its words must be strings"
    return None


def _read_samples(path: Path, content: bytes, manifest: dict[str, Any]) -> Flat:
    """The samples of a file; raises `UserError` unless they match the manifest."""
    try:
        flat = (_read_npz if path.suffix == ".npz" else _read_jsonl)(content, manifest)
        sample_hash = SampleHash(manifest["words"])
        sample_hash.update(flat)
        if sample_hash.hexdigest() != manifest["sha256"]:
            raise ValueError(f"the sha256 is {sample_hash.hexdigest()}, not {manifest['sha256']}")
        if len(flat["length"]) != manifest["samples"]:
            raise ValueError(f"{len(flat['length'])} samples, not {manifest['samples']}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} and its manifest don't match: {error}; copy or write both again") from None
    return flat


def _read_npz(content: bytes, manifest: dict[str, Any]) -> Flat:
    with np.load(BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_jsonl(content: bytes, manifest: dict[str, Any]) -> Flat:
    samples = [json.loads(line) for line in content.splitlines()]
    if manifest["form"] == "words":
        vocabulary = Vocabulary(manifest["words"][FIRST_WORD:])
        for sample in samples:
            sample["tokens"], sample["answers"] = (vocabulary.encode(sample[name]) for name in ("tokens", "answers"))
    flat = {name: np.concatenate([sample[name] for sample in samples]) for name in ("tokens", "answers", "distances")}
    flat["author"] = np.array([_AUTHORS.index(author) for sample in samples for author in sample["author"]])
    flat["length"], flat["num_answers"] = (
        np.array([len(sample[name]) for sample in samples]) for name in ("tokens", "answers")
    )
    for name in ("prompt_length", "sizes", "kinds"):
        flat[name] = np.array([sample[name] for sample in samples])
    return {name: values.astype(dtype_of(name)) for name, values in flat.items()}


def _spread(ends: Counts, lengths: Counts) -> tuple[npt.NDArray[Any], ...]:
    """Positions of each row's items in a flat array, `(batch, longest)`, and which of them exist."""
    offsets = np.arange(int(lengths.max(initial=0)))
    exists = offsets < lengths[:, None]
    return np.where(exists, (ends - lengths)[:, None] + offsets, 0), exists


def _pad(flat: npt.NDArray[Any], positions: Counts, exists: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    return np.where(exists, flat[positions] if len(flat) else 0, 0).astype(flat.dtype)
