"""Causal language models of the package transformers, with random weights."""

import difflib
from typing import Any

from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import State

# Words have other numbers here, and none of them ends or pads a text.
_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


class HuggingFaceModel(nn.Module):
    """A causal language model of transformers, with random weights; nothing is downloaded.

    Its cache of keys and values is the state.

    Args:
        vocab_size: Vocabulary size; set by the model.
        model_type: Architecture by its name in transformers, such as llama, mistral, gpt2 or qwen3.
        config: Arguments of its configuration, such as {hidden_size: 64, num_hidden_layers: 4}.
    """

    def __init__(self, vocab_size: int, model_type: str = "llama", config: dict[str, Any] | None = None) -> None:
        super().__init__()
        try:
            from transformers import AutoConfig, AutoModelForCausalLM
        except ImportError:
            raise UserError("HuggingFaceModel needs the package transformers: pip install transformers") from None
        given = config or {}
        try:
            known = AutoConfig.for_model(model_type)
            _check_names(given, known)
            made = AutoConfig.for_model(model_type, **{**_NO_TOKENS, **given, "vocab_size": vocab_size})
            self.model: Any = AutoModelForCausalLM.from_config(made)  # type: ignore[no-untyped-call]
        except UserError:
            raise
        except (ArithmeticError, AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"transformers refuses {model_type} with {given}: {reason}; set model.network") from None

    def forward(self, tokens: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Predict the token after each position.

        Args:
            tokens: Token ids, `(batch, time)`.
            state: The keys and values of each layer, `(batch, heads, past, head_dim)`; None before the first token.

        Returns:
            Logits, `(batch, time, vocab_size)`, and the keys and values after the last token.
        """
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, (keys, values) in enumerate(state or ()):
            cache.update(keys, values, layer)
        output = self.model(input_ids=tokens, past_key_values=cache, use_cache=True)
        layers = getattr(output.get("past_key_values"), "layers", None)
        if not layers or any(getattr(layer, "keys", None) is None for layer in layers):
            kind = type(self.model).__name__
            raise UserError(f"{kind} must keep its state as keys and values of each layer; use model.stages for others")
        return output.logits, tuple((layer.keys, layer.values) for layer in layers)


def _check_names(given: dict[str, Any], known: Any) -> None:
    """Raise `UserError` for an argument that the configuration does not have, which it would keep and not use."""
    for name in given:
        if not hasattr(known, name):
            nearest = difflib.get_close_matches(name, known.to_dict(), 1)
            meant = f"; did you mean {nearest[0]}?" if nearest else ""
            raise UserError(f"the configuration of {known.model_type} has no {name}{meant}")
