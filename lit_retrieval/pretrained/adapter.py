"""A linear layer with a low-rank adapter, in the number format of what it reads."""

from typing import Any, cast

from peft.tuners.lora import Linear
from torch import Tensor


class Adapter(Linear):
    """peft's layer, y = W x + s B A x, with one product less in memory.

    peft widens what the layer reads to the float32 of A and B, and computes there: that takes twice the time of the
    whole training step in bfloat16 on a CPU. Here A and B are rounded instead, as under autocast.
    """

    def forward(self, x: Tensor, *arguments: Any, **others: Any) -> Tensor:
        """The outputs, `(..., out_features)`, for `x (..., in_features)`."""
        if self.merged or self.disable_adapters:
            return super().forward(x, *arguments, **others)
        (name,) = self.active_adapters
        down, up = cast("Tensor", self.lora_A[name].weight), cast("Tensor", self.lora_B[name].weight)
        rows = x.flatten(0, -2)
        outputs: Tensor = self.base_layer(rows)
        kind = outputs.dtype  # not that of x under autocast
        outputs.addmm_(rows.to(kind) @ down.to(kind).T, (self.scaling[name] * up).to(kind).T)
        return outputs.view(*x.shape[:-1], -1)
