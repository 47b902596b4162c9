"""Attention against its equation, its positions, its masks and its cache."""

import pytest
import torch

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import (
    Attention,
    AttentionState,
    SlidingWindowAttention,
    fix_shapes,
    free_shapes,
    select_rows,
)
from lit_retrieval.ops import rotate


@pytest.fixture
def attention():
    torch.manual_seed(0)
    attention = Attention(hidden_size=32, layer_idx=0, num_heads=4)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # so that positions and masks are seen in the output
    return attention


def test_output_equals_the_equations_written_out(attention):
    x = torch.randn(2, 6, 32)
    q, k, v = (part.view(2, 6, 4, 8) for part in attention.qkv_proj(x).chunk(3, -1))
    q, k = rotate(q, 0, 1e4), rotate(k, 0, 1e4)
    expected = torch.zeros(2, 6, 4, 8)
    for t in range(6):
        scores = torch.einsum("bhd,bshd->bhs", q[:, t], k[:, : t + 1]) / 8**0.5
        expected[:, t] = torch.einsum("bhs,bshd->bhd", scores.softmax(-1), v[:, : t + 1])
    torch.testing.assert_close(attention(x)[0], attention.out_proj(expected.flatten(2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("lengths", [[1] * 12, [5, 1, 1, 4, 1], [3, 9], [1, 11]])
def test_parts_of_any_length_equal_the_whole(attention, lengths, with_gradients):
    x = torch.randn(2, 12, 32)
    with torch.set_grad_enabled(with_gradients):
        y, _ = attention(x)
        parts, state = [], None
        for part in x.split(lengths, 1):
            part_y, state = attention(part, state)
            parts.append(part_y)
    torch.testing.assert_close(torch.cat(parts, 1), y, rtol=1e-4, atol=1e-5)
    assert state.length == 12


def test_gradients_through_a_state_equal_those_of_the_whole(attention):
    x = torch.randn(2, 7, 32, requires_grad=True)
    expected = torch.autograd.grad(attention(x)[0].square().sum(), x)[0]
    y_1, state = attention(x[:, :4])
    y_2, _ = attention(x[:, 4:], state)
    actual = torch.autograd.grad(y_1.square().sum() + y_2.square().sum(), x)[0]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_later_tokens_do_not_change_earlier_outputs(attention):
    x = torch.randn(1, 8, 32)
    changed = torch.cat([x[:, :5], torch.randn(1, 3, 32)], 1)
    torch.testing.assert_close(attention(x)[0][:, :5], attention(changed)[0][:, :5])


def test_rotation_turns_with_the_distance_alone():
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    products = [(rotate(q, 3 + shift, 1e4) * rotate(k, shift, 1e4)).sum() for shift in (0, 5, 100)]
    torch.testing.assert_close(products[0], products[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(products[0], products[2], rtol=1e-4, atol=1e-4)
    assert abs(products[0] - (q * k).sum()) > 1e-3


def test_rotation_continues_from_the_start():
    x = torch.randn(2, 9, 3, 8)
    torch.testing.assert_close(rotate(x, 0, 1e4)[:, 5:], rotate(x[:, 5:], 5, 1e4))


def test_tables_made_while_decoding_serve_training():
    x = torch.randn(1, 3, 1, 6, requires_grad=True)
    with torch.inference_mode():
        rotate(x, 0, 777.0)  # a base that no other test asks for, so the table is made here
    rotate(x, 0, 777.0).sum().backward()
    assert x.grad is not None


@torch.no_grad()
def test_cache_grows_by_doubling_and_is_written_in_place(attention):
    _, state = attention(torch.randn(2, 4, 32))
    _, state = attention(torch.randn(2, 1, 32), state)
    assert state.keys.shape[2] == 8 and state.length == 5
    _, written = attention(torch.randn(2, 1, 32), state)
    assert written.keys is state.keys and written.length == 6


def test_state_size_counts_a_real_state(attention):
    _, state = attention(torch.randn(1, 7, 32))
    assert isinstance(state, AttentionState)
    assert attention.state_size(7) == state.keys.numel() + state.values.numel()


SLOPES = {1: [1 / 256], 2: [1 / 16, 1 / 256], 3: [1 / 16, 1 / 256, 1 / 4], 4: [1 / 4, 1 / 16, 1 / 64, 1 / 256]}


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_positions_are_those_of_a_loop_over_heads_and_tokens(num_heads, num_kv_heads, position, window):
    torch.manual_seed(0)
    options = {"num_heads": num_heads, "position": position, "num_kv_heads": num_kv_heads}
    mixer = Attention(24, 0, **options) if window is None else SlidingWindowAttention(24, 0, window, **options)
    torch.nn.init.normal_(mixer.qkv_proj.weight, std=0.3)
    x = torch.randn(1, 11, 24)
    parts = mixer.qkv_proj(x)[0].double().unflatten(-1, (num_heads + 2 * num_kv_heads, -1))
    q, k, v = parts.split([num_heads, num_kv_heads, num_kv_heads], 1)
    if position == "rope":
        q, k = (rotate(part[None], 0, 1e4)[0] for part in (q, k))
    mixed, of = torch.zeros_like(q), num_heads // num_kv_heads
    for h in range(num_heads):
        for i in range(11):
            first = 0 if window is None else max(0, i - window + 1)
            penalties = torch.tensor([SLOPES[num_heads][h] * (i - j) for j in range(first, i + 1)])
            scores = k[first : i + 1, h // of] @ q[i, h] / k.shape[-1] ** 0.5 - penalties * (position == "alibi")
            mixed[i, h] = scores.softmax(0) @ v[first : i + 1, h // of]
    expected = mixer.out_proj(mixed.flatten(1).float())
    torch.testing.assert_close(mixer(x)[0][0], expected, rtol=1e-4, atol=1e-6)
    _, state = mixer(x[:, :7])
    torch.testing.assert_close(mixer(x[:, 7:], state)[0][0], expected[7:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("window", [None, 1, 3, 8])
@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
@torch.no_grad()
def test_steps_of_fixed_shapes_equal_the_whole(position, window):
    """From a state of any length on, through a grown capacity, with a row that leaves, and back in the usual form."""
    torch.manual_seed(0)
    options = {"num_heads": 4, "position": position, "num_kv_heads": 2}
    mixer = Attention(16, 0, **options) if window is None else SlidingWindowAttention(16, 0, window, **options)
    mixer = mixer.double()
    torch.nn.init.normal_(mixer.qkv_proj.weight, std=0.3)
    x = torch.randn(3, 14, 16, dtype=torch.float64)
    y, _ = mixer(x)
    for before in (1, 4, 7):
        _, state = mixer(x[:, :before])
        state = fix_shapes((state, None))
        kept = torch.tensor([0, 1, 2])
        for at in range(before, 12):
            if at == 9:
                kept = torch.tensor([2, 0])
                state = select_rows(state, kept)
            state = fix_shapes(state)
            pointer = state[0].keys.data_ptr()
            found, new = mixer(x[kept, at : at + 1], state[0])
            state = (new, None)
            torch.testing.assert_close(found[:, 0], y[kept, at])
            assert new.keys.data_ptr() == pointer and new.room == new.capacity - at - 1 >= 0
            assert new.keys.shape[2] == (new.capacity if window is None else window)
        (state, _) = free_shapes(state)
        torch.testing.assert_close(mixer(x[kept, 12:], state)[0], y[kept, 12:])
        assert mixer.state_size(12) == (12 if window is None else min(12, window - 1)) * 2 * 8


def test_groups_of_heads_are_as_many_as_divide_the_heads():
    with pytest.raises(UserError, match=r"num_kv_heads must divide num_heads=4, got 3; set model\.stages"):
        Attention(16, 0, num_kv_heads=3)


def test_no_rope_base_is_no_position_and_rope_needs_one():
    assert Attention(24, 0, rope_base=None).position == "none" and Attention(24, 0).position == "rope"
    with pytest.raises(UserError, match="rope_base must be 1 or more"):
        Attention(24, 0, rope_base=None, position="rope")
    with pytest.raises(UserError, match=r"rope_base is for rope, got 500\.0 with alibi; leave out one of them"):
        Attention(24, 0, rope_base=500.0, position="alibi")


@pytest.mark.parametrize("position", ["alibi", "none"])
def test_heads_of_odd_width_need_no_pairs(position):
    assert Attention(9, 0, num_heads=3, position=position)(torch.randn(1, 2, 9))[0].shape == (1, 2, 9)
    with pytest.raises(UserError, match=r"num_heads must divide hidden_size=10, got 4; set model\.stages"):
        Attention(10, 0, num_heads=4, position=position)


@pytest.mark.parametrize(("hidden_size", "num_heads"), [(30, 4), (20, 4), (3, 1)])
def test_unusable_heads_are_named(hidden_size, num_heads):
    with pytest.raises(UserError, match=f"hidden_size={hidden_size} is not num_heads={num_heads} times an even"):
        Attention(hidden_size=hidden_size, layer_idx=0, num_heads=num_heads)
