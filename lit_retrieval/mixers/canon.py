"""Canon layers: each token's vector with a weighted sum of the last few, channel by channel."""

from torch import Tensor, nn

from lit_retrieval.mixers.mixer import check_sizes
from lit_retrieval.ops import causal_conv
from lit_retrieval.ops.half_precision import product_dtype, widen


class Canon(nn.Module):
    """A Canon layer: a causal depthwise convolution without activation or bias (Allen-Zhu 2025, arXiv:2512.17351).

    With the residual connection around every mixer it computes h + conv(norm(h)). In the paper's Canon-A and Canon-C
    that sum is the input of attention and of the feed-forward layer; here it stays in the residual stream.

    Args:
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0; a Canon layer does not use it.
        conv_kernel: Number of tokens that the convolution sees, the current one included.
    """

    def __init__(self, hidden_size: int, layer_idx: int, conv_kernel: int = 4) -> None:
        super().__init__()
        check_sizes(hidden_size, layer_idx, conv_kernel=conv_kernel)
        # Holds the weights; never called.
        self.conv1d = nn.Conv1d(hidden_size, hidden_size, conv_kernel, groups=hidden_size, bias=False)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix tokens along time; see `Mixer.forward`. The state is the last inputs, `(batch, conv_kernel - 1, dim)`."""
        weight = widen(self.conv1d.weight.squeeze(1))
        y, state = causal_conv(widen(x), weight, weight.new_zeros(len(weight)), state, silu=False)
        return y.to(product_dtype(x)), state

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample, whatever the `length`."""
        return (self.conv1d.kernel_size[0] - 1) * len(self.conv1d.weight)
