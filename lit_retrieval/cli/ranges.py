"""Numbers that Lightning takes from anyone, and can do nothing with."""

import math
from typing import Any

from lit_retrieval.errors import UserError

# The least and the most that each may be; a seed is one of NumPy's.
_RANGES = {
    "seed_everything": (0, 2**32 - 1),
    "trainer.accumulate_grad_batches": (1, math.inf),
    "trainer.gradient_clip_val": (0, math.inf),
    "trainer.val_check_interval": (1, math.inf),
}


def check_ranges(configuration: dict[str, Any]) -> None:
    """Raise `UserError` if one of the numbers is out of its range."""
    for key, (least, most) in _RANGES.items():
        room, _, name = key.rpartition(".")
        value = (configuration[room] if room else configuration).get(name)
        if isinstance(value, int | float) and not least <= value <= most:
            right = f"{least} or more" if most == math.inf else f"{least} to {most}"
            raise UserError(f"{key}={value} is out of range; write {right}")
