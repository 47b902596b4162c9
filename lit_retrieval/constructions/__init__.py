"""The paper's theorems as models with constructed weights, run in the same loop as trained ones."""

from lit_retrieval.constructions.construction import (
    Construction,
    Proposition51,
    Theorem41,
    Theorem46,
    Theorem47,
    Theorem48,
    Theorem52,
    Theorem53,
    Theorem54,
    Theorem56,
    Theorem57,
    Theorem58,
)
from lit_retrieval.constructions.model import ConstructedModel

__all__ = [
    "ConstructedModel", "Construction", "Proposition51", "Theorem41", "Theorem46", "Theorem47", "Theorem48",
    "Theorem52", "Theorem53", "Theorem54", "Theorem56", "Theorem57", "Theorem58",
]  # fmt: skip
