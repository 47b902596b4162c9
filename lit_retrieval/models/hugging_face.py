"""Causal language models of the package transformers, with random weights."""

import difflib
from typing import Any

from lit_retrieval.errors import UserError, missing_package, one_line
from lit_retrieval.models.cached_model import CachedModel, prepare_fla

# Token ids are those of the task, and none of them ends or pads a text.
_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


class HuggingFaceModel(CachedModel):
    """A causal language model of transformers, with random weights; nothing is downloaded.

    The model's cache is the state.

    Args:
        vocab_size: Vocabulary size; set by the model.
        model_type: Name of the architecture in transformers, such as llama, mamba2, gpt2 or qwen3.
        config: Arguments of the model's configuration, such as {hidden_size: 64, num_hidden_layers: 4}.
    """

    def __init__(self, vocab_size: int, model_type: str = "llama", config: dict[str, Any] | None = None) -> None:
        try:
            import transformers
            from transformers import AutoConfig, AutoModelForCausalLM
        except ImportError:
            raise missing_package("HuggingFaceModel", "transformers") from None
        given = config or {}
        try:
            known = AutoConfig.for_model(model_type)
            _check_names(given, known)
            kind = getattr(transformers, type(known).__name__)  # fla has registered its own mamba and mamba2
            made = kind(**{**_NO_TOKENS, **given, "vocab_size": vocab_size})
            prepare_fla(kind)
            model: Any = AutoModelForCausalLM.from_config(made)  # type: ignore[no-untyped-call]
        except UserError:
            raise
        except (ArithmeticError, AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = one_line(error)[:300]
            raise UserError(f"transformers refuses {model_type} with {given}: {reason}; set model.network") from None
        super().__init__(model, vocab_size, type(model).__name__)

    @property
    def most_places(self) -> int | None:
        """The length up to which texts can be read, and have the same logits with a cache; None without a limit."""
        return super().most_places if self.has_vectors_of_places else self.most_cached_places


def _check_names(given: dict[str, Any], known: Any) -> None:
    """Raise `UserError` for an unknown argument, which the configuration would silently ignore."""
    for name in given:
        if not hasattr(known, name):
            nearest = difflib.get_close_matches(name, known.to_dict(), 1)
            meant = f"; did you mean {nearest[0]}?" if nearest else ""
            raise UserError(f"the configuration of {known.model_type} has no {name}{meant}")
