"""Samples in a file: written once, whole, with a manifest beside it, and read back the same."""

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
from lit_retrieval.tasks.sample_hash import Flat, SampleHash, dtype_of, flatten
from lit_retrieval.tasks.task import REGIMES, Task, Transcripts, check_choice
from lit_retrieval.tasks.writing import Rows
from lit_retrieval.vocabulary import FIRST_WORD, SPECIAL_WORDS, Vocabulary

Form = Literal["ids", "words"]
SUFFIXES = (".npz", ".jsonl")
_MANIFEST_TYPES = {
    "words": list, "form": str, "regime": str, "version": str, "samples": int, "sha256": str, "file_sha256": str,
}  # fmt: skip
_AUTHORS = [author.name.lower() for author in Author]


class SampleFile:
    """Samples that have been read from a file.

    Args:
        flat: The samples.
        manifest: What they are: `words` is the vocabulary, `task`, `regime` and more are as written.
    """

    def __init__(self, flat: Flat, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self.vocabulary = _vocabulary(manifest)
        self._flat = flat
        self._word_ends, self._answer_ends = np.cumsum(flat["length"]), np.cumsum(flat["num_answers"])

    def __len__(self) -> int:
        return len(self._flat["length"])

    @property
    def sizes(self) -> list[int]:
        """The sizes of the problems, in rising order."""
        return [int(size) for size in np.unique(self._flat["sizes"])]

    def take(self, indices: npt.NDArray[np.int64]) -> Transcripts:
        """The samples with these indices, 0 to `len(self) - 1`, `(batch,)`."""
        flat = self._flat
        length, num_answers = flat["length"][indices], flat["num_answers"][indices]
        words, answers = _spread(self._word_ends[indices], length), _spread(self._answer_ends[indices], num_answers)
        rows = Rows(
            _pad(flat["tokens"], *words), _pad(flat["author"], *words), length, flat["prompt_length"][indices],
            _pad(flat["answers"], *answers), _pad(flat["distances"], *answers),
        )  # fmt: skip
        return rows.transcripts(flat["sizes"][indices], flat["kinds"][indices])


def save_samples(
    path: Path, vocabulary: Vocabulary, batches: Iterable[Transcripts], manifest: dict[str, Any], form: Form = "ids",
    overwrite: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write samples to `path`, and their manifest to `path.manifest.json`.

    Each appears whole or not at all, the manifest last; `load_samples` refuses a file and a manifest that don't match.

    Raises `UserError` for a suffix that is neither .npz nor .jsonl, for a file that is there already, and for a
    manifest without a regime.

    Args:
        path: Where; `.npz` holds the flat arrays of `flatten`, `.jsonl` an object for each sample.
        vocabulary: The words.
        batches: The samples.
        manifest: What they are, the `regime` at least; the vocabulary, their number, the version of this package and
            the sha256 are added.
        form: In .jsonl: ids, or the words themselves.
        overwrite: Replace a file that is there.

    Returns:
        The whole manifest.
    """
    _check_output(path, form, overwrite)
    check_choice("regime", manifest.get("regime", ""), REGIMES)
    sample_hash, parts = SampleHash(vocabulary), []
    with _open_both(path) as (file, manifest_file):
        for transcripts in batches:
            parts.append(flatten(transcripts))
            sample_hash.update(parts[-1])
        if not parts:
            raise UserError("there are no samples to write; ask for at least one")
        flat = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        _write_flat(file, path.suffix, flat, vocabulary, form)
        whole = {
            **manifest, "form": form, "samples": len(flat["length"]), "version": __version__,
            "sha256": sample_hash.hexdigest(), "file_sha256": sha256(Path(file.name).read_bytes()).hexdigest(),
            "words": list(vocabulary.words),
        }  # fmt: skip
        manifest_file.write(json.dumps(whole, indent=1) + "\n")
    return whole


def load_samples(path: Path) -> SampleFile:
    """Read samples back; raises `UserError` unless the file and its manifest are whole and belong together.

    What the manifest says of the task, and which regime it is, nothing in the file can confirm.
    """
    manifest = _read_manifest(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}; give the path of a file that was written") from None
    if sha256(content).hexdigest() != manifest["file_sha256"]:
        raise UserError(f"{path} is not what its manifest says, cut short or damaged; copy or write it again")
    if tuple(manifest["words"][:FIRST_WORD]) != SPECIAL_WORDS:
        raise UserError(
            f"{path} was written by version {manifest['version']}, whose special words are others; write it again with "
            f"version {__version__}"
        )
    return SampleFile(_read_samples(path, content, manifest), manifest)


def manifest_path(path: Path) -> Path:
    """Where the manifest of a file of samples is."""
    return path.with_name(f"{path.name}.manifest.json")


def describe(task: Task) -> dict[str, Any]:
    """The class path of a task, and those of its arguments that it keeps under their names."""
    arguments = {name: getattr(task, name) for name in signature(type(task)).parameters if hasattr(task, name)}
    return {
        "class_path": f"{type(task).__module__}.{type(task).__qualname__}",
        "init_args": {name: _plain(value) for name, value in arguments.items()},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return describe(value) if isinstance(value, Task) else value


def _check_output(path: Path, form: Form, overwrite: bool) -> None:
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is neither {' nor '.join(SUFFIXES)}; write one of these suffixes")
    if form not in get_args(Form):
        raise UserError(f"there is no form {form!r}; write ids or words")
    if path.suffix == ".npz" and form == "words":
        raise UserError(f"{path} holds arrays of ids; write a .jsonl file for words")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}; make it first")
    for place in (path, manifest_path(path)):
        if place.is_dir():
            raise UserError(f"{place} is a folder; write another name")
        if place.exists() and not overwrite:
            raise UserError(f"{place} is there already; write another name, or --overwrite true to replace it")


@contextmanager
def _open_both(path: Path) -> Iterator[tuple[IO[bytes], IO[str]]]:
    """Open a file of samples and its manifest, before samples are drawn for them; the manifest is renamed last."""
    with ExitStack() as stack:
        try:
            manifest_file = stack.enter_context(write_atomically(manifest_path(path)))
            file = stack.enter_context(write_atomically(path, "wb"))
        except OSError as error:
            raise UserError(f"{path} can't be written: {error.strerror}; write to another folder or name") from None
        yield file, manifest_file


def _write_flat(file: IO[bytes], suffix: str, flat: Flat, vocabulary: Vocabulary, form: Form) -> None:
    if suffix == ".npz":
        np.savez(file, **flat)  # type: ignore[arg-type]
    else:
        file.writelines(_lines(flat, vocabulary, form))
    file.flush()


def _lines(flat: Flat, vocabulary: Vocabulary, form: Form) -> Iterator[bytes]:
    word = words = answer = 0
    for row, length in enumerate(flat["length"].tolist()):
        words, answers = word + length, answer + int(flat["num_answers"][row])
        ids, answer_ids = flat["tokens"][word:words].tolist(), flat["answers"][answer:answers].tolist()
        sample = {
            "tokens": ids if form == "ids" else vocabulary.decode(ids),
            "author": [_AUTHORS[author] for author in flat["author"][word:words]],
            "answers": answer_ids if form == "ids" else vocabulary.decode(answer_ids),
            "distances": flat["distances"][answer:answers].tolist(),
            **{name: int(flat[name][row]) for name in ("prompt_length", "sizes", "kinds")},
        }
        yield json.dumps(sample).encode() + b"\n"
        word, answer = words, answers


def _read_manifest(path: Path) -> dict[str, Any]:
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is neither {' nor '.join(SUFFIXES)}; give a file that `write` has written")
    place = manifest_path(path)
    try:
        manifest = json.loads(place.read_text())
        fault = _fault(manifest, path.suffix) if isinstance(manifest, dict) else "it is no object"
    except FileNotFoundError:
        raise UserError(f"there is no manifest {place}; write the samples again, or copy it too") from None
    except OSError as error:
        raise UserError(
            f"the manifest {place} can't be read: {error.strerror}; make it readable, or copy it again"
        ) from None
    except ValueError as error:
        fault = str(error)
    if fault:
        raise UserError(f"the manifest {place} is damaged, {fault}; write the samples again with --overwrite true")
    return dict(manifest)


def _fault(manifest: dict[str, Any], suffix: str) -> str | None:
    """What is wrong with a manifest, whatever its samples are."""
    for name, kind in _MANIFEST_TYPES.items():
        if type(manifest.get(name)) is not kind:
            return f"{name}={manifest.get(name)!r} is no {kind.__name__}"
    for name, choices in (("regime", REGIMES), ("form", get_args(Form) if suffix == ".jsonl" else ("ids",))):
        if manifest[name] not in choices:
            return f"{name}={manifest[name]!r} is not {' or '.join(choices)}"
    if not all(isinstance(word, str) for word in manifest["words"]):
        return "not all of its words are words"
    return None


def _vocabulary(manifest: dict[str, Any]) -> Vocabulary:
    return Vocabulary(manifest["words"][FIRST_WORD:])


def _read_samples(path: Path, content: bytes, manifest: dict[str, Any]) -> Flat:
    """The samples of a file that is whole, if they are those that the manifest is about."""
    try:
        flat = (_read_npz if path.suffix == ".npz" else _read_jsonl)(content, manifest)
        sample_hash = SampleHash(_vocabulary(manifest))
        sample_hash.update(flat)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} and its manifest don't go together, {error}; copy or write both again") from None
    if sample_hash.hexdigest() != manifest["sha256"]:
        raise UserError(
            f"{path} has samples or words of the sha256 {sample_hash.hexdigest()}, and its manifest says "
            f"{manifest['sha256']}; copy or write both again"
        )
    if len(flat["length"]) != manifest["samples"]:
        raise UserError(
            f"{path} has {len(flat['length'])} samples, and its manifest says {manifest['samples']}; copy or write "
            "both again"
        )
    return flat


def _read_npz(content: bytes, manifest: dict[str, Any]) -> Flat:
    with np.load(BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_jsonl(content: bytes, manifest: dict[str, Any]) -> Flat:
    samples = [json.loads(line) for line in content.splitlines()]
    vocabulary = _vocabulary(manifest)
    if manifest["form"] == "words":
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


def _spread(ends: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
    """Where the items of each row are in a flat array, `(batch, longest)`, and which of them there are."""
    offsets = np.arange(int(lengths.max(initial=0)))
    is_there = offsets < lengths[:, None]
    return np.where(is_there, (ends - lengths)[:, None] + offsets, 0), is_there


def _pad(flat: npt.NDArray[Any], places: npt.NDArray[np.int64], is_there: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    return np.where(is_there, flat[places] if len(flat) else 0, 0).astype(flat.dtype)
