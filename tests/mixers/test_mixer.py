"""Keeping some rows of a state."""

import pytest
import torch

from lit_retrieval.mixers import AttentionState, Mamba, MambaState, select_rows


def test_rows_of_every_tensor_are_kept_and_the_rest_is_unchanged():
    conv, scan, keys = (torch.randn(4, *shape) for shape in ((3, 6), (2, 6), (2, 5, 4)))
    state = (MambaState(conv, scan), AttentionState(keys, keys + 1, 3), None)
    mamba, attention, nothing = select_rows(state, torch.tensor([2, 0]))
    assert isinstance(mamba, MambaState) and isinstance(attention, AttentionState) and nothing is None
    assert torch.equal(mamba.conv, conv[[2, 0]]) and torch.equal(mamba.scan, scan[[2, 0]])
    assert torch.equal(attention.values, keys[[2, 0]] + 1) and attention.length == 3


def test_a_boolean_mask_keeps_rows_too():
    tensor = torch.randn(3, 2)
    assert torch.equal(select_rows((tensor,), torch.tensor([True, False, True]))[0], tensor[[0, 2]])


def test_kept_rows_go_on_as_before():
    mamba, x = Mamba(hidden_size=16, layer_idx=0), torch.randn(4, 6, 16)
    _, state = mamba(x[:, :5])
    y, _ = mamba(x[[3, 1], 5:], select_rows(state, torch.tensor([3, 1])))
    torch.testing.assert_close(y, mamba(x)[0][[3, 1], 5:], rtol=1e-4, atol=1e-5)


def test_an_unknown_part_is_named():
    with pytest.raises(TypeError, match="a state holds a list"):
        select_rows([torch.zeros(1)], torch.tensor([0]))
