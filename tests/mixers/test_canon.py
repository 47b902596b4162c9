"""A Canon layer against PyTorch's convolution in float64."""

import torch
from torch.nn import functional as F

from lit_retrieval.mixers import Canon


def test_output_is_the_sum_over_the_last_tokens_and_the_state_its_inputs():
    torch.manual_seed(0)
    canon, x = Canon(12, 0, conv_kernel=4), torch.randn(2, 9, 12)
    weight = canon.conv1d.weight.double()
    expected = F.conv1d(F.pad(x.double().transpose(1, 2), (3, 0)), weight, groups=12).transpose(1, 2)
    y, state = canon(x)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(state, x[:, -3:]) and canon.state_size(9) == 3 * 12
