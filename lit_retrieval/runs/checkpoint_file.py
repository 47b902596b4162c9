"""Checkpoint files: written atomically with their sha256, and checked when read."""

import hashlib
import struct
from collections import OrderedDict
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch

from lit_retrieval.errors import DamagedCheckpointError, UserError
from lit_retrieval.files import write_atomically

# The errors that `torch.load` raises for a file that is not a checkpoint.
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, struct.error)

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: after a crash, either the old file or the new one exists.

    While the file is being replaced, the hashes of both versions are in the `.sha256` file.

    Args:
        content: Tensors, numbers, text, and lists and dicts of these; other types raise `UserError`.
        path: The file; its folder is created if needed.
    """
    _check_plain(content, "")
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path, "wb") as file:
        _write(content, file)
        digest = _digest(Path(file.name))
        _write_hashes(path, [digest, *_hashes(path)])
    _write_hashes(path, [digest])


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it can run code.

    Raises `DamagedCheckpointError` if the file is damaged or is not a checkpoint, and `UserError` if it does not exist.
    A file without a `.sha256` file is not checked against a hash.
    """
    return read_checkpoint(path)[0]


def read_checkpoint(path: Path) -> tuple[dict[str, Any], str]:
    """The content of a checkpoint, and the sha256 of the file that was read; see `load_checkpoint`."""
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; write best, last or the path of a .ckpt file in --ckpt_path")
    known = _hashes(path)  # before and after: another process may be replacing the file
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _beside(path).exists() and digest not in {*known, *_hashes(path)}:
            raise DamagedCheckpointError(f"{path} is damaged: its sha256 is not the one in {_beside(path).name}")
        file.seek(0)
        content = _read(file, path)
    if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
        raise DamagedCheckpointError(
            f"{path} is not a checkpoint of a training run; write a .ckpt file that `fit` has written"
        )
    return content, digest


def _read(file: IO[bytes], path: Path) -> Any:
    """What `torch.load` finds in an open file; raises `DamagedCheckpointError`."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise DamagedCheckpointError(
            f"{path} can't be read as a checkpoint; it has objects other than tensors, numbers and text"
        ) from None
    except _UNREADABLE:
        raise DamagedCheckpointError(
            f"{path} can't be read as a checkpoint; it is damaged or another kind of file"
        ) from None


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint, then its hash."""
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)


def _check_plain(value: Any, key: str) -> None:
    """Raise `UserError` unless all exact types are allowed; a subclass would be pickled with its class."""
    if type(value) in (dict, OrderedDict, list, tuple, set):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            _check_plain(child, f"{key}.{name}" if key else str(name))
    elif type(value) not in _PLAIN and not isinstance(value, torch.Tensor):
        allowed = "tensors, numbers, text, and lists and dicts of them"
        raise UserError(f"a checkpoint must have only {allowed}, got a {type(value).__name__} in {key}")


def _write(content: dict[str, Any], file: IO[bytes]) -> None:
    try:
        torch.save(content, file)
        file.flush()
    except (OSError, RuntimeError) as error:
        said = error if isinstance(error, OSError) else error.__context__  # torch.save hides the OSError
        if isinstance(said, OSError):
            raise OSError(said.errno, said.strerror, file.name) from None
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(path: Path) -> list[str]:
    """The hashes in the `.sha256` file of a checkpoint, in the format of `sha256sum`; none without the file."""
    try:
        return [line.split()[0] for line in _beside(path).read_text(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return []


def _write_hashes(path: Path, digests: list[str]) -> None:
    with write_atomically(_beside(path)) as file:
        file.writelines(f"{digest}  {path.name}\n" for digest in digests)
