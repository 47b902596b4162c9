"""The learning rate over time."""

import math


def warmup_cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """The share of the peak learning rate at a step: linear warm-up, then a cosine down to zero at `total_steps`.

    arXiv:2402.18510, appendix B; the warm-up is counted in optimiser steps here and in samples by the caller. A warm-up
    is never longer than half of the training.
    """
    warmup_steps = min(warmup_steps, total_steps // 2)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
