"""A checkpoint as a file: written whole or not at all, with its sha256 beside it, and checked when it is read."""

import hashlib
import struct
from collections import OrderedDict
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch

from lit_retrieval.errors import DamagedCheckpointError, UserError
from lit_retrieval.files import write_atomically

# What `torch.load` raises for bytes that are no checkpoint; there is no one exception for that.
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, struct.error)

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a process or a machine that stops at any moment leaves the old one or the new one.

    The hash is known before the file is renamed: while one name stands for either of two files, the hashes of both are
    in the file beside it.

    Args:
        content: What `torch.load` will give back: tensors, numbers, text, and lists and dicts of them.
        path: The file; its folder is made if it is not there.

    Raises `UserError` if there is something else in the content, which `load_checkpoint` would refuse to open.
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

    Raises `DamagedCheckpointError` if the file is not what was written, or was never a checkpoint, and `UserError` if
    there is none. A file without a hash beside it, from elsewhere, is taken as it is.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; write best, last or the path of a .ckpt file in --ckpt_path")
    if _beside(path).exists() and _digest(path) not in _hashes(path):
        raise DamagedCheckpointError(f"{path} is damaged: its sha256 is not the one in {_beside(path).name}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise DamagedCheckpointError(
            f"{path} can't be read as a checkpoint; it holds something else than numbers and text, which is not opened"
        ) from None
    except _UNREADABLE:
        raise DamagedCheckpointError(
            f"{path} can't be read as a checkpoint; it is cut short or another kind of file"
        ) from None
    if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
        raise DamagedCheckpointError(f"{path} holds no training run; write a .ckpt file that `fit` has written")
    return content


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint and its hash; the hash last, so that no checkpoint stands unchecked."""
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)


def _check_plain(value: Any, key: str) -> None:
    """Refuse what is neither numbers nor text, by its exact type: a subclass would be written as code."""
    if type(value) in (dict, OrderedDict, list, tuple, set):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            _check_plain(child, f"{key}.{name}" if key else str(name))
    elif type(value) not in _PLAIN and not isinstance(value, torch.Tensor):
        raise UserError(
            f"a checkpoint would hold a {type(value).__name__} in {key}; give numbers, text, and lists and dicts of "
            "them, as a configuration has them"
        )


def _write(content: dict[str, Any], file: IO[bytes]) -> None:
    try:
        torch.save(content, file)
        file.flush()
    except (OSError, RuntimeError) as error:
        said = error if isinstance(error, OSError) else error.__context__  # torch.save hides what the disk said
        if isinstance(said, OSError):
            raise OSError(said.errno, said.strerror, file.name) from None
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(path: Path) -> list[str]:
    """The hashes beside a checkpoint, in the form of `sha256sum`; none if there is no such file."""
    try:
        return [line.split()[0] for line in _beside(path).read_text(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return []


def _write_hashes(path: Path, digests: list[str]) -> None:
    with write_atomically(_beside(path)) as file:
        file.writelines(f"{digest}  {path.name}\n" for digest in digests)
