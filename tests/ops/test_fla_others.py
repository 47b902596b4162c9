"""MesaNet, log-linear attention, cyclic flow and Mamba-3 on a CPU, against fla's naive functions or plain steps."""

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from fla_layers import HIDDEN_SIZE, make_layer
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import FlaLayer
from lit_retrieval.ops.fla_cpu import cyclic_flow, install, log_linear, mesa_net

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
TOLERANCE = 2e-5  # fla's naive functions compute in float32, which rounds to 6e-8; sums over all steps lose two digits
BATCH, HEADS, KEYS, VALUES, SLOTS, LEVELS = 2, 3, 6, 8, 7, 9
Randn = Callable[..., Tensor]
Arguments = dict[str, Any]


class Family(NamedTuple):
    """Our function, fla's meaning of it, and its tensors for so many steps; both return outputs and last states."""

    ours: Callable[..., tuple[Tensor, ...]]
    theirs: Callable[..., tuple[Tensor, ...]]
    draw: Callable[[Randn, int], Arguments]


def draw_mesa(randn: Randn, time: int) -> Arguments:
    keys = {name: F.normalize(randn(time, HEADS, KEYS), dim=-1) for name in "qk"}
    factor = randn(HEADS, KEYS, 2)
    states = {"h_kk_init": factor @ factor.transpose(2, 3), "h_kv_init": randn(HEADS, KEYS, KEYS)}
    gates = {"g": F.logsigmoid(randn(time, HEADS) + 2), "beta": randn(time, HEADS).sigmoid()}
    return {**keys, "v": randn(time, HEADS, KEYS), **gates, "lamb": 0.25 + randn(HEADS, KEYS)[0].sigmoid(), **states}


def mesa(**given: Any) -> tuple[Tensor, ...]:
    from fla.ops.mesa_net import naive_mesa_net_exact

    return naive_mesa_net_exact(**given)


def draw_levels(randn: Randn, time: int) -> Arguments:
    """Two heads share the keys of a group."""
    keys = {name: randn(time, HEADS, KEYS) for name in "qk"}
    gates = {"g": F.logsigmoid(randn(time, 2 * HEADS) + 2), "level_scales": randn(time, 2 * HEADS, LEVELS)}
    return {**keys, "v": randn(time, 2 * HEADS, VALUES), **gates}


def levels(**given: Any) -> tuple[Tensor, ...]:
    from fla.ops.log_linear_attn.naive import naive_log_linear_attn

    if given["v"].shape[1] == 1:  # where it has no level but that of a query for itself
        q, k = (given[name].repeat_interleave(2, 2) for name in "qk")
        return (given["level_scales"][..., :1] * (q * k).sum(-1, keepdim=True) * given["v"],)
    return (naive_log_linear_attn(**given),)


def draw_flow(randn: Randn, time: int) -> Arguments:
    given = {name: randn(time, HEADS, KEYS) for name in "qk"} | {"v": randn(time, HEADS, VALUES)}
    gates = {"g": F.logsigmoid(randn(time, HEADS) + 2)} | {
        name: randn(time, HEADS).sigmoid() for name in ("delta", "beta")
    }
    weights = {name: 1 + 0.1 * randn(KEYS)[0] for name in ("q_norm_weight", "k_norm_weight")}
    memories = randn(HEADS, KEYS, SLOTS + 1), randn(HEADS, SLOTS + 1, VALUES), 30 * randn(HEADS).sigmoid()
    return {**given, **gates, "readout": randn(HEADS, SLOTS, SLOTS)[0], **weights, "initial_state": memories}


def flow(naive: bool, **given: Any) -> tuple[Tensor, ...]:
    from fla.ops.cyfa.naive import naive_recurrent_cyfa

    function = naive_recurrent_cyfa if naive else cyclic_flow.cyclic_flow
    o, state = function(**given, q_norm_eps=1e-5, k_norm_eps=1e-4, output_final_state=True)
    return o, *state


def our_levels(**given: Any) -> tuple[Tensor, ...]:
    return log_linear.log_linear_attention(**given)[:1]


FAMILIES = {
    "mesa": Family(partial(mesa_net.mesa_net, output_final_state=True), mesa, draw_mesa),
    "log-linear": Family(our_levels, levels, draw_levels),
    "cyclic flow": Family(partial(flow, False), partial(flow, True), draw_flow),
}


def leaves_of(given: Arguments) -> list[Tensor]:
    return [one for value in given.values() for one in (value if isinstance(value, tuple) else (value,))]


def run(function: Callable[..., tuple[Tensor, ...]], given: Arguments) -> list[Tensor]:
    """Outputs, last states, and the gradients of all arguments for a loss on all of them."""
    leaf = Tensor.requires_grad_
    given = {
        name: tuple(leaf(one.clone()) for one in value) if isinstance(value, tuple) else leaf(value.clone())
        for name, value in given.items()
    }
    results = function(**given)
    loss = sum((one * torch.linspace(-1, 2, one.numel()).view(one.shape)).sum() for one in results)
    return [*results, *torch.autograd.grad(loss, leaves_of(given), materialize_grads=True)]


def draw(family: Family, time: int) -> Arguments:
    generator = torch.Generator().manual_seed(time)
    return family.draw(lambda *shape: torch.randn(BATCH, *shape, generator=generator), time)


@pytest.mark.parametrize("time", [1, 2, 37, 65, 150])
@pytest.mark.parametrize("name", FAMILIES)
def test_our_function_is_flas_naive_one(name, time):
    install()
    given = draw(FAMILIES[name], time)
    for place, (actual, expected) in enumerate(
        zip(run(FAMILIES[name].ours, given), run(FAMILIES[name].theirs, given), strict=True)
    ):
        limit = TOLERANCE * max(1.0, float(expected.detach().abs().max()))
        assert actual.shape == expected.shape and (actual - expected).abs().max() <= limit, place


def test_a_step_of_mesa_net_is_that_of_the_whole_and_few_iterations_are_flas():
    install()
    from fla.ops.mesa_net import mesa_net_decoding_one_step, naive_mesa_net_decoding_one_step

    given = draw(FAMILIES["mesa"], 1)
    whole = mesa_net.mesa_net(**given, output_final_state=True)
    states = {"prev_h_kk": given.pop("h_kk_init"), "prev_h_kv": given.pop("h_kv_init")}
    step = {name: one if name == "lamb" else one[:, 0] for name, one in given.items()} | states
    for actual, expected in zip(mesa_net_decoding_one_step(**step), whole, strict=True):
        torch.testing.assert_close(actual, expected.view_as(actual), rtol=1e-5, atol=1e-5)
    for actual, expected in zip(
        mesa_net_decoding_one_step(**step, max_CG_iteration=2),
        naive_mesa_net_decoding_one_step(**step, max_CG_iteration=2),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)  # fla adds 1e-5 to denominators


@pytest.mark.parametrize("lengths", [[1] * 9, [5, 64, 1, 70], [63, 2, 75]])
def test_log_linear_attention_goes_on_from_its_state(lengths):
    install()
    from fla.ops.log_linear_attn import chunk_log_linear_attn

    given = draw(FAMILIES["log-linear"], sum(lengths))
    o, state = chunk_log_linear_attn(**given, output_final_state=True)
    parts, middle = [], None
    for part in zip(*(one.split(lengths, 1) for one in given.values()), strict=True):
        y, middle = chunk_log_linear_attn(
            **dict(zip(given, part, strict=True)), initial_state=middle, output_final_state=True
        )
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), o, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(middle.ht, state.ht, rtol=1e-5, atol=1e-5)
    assert middle.offsets.tolist() == state.offsets.tolist() == BATCH * [sum(lengths)]
    assert state.ht.shape[1] == sum(lengths).bit_count()


def test_log_linear_attention_takes_no_more_tokens_than_it_has_levels():
    given = {name: one[:, :5] for name, one in draw(FAMILIES["log-linear"], 5).items()}
    given["level_scales"] = given["level_scales"][..., :3]
    with pytest.raises(UserError, match="with 3 levels takes 4 tokens at most, got 5"):
        log_linear.log_linear_attention(**given)


def mamba3_steps(layer: Any, u: Tensor) -> Tensor:
    """Mamba-3 (arXiv:2603.15569) token by token from its definition, on `(batch, time, hidden_size)`."""
    heads, ranks, groups = layer.num_heads, layer.mimo_rank, layer.n_groups
    sizes = [*2 * [layer.intermediate_size], *2 * [layer.ssm_state_size * groups * ranks], *3 * [heads]]
    z, x, B, C, dt, A, share, angle = layer.in_proj(u).split([*sizes, layer.num_rope_angles], -1)
    spread = layer.mimo_x if layer.is_mimo else layer.D.new_ones(heads, 1, layer.head_dim)
    total, state, written, outputs = 0.0, 0.0, 0.0, []
    for t in range(u.shape[1]):
        step = F.softplus(dt[:, t] + layer.dt_bias)  # (batch, heads)
        decay = (-F.softplus(A[:, t])).clamp(max=-layer.A_floor).mul(step).exp()
        total = total + math.pi * angle[:, t].tanh().unsqueeze(1) * step.unsqueeze(2)
        k = turn(layer, by_head(layer, B[:, t], layer.B_norm, layer.B_bias), total)
        q = turn(layer, by_head(layer, C[:, t], layer.C_norm, layer.C_bias), total)
        values = x[:, t].unflatten(-1, (heads, 1, -1)) * spread  # (batch, heads, ranks, head_dim)
        now, share_t = torch.einsum("bhrn,bhrp->bhnp", k, values), share[:, t].sigmoid()
        kept = state + ((1 - share_t) * step)[..., None, None] * written
        state = decay[..., None, None] * kept + (share_t * step)[..., None, None] * now
        written = now
        y = torch.einsum("bhrn,bhnp->bhrp", q, state) + layer.D.view(-1, 1, 1) * values
        outputs.append(gate(layer, y, z[:, t].unflatten(-1, (heads, 1, -1))))
    return layer.out_proj(torch.stack(outputs, 1))


def by_head(layer: Any, x: Tensor, norm: Any, bias: Tensor) -> Tensor:
    x = x.unflatten(-1, (layer.mimo_rank, layer.n_groups, -1))
    x = x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight
    return x.repeat_interleave(layer.num_heads // layer.n_groups, 2).transpose(1, 2) + bias


def turn(layer: Any, x: Tensor, angles: Tensor) -> Tensor:
    """Pairs of neighbors, or with several ranks of elements of both halves, `(batch, heads, ranks, state_size)`."""
    x, count = x.clone(), angles.shape[-1]
    places = torch.arange(count)
    first, second = (places, places + x.shape[-1] // 2) if layer.is_mimo else (2 * places, 2 * places + 1)
    cos, sin, a, b = angles.cos().unsqueeze(2), angles.sin().unsqueeze(2), x[..., first], x[..., second]
    x[..., first], x[..., second] = a * cos - b * sin, a * sin + b * cos
    return x


def gate(layer: Any, y: Tensor, z: Tensor) -> Tensor:
    z = z * layer.mimo_z if layer.is_mimo else z
    if layer.is_outproj_norm:
        y = y / (y.square().mean(-1, keepdim=True) + layer.norm.eps).sqrt()
        y = y * layer.norm.weight.view(layer.num_heads, 1, -1)
    y = y * F.silu(z)
    return (y * layer.mimo_o if layer.is_mimo else y).sum(2).flatten(1)


MAMBA3 = [
    {},
    {"n_groups": 2, "rope_fraction": 1.0, "use_bias": True},
    {"is_outproj_norm": True},
    {"is_mimo": True, "mimo_rank": 3, "n_groups": 2},
    {"is_mimo": True, "mimo_rank": 2, "is_outproj_norm": True},
]


@pytest.mark.parametrize("options", MAMBA3, ids=str)
def test_mamba3_is_its_definition(options):
    layer, exact = (make_layer("Mamba3", **options) for _ in range(2))
    exact = exact.double()
    mixer, generator = FlaLayer(layer), torch.Generator().manual_seed(0)
    for time in (1, 2, 21):
        x = torch.randn(BATCH, time, HIDDEN_SIZE, generator=generator)
        results = []
        for module, inputs, function in ((layer, x, lambda one: mixer(one)[0]), (exact, x.double(), None)):
            leaf = inputs.clone().requires_grad_()
            y = mamba3_steps(exact, leaf) if function is None else function(leaf)
            loss = (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)).sum()
            named = {"inputs": leaf, **dict(module.named_parameters())}
            grads = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
            results.append({"outputs": y, **dict(zip(named, grads, strict=True))})
        for part, expected in results[1].items():
            limit = TOLERANCE * max(1.0, float(expected.detach().abs().max()))
            assert (results[0][part] - expected).abs().max() <= limit, (part, time)
        parts, state = [], None
        for part in x.split(5, 1):
            y, state = mixer(part, state)
            parts.append(y)
        torch.testing.assert_close(torch.cat(parts, 1), results[0]["outputs"], rtol=1e-4, atol=1e-5)
