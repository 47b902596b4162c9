"""Finds and hashes the weights in a folder."""

import hashlib
from pathlib import Path

from lit_retrieval.errors import UserError

_WEIGHTS = ("*.safetensors", "*.bin")


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder, by name; raises `UserError` if it is not a folder of a model with weights."""
    if not (folder / "config.json").is_file():
        raise UserError(
            f"there is no {folder / 'config.json'}; write the folder of a model, as save_pretrained writes it, in "
            "model.pretrained.init_args.folder"
        )
    found = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not found and (others := sorted(folder.glob("*.gguf"))):
        raise UserError(
            f"{others[0]} must be converted: load it by from_pretrained with gguf_file, and save it by save_pretrained"
        )
    if not found:
        raise UserError(f"{folder} has no weights, {' or '.join(_WEIGHTS)}; write the folder of a whole model")
    return found


def weights_sha256(folder: Path) -> str:
    """The sha256 of the configuration and all weight files of a folder, with their names."""
    together = hashlib.sha256()
    for path in [*weight_files(folder), folder / "config.json"]:
        with path.open("rb") as file:
            together.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n".encode())
    return together.hexdigest()
