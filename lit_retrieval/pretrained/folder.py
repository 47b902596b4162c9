"""Loads a pretrained model from a folder."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from lit_retrieval.conformance import describe_error
from lit_retrieval.errors import UserError, missing_package
from lit_retrieval.models import CachedModel, agrees_in_pieces, prepare_fla, refuse_network
from lit_retrieval.ops import fla_cpu
from lit_retrieval.pretrained.lora import add_adapters
from lit_retrieval.pretrained.weights import weight_files, weights_sha256
from lit_retrieval.ranges import check_at_least, check_choice

_OF_FLA = "fuse_cross_entropy"  # a key that only configurations of fla's models have
Precision = Literal["float32", "bfloat16"]
_ROWS, TIME = 2, 12  # of the tokens on which calls are compared
ALLOWED = 1e-4  # of the largest logit, in float32; a forgotten state makes a difference of 3e-3 or more


class Folder:
    """A causal language model of transformers or fla, loaded from a local folder; code in the folder is never run.

    Word i of the task is token i of the model, which predicts only the task's words. When loaded, the model is checked
    in float32: one call must equal calls of single tokens, also for rows that continue without the others.

    Args:
        folder: The model's folder, as written by save_pretrained.
        precision: Number format of the weights.
        lora_rank: Rank of LoRA adapters to train in place of the weights; 0 trains the weights.
        sha256: The sha256 of the weights, set by the command; other weights are refused.
    """

    def __init__(
        self,
        folder: Path,
        precision: Precision = "float32",
        lora_rank: int = 0,
        sha256: str | None = None,
    ) -> None:
        check_choice("precision", precision, get_args(Precision), "model.pretrained.init_args")
        check_at_least("lora_rank", lora_rank, 0, "model.pretrained.init_args.lora_rank")
        self.folder = Path(folder)
        self.precision = precision
        self.lora_rank = lora_rank
        self.sha256 = sha256

    def load(self, *, vocab_size: int) -> nn.Module:
        """Load the model; raises `UserError` if it can't be decoded, or has fewer tokens than `vocab_size`."""
        check_weights(self.folder, self.sha256)
        network = _checked(read_model(self.folder, torch.float32), vocab_size, self.folder)
        if self.precision == "bfloat16":
            network.model = read_model(self.folder, torch.bfloat16)
        if self.lora_rank:
            add_adapters(network.model, random_tokens(vocab_size), self.lora_rank)
        return network.train()


def check_weights(folder: Path, sha256: str | None) -> None:
    """Raise `UserError` if a folder has no weights, or if their sha256 is another one."""
    weight_files(folder)
    if sha256 is not None and (found := weights_sha256(folder)) != sha256:
        raise UserError(
            f"{folder} must have the weights with the sha256 {sha256[:12]}..., got {found[:12]}...; restore them, or "
            "leave out model.pretrained.init_args.sha256"
        )


def check_tokens(model: Any, vocab_size: int, folder: Path) -> None:
    """Raise `UserError` if a model has fewer tokens than the task."""
    if (found := model.config.get_text_config().vocab_size) < vocab_size:
        raise UserError(
            f"{folder} must have the {vocab_size:,} tokens of the task or more, got {found:,}; "
            "set another task or folder"
        )


def _checked(model: Any, vocab_size: int, folder: Path) -> CachedModel:
    """The model as a network, checked against the rules."""
    check_tokens(model, vocab_size, folder)
    name = f"{type(model).__name__} in {folder}"
    network, tokens = CachedModel(model, vocab_size, name).eval(), random_tokens(vocab_size)
    refuse_network(network, name, vocab_size, tokens, ALLOWED)
    network.takes_several = True
    network.takes_several = agrees_in_pieces(network, vocab_size, tokens, ALLOWED)
    network.is_checked = True
    return network


def random_tokens(vocab_size: int, time: int = TIME) -> torch.Tensor:
    """Random tokens, `(2, time)`, the same in each call."""
    return torch.randint(vocab_size, (_ROWS, time), generator=torch.Generator().manual_seed(0))


def read_model(folder: Path, dtype: torch.dtype) -> Any:
    """The model of a folder, in evaluation mode; raises `UserError` if transformers and fla can't build it."""
    given = {"dtype": dtype, "local_files_only": True, "trust_remote_code": False, "output_loading_info": True}
    try:
        found = _class_of(folder)
        import_module("transformers.utils.logging").disable_progress_bar()
        model, report = found.from_pretrained(folder, **given)
    except UserError:
        raise
    except Exception as error:  # transformers may raise anything for a folder that it can't read
        raise UserError(f"transformers can't load {folder}: {describe_error(error)}; set model.pretrained") from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"{folder} has no weights for {missing[0]}, which would be random; restore its files")
    model.get_input_embeddings().padding_idx = None  # else that token's vector, here a word's, would not be trained
    if model.get_output_embeddings() is None:
        raise UserError(f"{type(model).__name__} in {folder} must be a causal language model; write another folder")
    return model


def _class_of(folder: Path) -> Any:
    """The class that a configuration names, of transformers or of fla, which has a Mamba and a Mamba2 of its own."""
    try:
        import transformers
    except ImportError:
        raise missing_package("model.pretrained", "transformers") from None
    content = json.loads((folder / "config.json").read_text())
    name = (content.get("architectures") or ["None"])[0]
    if _OF_FLA not in content and hasattr(transformers, name):
        found: Any = getattr(transformers, name)
        prepare_fla(found.config_class)
        return found
    if sys.platform == "linux":
        fla_cpu.install()
        models: Any = import_module("fla.models")
        if hasattr(models, name):
            return getattr(models, name)
    raise UserError(
        f"the class {name} of {folder / 'config.json'} must be in transformers or fla; code in a folder is never run"
    )
