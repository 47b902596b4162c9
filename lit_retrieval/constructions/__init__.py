"""The models of the paper's theorems, with constructed weights; they decode and are scored like trained models."""

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
