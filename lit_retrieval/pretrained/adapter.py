"""A linear layer with a low-rank adapter, computed in the dtype of its input."""

from typing import Any, cast

from peft.tuners.lora import Linear
from torch import Tensor


class Adapter(Linear):
    """peft's layer, y = W x + s B A x, with one product less in memory.

    peft casts the layer's input to the float32 of A and B, which doubles the time of a whole training step in bfloat16
    on a CPU. Here A and B are cast to the dtype of the input instead, as under autocast.
    """

    def forward(self, x: Tensor, *arguments: Any, **others: Any) -> Tensor:
        """The outputs, `(..., out_features)`, for `x (..., in_features)`."""
        if self.merged or self.disable_adapters:
            return super().forward(x, *arguments, **others)
        (name,) = self.active_adapters
        down, up = cast("Tensor", self.lora_A[name].weight), cast("Tensor", self.lora_B[name].weight)
        rows = x.flatten(0, -2)
        outputs: Tensor = self.base_layer(rows)
        kind = outputs.dtype  # under autocast, another one than that of x
        outputs.addmm_(rows.to(kind) @ down.to(kind).T, (self.scaling[name] * up).to(kind).T)
        return outputs.view(*x.shape[:-1], -1)
