"""Our functions for fla's layers against fla's own naive ones: outputs, last states, gradients of all inputs."""

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu import delta_products, gated_rnns, gated_slots, install, polynomials

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
BATCH, HEADS, KEYS, VALUES, SLOTS = 2, 3, 5, 7, 6
TOLERANCE = 1e-5  # fla's naive functions compute in float32, which rounds to 6e-8; sums over all steps lose two digits
Randn = Callable[..., Tensor]
Arguments = dict[str, Any]


class Family(NamedTuple):
    """Our function and fla's meaning of it, which gets tensors in the order and layout that it asks for.

    Args:
        ours: The function under test.
        theirs: fla's function, or a loop; it returns the outputs and, if the family has them, the last states.
        draw: Makes the tensors for so many steps.
        states: The names of the first states among them.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    draw: Callable[[Randn, int], Arguments]
    states: tuple[str, ...] = ("initial_state",)


def queries(randn: Randn, time: int) -> Arguments:
    return {"q": randn(time, HEADS, KEYS), "k": randn(time, HEADS, KEYS), "v": randn(time, HEADS, VALUES)}


def decays(randn: Randn, *shape: int) -> Tensor:
    return F.logsigmoid(randn(*shape) + 2)


def draw_product(randn: Randn, time: int) -> Arguments:
    return {
        "q": randn(time, HEADS, KEYS), "k": F.normalize(randn(2 * time, HEADS, KEYS), dim=-1),
        "v": randn(2 * time, HEADS, VALUES), "g": decays(randn, time, HEADS),
        "beta": randn(2 * time, HEADS).sigmoid(), "initial_state": randn(HEADS, KEYS, VALUES),
    }  # fmt: skip


def product(scale: float = 0.5, **given: Any) -> Any:
    from fla.ops.gated_delta_product.naive import naive_recurrent_gated_delta_product

    return naive_recurrent_gated_delta_product(**given, scale=scale, num_householder=2, output_final_state=True)


def draw_comba(randn: Randn, time: int) -> Arguments:
    given = queries(randn, time)
    given |= {name: F.normalize(randn(time, HEADS, KEYS), dim=-1) for name in "kp"}
    beta, g = randn(time, HEADS).sigmoid(), decays(randn, time, HEADS)
    return {**given, "g": g, "beta": beta, "initial_state": randn(HEADS, KEYS, VALUES)}


def comba(**given: Any) -> Any:
    from fla.ops.comba.naive import naive_chunk_comba

    return naive_chunk_comba(**given, output_final_state=True)


def draw_gdn2(randn: Randn, time: int) -> Arguments:
    given = queries(randn, time)
    given["k"] = F.normalize(given["k"], dim=-1)
    b, w, g = randn(time, HEADS, KEYS).sigmoid(), randn(time, HEADS, VALUES).sigmoid(), decays(randn, time, HEADS, KEYS)
    return {**given, "g": g, "b": b, "w": w, "initial_state": randn(HEADS, KEYS, VALUES)}


def gdn2(**given: Any) -> Any:
    from fla.ops.gdn2.naive import naive_recurrent_gdn2

    return naive_recurrent_gdn2(**given, output_final_state=True)


def draw_preconditioned(decay_dims: tuple[int, ...]) -> Callable[[Randn, int], Arguments]:
    def draw(randn: Randn, time: int) -> Arguments:
        beta, beta_atk = randn(time, HEADS).sigmoid(), randn(time, HEADS).sigmoid()
        return {
            **queries(randn, time), "g_atk": decays(randn, time, HEADS), "g": decays(randn, time, HEADS, *decay_dims),
            "beta_atk": beta_atk, "beta": beta, "log_atk_scale": randn(1)[0].expand(HEADS).contiguous() / 2,
            "initial_state": randn(HEADS, KEYS, VALUES), "initial_A_state": randn(HEADS, KEYS).square(),
        }  # fmt: skip

    return draw


def precond_gated_delta_rule(**given: Any) -> Any:
    from fla.ops.precond_gated_delta_rule.naive import naive_recurrent_precond_gated_delta_rule

    return naive_recurrent_precond_gated_delta_rule(**given, output_final_state=True)


def precond_kda(**given: Any) -> Any:
    from fla.ops.precond_kda.naive import naive_recurrent_precond_kda

    given |= {name: F.normalize(given[name], dim=-1) for name in "qk"}
    return naive_recurrent_precond_kda(**given, output_final_state=True)


def draw_momentum(randn: Randn, time: int) -> Arguments:
    given = queries(randn, time)
    given |= {name: F.normalize(randn(time, HEADS, KEYS), dim=-1) for name in "kp"}
    given |= {name: decays(randn, time, HEADS) for name in ("log_alpha", "log_mu")}
    states = torch.stack([randn(HEADS, KEYS, VALUES), randn(HEADS, KEYS, VALUES)])
    beta, eta = randn(time, HEADS).sigmoid(), randn(time, HEADS).sigmoid()
    return {**given, "beta": beta, "eta": eta, "initial_state": states}


def momentum(initial_state: Tensor | None = None, **given: Any) -> Any:
    from fla.ops.momentum_delta_rule.naive import recurrent_momentum_delta_rule_ref

    S, M = (None, None) if initial_state is None else initial_state
    given["p"] = given["p"] * given["log_alpha"].exp().unsqueeze(-1)
    return recurrent_momentum_delta_rule_ref(**given, initial_S=S, initial_M=M, output_final_state=True)


def draw_slots(randn: Randn, time: int) -> Arguments:
    given = {**queries(randn, time), "s": randn(time, HEADS, SLOTS).sigmoid(), "g": decays(randn, time, HEADS, SLOTS)}
    return {**given, "keys": randn(HEADS, KEYS, SLOTS), "values": randn(HEADS, SLOTS, VALUES)}


def with_pair(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose two first states are one argument."""

    def run(keys: Tensor | None = None, values: Tensor | None = None, **given: Any) -> Any:
        options = {"initial_state": None if keys is None else (keys, values), "output_final_state": True}
        return function(**{**options, **given})

    return run


def gsa(**given: Any) -> Any:
    from fla.ops.gsa.naive import naive_recurrent_gsa

    return naive_recurrent_gsa(**given)


def draw_abc(randn: Randn, time: int) -> Arguments:
    given = {**queries(randn, time), "s": 2 * randn(time, HEADS, SLOTS)}
    return {**given, "keys": randn(HEADS, KEYS, SLOTS), "values": randn(HEADS, SLOTS, VALUES)}


def abc(**given: Any) -> Any:
    from fla.ops.abc.naive import naive_recurrent_abc

    o, states = naive_recurrent_abc(**{
        name: one.transpose(1, 2) if isinstance(one, Tensor) else one for name, one in given.items()
    })  # fmt: skip
    return o.transpose(1, 2), states


def abc_of_ours(**given: Any) -> Any:
    o, states = gated_slots.abc(**given)
    return o, states[:2]  # the third is not fla's


def lightnet(q: Tensor, k: Tensor, v: Tensor) -> Any:
    """No naive form in fla: keys are exp(k) over their sum so far, and so is what came before."""
    state, total, outputs = q.new_zeros(len(q), HEADS, KEYS, VALUES), q.new_zeros(len(q), HEADS, KEYS), []
    for t in range(q.shape[1]):
        before, total = total, total + k[:, t].exp()
        share = k[:, t].exp() / total
        state = (before / total).unsqueeze(-1) * state + share.unsqueeze(-1) * v[:, t].unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-2) @ state).squeeze(-2) * KEYS**-0.5)
    return torch.stack(outputs, 1), (state, total.log().unsqueeze(1))


def draw_rwkv6(randn: Randn, time: int) -> Arguments:
    given = queries(randn, time)
    u = randn(HEADS, KEYS)[0].detach()
    return {
        "r": given["q"], "k": given["k"], "v": given["v"], "w": decays(randn, time, HEADS, KEYS), "u": u,
        "initial_state": randn(HEADS, KEYS, VALUES),
    }  # fmt: skip


def rwkv6(r: Tensor, u: Tensor, initial_state: Tensor | None = None, **given: Any) -> Any:
    from fla.ops.rwkv6.recurrent_naive import naive_recurrent_rwkv6

    r, k, v, w = (one.transpose(1, 2) for one in (r, *(given[name] for name in "kvw")))
    state = None if initial_state is None else initial_state.clone()
    o, state = naive_recurrent_rwkv6(r, k, v, w, u, initial_state=state, output_final_state=True)
    return o.transpose(1, 2), state


def draw_hgrn(randn: Randn, time: int) -> Arguments:
    return {"x": randn(time, KEYS), "g": decays(randn, time, KEYS), "initial_state": randn(KEYS)}


def hgrn(**given: Any) -> Any:
    from fla.ops.hgrn.naive import naive_recurrent_hgrn

    return naive_recurrent_hgrn(**given, output_final_state=True)


def based(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    from fla.ops.based.naive import naive_parallel_based

    return naive_parallel_based(*(one.transpose(1, 2) for one in (q, k, v))).transpose(1, 2)


def rebased(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bihk,bjhk->bhij", q, k).square().tril() / KEYS
    return torch.einsum("bhij,bjhv,bhi->bihv", scores, v, 1 / (scores.sum(-1) + 1e-5))


def lightnet_of_fla(**given: Any) -> Any:
    """fla's own function, which calls others of ours."""
    install()
    from fla.ops.lightnet import chunk_lightnet

    return chunk_lightnet(**given)


def last_too(function: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    return lambda **given: function(**{**fixed, "output_final_state": True, **given})


FAMILIES = {
    "gated_delta_product": Family(
        last_too(delta_products.gated_delta_product, num_householder=2, scale=0.5), product, draw_product
    ),
    "comba": Family(last_too(delta_products.comba), comba, draw_comba),
    "gdn2": Family(last_too(delta_products.gdn2), gdn2, draw_gdn2),
    "precond_gated_delta_rule": Family(
        last_too(delta_products.precond_gated_delta_rule), precond_gated_delta_rule, draw_preconditioned(()),
        ("initial_state", "initial_A_state"),
    ),
    "precond_kda": Family(
        last_too(delta_products.precond_kda), precond_kda, draw_preconditioned((KEYS,)),
        ("initial_state", "initial_A_state"),
    ),
    "momentum_delta_rule": Family(
        last_too(delta_products.momentum_delta_rule, use_qk_l2norm_in_kernel=False), momentum, draw_momentum
    ),
    "gsa": Family(with_pair(gated_slots.gsa), with_pair(gsa), draw_slots, ("keys", "values")),
    "abc": Family(with_pair(abc_of_ours), with_pair(abc), draw_abc, ("keys", "values")),
    "lightnet": Family(last_too(lightnet_of_fla), lightnet, queries, ()),
    "rwkv6": Family(last_too(gated_rnns.rwkv6), rwkv6, draw_rwkv6),
    "hgrn": Family(last_too(gated_rnns.hgrn), hgrn, draw_hgrn),
    "based": Family(polynomials.based, based, queries, ()),
    "rebased": Family(polynomials.rebased, rebased, queries, ()),
}  # fmt: skip

NOT_PACKED = {"abc", "based", "momentum_delta_rule", "rebased"}  # not in fla either


def tensors_of(results: Any) -> list[Tensor]:
    if results is None:
        return []
    return [results] if isinstance(results, Tensor) else [one for part in results for one in tensors_of(part)]


def run(function: Callable[..., Any], given: Arguments) -> dict[str, Tensor]:
    """Outputs, last states, and the gradients of a loss on all of them."""
    leaves = {name: one.detach().clone().requires_grad_() for name, one in given.items()}
    results = tensors_of(function(**leaves))
    loss = sum((one * torch.linspace(-1, 2, one.numel(), dtype=one.dtype).view(one.shape)).sum() for one in results)
    grads = torch.autograd.grad(loss, list(leaves.values()))
    named = dict(zip(leaves, grads, strict=True))
    return {**{f"result {place}": one.detach() for place, one in enumerate(results)}, **named}


def draw(family: Family, time: int, with_states: bool) -> Arguments:
    generator = torch.Generator().manual_seed(time)
    given = family.draw(lambda *shape: torch.randn(BATCH, *shape, generator=generator), time)
    return given if with_states else {name: one for name, one in given.items() if name not in family.states}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("time", "with_states"), [(1, True), (7, False), (35, True)])
@pytest.mark.parametrize("name", FAMILIES)
def test_ours_agrees_with_flas_naive_function(name, time, with_states, dtype):
    """In float64 the recurrences run in PyTorch, in float32 in Numba."""
    family = FAMILIES[name]
    given = draw(family, time, with_states)
    expected = run(family.theirs, given)
    actual = run(family.ours, {name: one.to(dtype) for name, one in given.items()})
    assert actual.keys() == expected.keys()
    for part, wanted in expected.items():
        assert actual[part].dtype == dtype and actual[part].shape == wanted.shape, part
        assert (actual[part] - wanted).abs().max() <= TOLERANCE * wanted.abs().max().clamp(min=1), part


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "lightnet"])  # fla's code rounds its gates
def test_half_precision_is_computed_in_float32(name):
    family = FAMILIES[name]
    given = draw(family, 20, with_states=True)
    rounded = {key: one if key in family.states else one.bfloat16() for key, one in given.items()}
    expected = tensors_of(family.ours(**{key: one.float() for key, one in rounded.items()}))
    with torch.autocast("cpu", torch.bfloat16):
        outputs, *states = tensors_of(family.ours(**rounded))
    assert outputs.dtype == torch.bfloat16 and torch.equal(outputs, expected[0].bfloat16())
    assert all(one.dtype == torch.float32 for one in states)
    for actual, wanted in zip(states, expected[1:], strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in NOT_PACKED])
def test_packed_sequences_are_separate(name):
    family, ends = FAMILIES[name], [0, 5, 6, 13, 18, 24, 24]
    rows = [draw(family, max(1, stop - start), with_states=True) for start, stop in pairwise(ends)]
    shared = {key: one for key, one in rows[0].items() if key in ("u", "log_atk_scale")}
    rows = [{key: one[:1] for key, one in row.items() if key not in shared} for row in rows]
    *full, empty = rows
    expected = [tensors_of(family.ours(**row, **shared)) for row in full]
    packed = {key: torch.cat([row[key] for row in full], 0 if key in family.states else 1) for key in rows[0]}
    packed |= {key: torch.cat([packed[key], empty[key]]) for key in family.states}
    leaves = {key: one.requires_grad_() for key, one in packed.items()}
    grads, wanted = [], torch.cat([one[0] for one in expected], 1)
    for asks in (True, False):  # for the last states; without them shorter sequences are padded
        found = family.ours(**leaves, **shared, cu_seqlens=torch.tensor(ends), output_final_state=asks)
        outputs, *states = tensors_of(found)
        torch.testing.assert_close(outputs, wanted)
        for place, state in enumerate(states if asks else [], 1):
            torch.testing.assert_close(state[:-1], torch.cat([one[place] for one in expected]))
        for name, state in zip(family.states, states if asks else (), strict=False):
            torch.testing.assert_close(state[-1:], empty[name])
        grads.append(torch.autograd.grad(outputs.square().sum(), list(leaves.values()), materialize_grads=True))
    torch.testing.assert_close(grads[1], grads[0])
