"""The last layer of a model without a chain of thought: how it writes its answer."""

from lit_retrieval.constructions.feed_forward import Unit, add, multiply


def say(kind: str) -> list[str]:
    """The registers that write a word of a kind with a number."""
    return [f"say {kind}", "say number"]


def say_yes_or_no() -> list[str]:
    """The registers that write YES or NO."""
    return ["say YES", "say NO"]


def compare_share(share: str, longest: int) -> list[Unit]:
    """Writes whether m > t, from the share 1 / (m + 1) and t in `number`.

    (t + 2) / (m + 1) is at most 1 where m > t, and at least 1 + 1 / (t + 1) elsewhere (the end of Theorem 4.6's proof,
    which compares t + 1 with m + 1 and so says YES at m = t).

    Args:
        share: The register with 1 / (m + 1).
        longest: An upper bound on t.
    """
    between = 1.0 + 1.0 / (2 * longest + 2)
    return [*multiply(share, {"number": 1.0, "one": 2.0}, "say NO"), *add({"one": between}, "say YES")]
