"""How many rows are decoded together: no more than have room for their states."""

from typing import Protocol

import torch

from lit_retrieval.ranges import memory_size

_FEW = 256  # rows that are decoded together whatever the memory: the default of data.eval_batch_size
_SHARE = 4  # of the memory, since states are copied when rows leave and when they grow


class Sized(Protocol):
    """A model that knows the size of its state."""

    def state_bits(self, length: int) -> int:
        """The bits of the state of one row after `length` tokens."""
        ...


def rows_at_once(model: Sized, rows: int, length: int, device: torch.device) -> int:
    """As many of `rows` of up to `length` tokens as have their states in a quarter of the memory, but 256 or more."""
    if rows <= _FEW:
        return rows
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else memory_size()
    return min(rows, max(_FEW, 8 * memory // _SHARE // max(1, model.state_bits(length))))
