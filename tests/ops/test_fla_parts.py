"""fla's functions on a CPU for several sequences in one row, in half precision, and with mixed dtypes."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu import layers, log_linear, naive, recurrences
from lit_retrieval.ops.fla_cpu.parts import Packing

ENDS = [0, 1, 1, 6, 17]  # sequences of 1, 0, 5 and 11 tokens
TIME, HEADS, DIM = ENDS[-1], 2, 8
Arguments = dict[str, Tensor]
Results = dict[str, Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def inputs(name: str) -> Arguments:
    """Small arguments of a function, with the names that it gives them; one row of all sequences."""
    per_key = {key: draw(1, TIME, HEADS, DIM, seed=seed) for seed, key in enumerate("qkv")}
    gate, beta = -draw(1, TIME, HEADS, seed=3).abs(), draw(1, TIME, HEADS, seed=4).sigmoid()
    key = torch.nn.functional.normalize(per_key["k"], dim=-1)
    more: dict[str, Arguments] = {
        "linear_attention": {},
        "gla": {"g": -per_key["q"].abs()},
        "parallel_gla": {"g": gate},
        "delta_rule": {"k": key, "beta": beta},
        "gated_delta_rule": {"k": key, "g": gate, "beta": beta},
        "kda": {"k": key, "g": -per_key["q"].abs(), "beta": beta},
        "generalized_delta_rule": {"a": -key, "b": key * beta.unsqueeze(-1), "gk": -per_key["q"].abs()},
        "rwkv7_steps": {"r": per_key["q"], "w": -per_key["q"].abs(), "kk": key, "a": beta.unsqueeze(-1).expand_as(key)},
    }
    found = {**per_key, **more[name]}
    if "r" in found:
        del found["q"]
    return found


def run(name: str, given: Arguments, state: Tensor | None, **options: object) -> Results:
    """The outputs, the last state, and the gradients for the inputs and the first state."""
    leaves = {key: value.detach().requires_grad_() for key, value in given.items()}
    if state is not None:
        leaves["initial_state"] = state.detach().requires_grad_()
    if name != "parallel_gla":
        options["output_final_state"] = True
    y, last = getattr(recurrences, name)(**leaves, **options)
    found = {"y": y} if last is None else {"y": y, "last": last}
    loss = sum((one.float() * torch.linspace(-1, 2, DIM)).sum() for one in found.values())
    grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return found | {f"gradient of {key}": grad for key, grad in zip(leaves, grads, strict=True)}


NAMES = [
    "linear_attention", "gla", "parallel_gla", "delta_rule", "gated_delta_rule", "kda", "generalized_delta_rule",
    "rwkv7_steps",
]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"reverse": True, "state_v_first": True}], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_sequences_in_one_row_are_those_alone(name, options):
    given = inputs(name)
    state = None if name == "parallel_gla" else draw(len(ENDS) - 1, HEADS, DIM, DIM)
    for dtype in (torch.int32, torch.int64):
        packed = run(name, given, state, cu_seqlens=torch.tensor(ENDS, dtype=dtype), **options)
    for i, (start, end) in enumerate(pairwise(ENDS)):
        first = None if state is None else state[i : i + 1]
        if start == end:
            assert first is None or torch.equal(packed["last"][i : i + 1], first)
            continue
        alone = run(name, {key: value[:, start:end] for key, value in given.items()}, first, **options)
        for part, wanted in alone.items():
            is_state = part in ("last", "gradient of initial_state")
            found = packed[part][i : i + 1] if is_state else packed[part][:, start:end]
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_packing_is_where_its_tensors_are():
    """A function that runs in place of fla's on a GPU gets tensors there, and may get the ends from the CPU."""
    packing = Packing([5, 0, 7, 4], True, torch.device("meta"))
    (group,) = packing.groups
    x = torch.empty(1, 16, 3, device="meta")
    taken, states = packing.rows(x, group), packing.last_states(None, [torch.empty(3, 8, device="meta")])
    assert {one.device.type for one in (*group, taken, packing.row([taken]), states)} == {"meta"}
    assert taken.shape == (3, 7, 3) and packing.row([taken]).shape == x.shape and states.shape == (4, 8)


@pytest.mark.parametrize("name", NAMES)
def test_half_inputs_are_computed_in_float32(name):
    """With a float32 state, as fla's caches have, and with a float32 gate beside half queries, keys and values."""
    halves = {key: value.bfloat16() for key, value in inputs(name).items()}
    exact = {key: value.float() for key, value in halves.items()}
    gates = {key: value.float() for key, value in halves.items() if key in ("g", "gk", "w", "beta")}
    state = None if name == "parallel_gla" else draw(1, HEADS, DIM, DIM)
    wanted = run(name, exact, state)
    for given in (halves, halves | gates):
        found = run(name, given, state)
        assert found["y"].dtype == torch.bfloat16
        assert "last" not in found or found["last"].dtype == torch.float32
        for part, value in wanted.items():
            torch.testing.assert_close(
                found[part].float(), value, rtol=1e-2, atol=1e-2 * float(value.detach().abs().max())
            )
        if state is not None:
            torch.testing.assert_close(found["last"], wanted["last"], rtol=1e-5, atol=1e-6)


def test_ojas_rule_is_the_delta_rule_with_keys_and_values_exchanged():
    """Its state is the other's transposed; what the step-by-step rule reads is compared by the state alone."""
    given, state = inputs("delta_rule"), draw(4, HEADS, DIM, DIM)
    decay = -given["q"].abs()
    options = {"output_final_state": True, "cu_seqlens": torch.tensor(ENDS)}
    oja = {"q": given["q"], "k": given["v"], "v": given["k"], "gv": decay, "beta": given["beta"]}
    o, found = naive.gated_oja_rule(**oja, initial_state=state, **options)
    _, wanted = recurrences.delta_rule(**given, g=decay, initial_state=state.transpose(2, 3), **options)
    torch.testing.assert_close(found, wanted.transpose(2, 3))
    last = torch.einsum("bhk,bhkv->bhv", DIM**-0.5 * given["q"][:, -1], found[-1:])
    torch.testing.assert_close(o[:, -1], last)


def test_levels_of_log_linear_attention_begin_anew_in_each_sequence():
    q, k, v = (draw(1, TIME, HEADS, DIM, seed=seed) for seed in range(3))
    g, scales = -draw(1, TIME, HEADS, seed=3).abs(), draw(1, TIME, HEADS, 5, seed=4)
    given = {"q": q, "k": k, "v": v, "g": g, "level_scales": scales}
    packed, _ = log_linear.log_linear_attention(**given, cu_seqlens=torch.tensor(ENDS))
    for start, end in ((0, 1), (1, 6), (6, 17)):
        alone, _ = log_linear.log_linear_attention(**{key: value[:, start:end] for key, value in given.items()})
        torch.testing.assert_close(packed[:, start:end], alone)
    with pytest.raises(UserError, match="packed rows have no states"):
        log_linear.log_linear_attention(**given, cu_seqlens=torch.tensor(ENDS), output_final_state=True)


def test_normalized_linear_attention_keeps_a_sum_of_keys_for_each_sequence():
    given = {key: value.abs() for key, value in inputs("linear_attention").items()}
    states = draw(4, HEADS, DIM, DIM), draw(4, 1, HEADS, DIM).abs()
    options = {"normalize": True, "output_final_state": True}
    y, last = recurrences.linear_attention(**given, initial_state=states, cu_seqlens=torch.tensor(ENDS), **options)
    for i, (start, end) in enumerate(pairwise(ENDS)):
        first = tuple(state[i : i + 1] for state in states)
        if start == end:
            expected = first
        else:
            part = {key: value[:, start:end] for key, value in given.items()}
            alone, expected = recurrences.linear_attention(**part, initial_state=first, **options)
            torch.testing.assert_close(y[:, start:end], alone)
        torch.testing.assert_close(tuple(state[i : i + 1] for state in last), expected)


@pytest.mark.parametrize(
    ("ends", "rows", "states", "said"),
    [
        ([0, 4], 2, 1, "batch size is expected to be 1 rather than 2"),
        ([0, 2, 4], 1, 1, "expected to be equal to the number of input sequences, i.e., 2 rather than 1"),
        ([0, 3], 1, 1, "must rise from 0 to the number of tokens, 4"),
        ([0, 3, 2, 4], 1, 3, "must rise"),
    ],
)
def test_wrong_ends_are_refused(ends, rows, states, said):
    q = draw(rows, 4, HEADS, DIM)
    with pytest.raises(UserError, match=said):
        recurrences.gla(q, q, q, initial_state=draw(states, HEADS, DIM, DIM), cu_seqlens=torch.tensor(ends))


def convolve(x: Tensor, state: Tensor | None, **options: object) -> list[Tensor]:
    """A convolution's outputs and last state, and its gradients from both."""
    weight, bias = draw(DIM, 4), draw(DIM)
    y, last = layers.causal_conv1d_fwd(x, weight, bias, x, state, True, "silu", **options)
    grads = layers.causal_conv1d_bwd(x, y, last, weight, bias, x, state, "silu", **options)
    return [y, grads[0], last, *([] if state is None else [grads[4]]), grads[1], grads[2]]


@pytest.mark.parametrize("has_state", [True, False])
def test_a_convolution_does_not_mix_sequences(has_state):
    x, state = draw(1, TIME, DIM), draw(4, DIM, 4) if has_state else None
    packed = convolve(x, state, cu_seqlens=torch.tensor(ENDS))
    weights = [torch.zeros(DIM, 4), torch.zeros(DIM)]
    for i, (start, end) in enumerate(pairwise(ENDS)):
        first = None if state is None else state[i : i + 1]
        if start == end:
            continue
        alone = convolve(x[:, start:end], first)
        for found, wanted in zip(packed[:2], alone[:2], strict=True):
            torch.testing.assert_close(found[:, start:end], wanted)
        for found, wanted in zip(packed[2:-2], alone[2:-2], strict=True):
            torch.testing.assert_close(found[i : i + 1], wanted)
        weights = [one + more for one, more in zip(weights, alone[-2:], strict=True)]
    torch.testing.assert_close(packed[-2:], weights)


@pytest.mark.parametrize("offsets", [0, 3, "each"])
def test_positions_begin_anew_in_each_sequence(offsets):
    x, cos, sin = draw(1, TIME, HEADS, DIM), draw(20, 4), draw(20, 4, seed=1)
    offset = torch.tensor([1, 0, 4, 2]) if offsets == "each" else offsets
    packed = layers.rotary_embedding_fwdbwd(x, cos, sin, offset, torch.tensor(ENDS, dtype=torch.int32))
    for i, (start, end) in enumerate(pairwise(ENDS)):
        first = offset if isinstance(offset, int) else int(offset[i])
        torch.testing.assert_close(
            packed[:, start:end], layers.rotary_embedding_fwdbwd(x[:, start:end], cos, sin, first)
        )


def test_a_shift_does_not_mix_sequences():
    x, cache = draw(1, TIME, DIM), draw(4, DIM)
    delta, last = layers.token_shift(x, torch.tensor(ENDS), cache, output_cache=True)
    for i, (start, end) in enumerate(pairwise(ENDS)):
        first = cache[i : i + 1]
        alone = (x[:, :0], first) if start == end else layers.token_shift(x[:, start:end], None, first, True)
        torch.testing.assert_close((delta[:, start:end], last[i : i + 1]), alone)


def rounds_only_its_result(function, given: list[Tensor]) -> bool:
    """Whether a function of bfloat16 tensors computes in float32."""
    halves = [one.bfloat16() for one in given]
    found, wanted = function(*halves), function(*[one.float() for one in halves])
    pairs = zip(*[one if isinstance(one, tuple) else (one,) for one in (found, wanted)], strict=True)
    return all(half.dtype == torch.bfloat16 and torch.equal(half, exact.bfloat16()) for half, exact in pairs)


def test_elementwise_parts_round_their_results_only():
    x = [draw(2, 5, 8, seed=seed) for seed in range(2)]
    assert rounds_only_its_result(layers.rwkv7_mixtures, x + [draw(1, 1, 8, seed=seed) for seed in range(6)])
    assert rounds_only_its_result(layers.rwkv7_keys, [*x, draw(8)])
    heads = [draw(2, 5, HEADS, 4, seed=seed) for seed in range(3)]
    assert rounds_only_its_result(layers.rwkv7_output, [x[0], heads[0], heads[1], draw(HEADS, 4), heads[2], x[1]])
    assert rounds_only_its_result(
        layers.rotary_embedding_fwdbwd, [draw(1, 5, HEADS, 8), draw(9, 4), draw(9, 4, seed=1)]
    )
