"""The learning-rate schedule."""

import math


def warmup_cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """The fraction of the peak learning rate at an optimizer step: linear warm-up, then a cosine to zero at the end.

    The cosine is from arXiv:2402.18510, appendix B, the warm-up from its code. The warm-up takes at most half of the
    training.
    """
    warmup_steps = min(warmup_steps, total_steps // 2)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
