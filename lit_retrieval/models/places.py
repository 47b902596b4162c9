"""Checks texts against a model's maximum number of positions."""

import warnings

from torch import nn

from lit_retrieval.errors import UserError


def check_length(model: nn.Module, longest: int, said: str = "with data.max_new_tokens") -> None:
    """Raise `UserError` if a model has an attribute `most_places`, and texts have more tokens than that.

    Args:
        model: The model.
        longest: Tokens of the longest text.
        said: Text that the error adds to this number.
    """
    most = getattr(model, "most_places", None)
    if most is not None and longest > most:
        raise UserError(
            f"samples must have at most {most:,} tokens, the places of the model, got {longest:,} {said}; set "
            "data.sizes, data.eval_sizes or data.max_new_tokens"
        )


def check_text(model: nn.Module, length: int, new: int = 0) -> None:
    """Warn if a text is longer than those that the model was made for; raise `UserError` if it can't be read.

    Args:
        model: The model.
        length: Tokens of the text.
        new: Tokens that may follow it.
    """
    most = getattr(model, "most_places", None)
    if most is None or length + new <= most:
        return
    if getattr(getattr(model, "network", model), "has_vectors_of_places", False):
        check_length(model, length + new)
    elif length > most:
        warnings.warn(f"some texts have more than the {most:,} tokens that the model has places for", stacklevel=3)
