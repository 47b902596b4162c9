"""The longest text that a model has places for."""

from torch import nn

from lit_retrieval.errors import UserError


def check_length(model: nn.Module, longest: int, said: str = "with data.max_new_tokens") -> None:
    """Raise `UserError` if a model has an attribute `most_places`, and texts have more tokens than that.

    Args:
        model: The model.
        longest: Tokens of the longest text.
        said: What is added to their number.
    """
    most = getattr(model, "most_places", None)
    if most is not None and longest > most:
        raise UserError(
            f"samples must have at most {most:,} tokens, the places of the model by its config.json, got {longest:,} "
            f"{said}; set data.sizes, data.eval_sizes or data.max_new_tokens"
        )
