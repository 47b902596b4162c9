"""fla's kinds of attention on a CPU, against loops over the queries in float64."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu import sums
from lit_retrieval.ops.fla_cpu.attention import (
    delta_former,
    flash,
    moba,
    nsa,
    parallax,
    path,
    softmax,
    stick_breaking,
    wall,
)
from lit_retrieval.ops.fla_cpu.attention_residuals import fused_attnres

HEADS, QUERY_HEADS, KEY_DIM, VALUE_DIM, BLOCK = 2, 4, 6, 5, 3
TOLERANCE = 2e-5  # float32 rounds to 6e-8; sums over 23 steps and softmax lose two digits
Inputs = dict[str, Tensor]


def make(time: int, *names: str, batch: int = 2) -> Inputs:
    """Random inputs of float64 by the names of fla's arguments."""
    generator = torch.Generator().manual_seed(time)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, time, *shape, generator=generator, dtype=torch.float64)

    drawn = {
        "q": draw(QUERY_HEADS, KEY_DIM),
        "k": draw(HEADS, KEY_DIM),
        "v": draw(HEADS, VALUE_DIM),
        "r": draw(QUERY_HEADS, KEY_DIM) / 3,
        "g": -draw(QUERY_HEADS).abs() / 4,
        "w": torch.nn.functional.normalize(draw(HEADS, KEY_DIM), dim=-1),
        "beta": draw(HEADS).sigmoid() * 2,
        "decay": -draw(QUERY_HEADS, KEY_DIM).abs() / 4,
        "g_cmp": draw(QUERY_HEADS).sigmoid(),
        "g_slc": draw(QUERY_HEADS).sigmoid(),
        "g_swa": draw(QUERY_HEADS).sigmoid(),
        "sink": torch.randn(QUERY_HEADS, generator=generator, dtype=torch.float64),
    }
    return {name: drawn[name] for name in names}


def grouped(x: Tensor) -> Tensor:
    return x.repeat_interleave(QUERY_HEADS // HEADS, 2)


def by_query(q: Tensor, see: Callable[[int], tuple[Tensor, Tensor]]) -> Tensor:
    """Stack the outputs of all queries; `see(i)` gives the weights `(batch, heads, keys)` and the values."""
    pairs = (see(i) for i in range(q.shape[1]))
    return torch.stack([torch.einsum("bhj,bjhd->bhd", weights, values) for weights, values in pairs], 1)


def softmax_loop(q, k, v, g=None, sink=None, window=None, scale=KEY_DIM**-0.5):
    k, v = grouped(k), grouped(v)

    def see(i: int) -> tuple[Tensor, Tensor]:
        first = 0 if window is None else max(0, i - window + 1)
        scores = torch.einsum("bhd,bjhd->bhj", q[:, i], k[:, first : i + 1]) * scale
        if g is not None:
            scores = scores + torch.stack([g[:, j + 1 : i + 1].sum(1) for j in range(first, i + 1)], -1)
        exp, rest = scores.exp(), 0 if sink is None else sink.exp()[:, None]
        return exp / (exp.sum(-1, keepdim=True) + rest), v[:, first : i + 1]

    return by_query(q, see)


def parallax_loop(q, r, k, v, window=None):
    k, v = grouped(k), grouped(v)

    def see(i: int) -> tuple[Tensor, Tensor]:
        first = 0 if window is None else max(0, i - window + 1)
        exp = (torch.einsum("bhd,bjhd->bhj", q[:, i], k[:, first : i + 1]) * KEY_DIM**-0.5).exp()
        second = exp * torch.einsum("bhd,bjhd->bhj", r[:, i], k[:, first : i + 1])
        d1, d2 = exp.sum(-1, keepdim=True), second.sum(-1, keepdim=True)
        return exp / d1 * (1 + d2 / d1) - second / d1, v[:, first : i + 1]

    return by_query(q, see)


def stick_loop(q, k, v, attend_current=False):
    k, v = grouped(k), grouped(v)

    def see(i: int) -> tuple[Tensor, Tensor]:
        share = (torch.einsum("bhd,bjhd->bhj", q[:, i], k) * KEY_DIM**-0.5).sigmoid()
        weights, left = [torch.zeros_like(share[..., 0]) for _ in range(k.shape[1])], torch.ones_like(share[..., 0])
        for j in range(i if attend_current else i - 1, -1, -1):
            weights[j], left = share[..., j] * left, left * (1 - share[..., j])
        return torch.stack(weights, -1), v

    return by_query(q, see)


def delta_loop(q, k, v, beta):
    q, u = q[:, :, ::2], []
    for i in range(q.shape[1]):
        if i == 0:
            u.append(v[:, 0])
            continue
        weights = (torch.einsum("bhd,bjhd->bhj", q[:, i], k[:, :i]) * KEY_DIM**-0.5).softmax(-1)
        read = torch.einsum("bhj,bjhd->bhd", weights, torch.stack(u, 1))
        u.append(v[:, i] - beta[:, i, :, None] * read)
    values = torch.stack(u, 1)

    def see(i: int) -> tuple[Tensor, Tensor]:
        scores = torch.einsum("bhd,bjhd->bhj", q[:, i], k[:, : i + 1]) * KEY_DIM**-0.5
        return scores.softmax(-1), values[:, : i + 1]

    return by_query(q, see)


def path_loop(q, k, v, w, beta, g=None):
    k, v, w, beta, seen = grouped(k), grouped(v), grouped(w), grouped(beta), []

    def see(i: int) -> tuple[Tensor, Tensor]:
        for j, key in enumerate(seen):
            seen[j] = key - beta[:, i, :, None] * (w[:, i] * key).sum(-1, keepdim=True) * w[:, i]
        seen.append(k[:, i])
        scores = torch.einsum("bhd,bjhd->bhj", q[:, i], torch.stack(seen, 1))
        if g is not None:
            scores = scores + torch.stack([g[:, j + 1 : i + 1].sum(1) for j in range(i + 1)], -1)
        return (scores * KEY_DIM**-0.5).softmax(-1), v[:, : i + 1]

    return by_query(q, see)


def wall_loop(q, k, v, decay, g=None, sink=None, window=None):
    k, v = grouped(k), grouped(v)

    def see(i: int) -> tuple[Tensor, Tensor]:
        first = 0 if window is None else max(0, i - window + 1)
        after = torch.stack([decay[:, j + 1 : i + 1].sum(1).exp() for j in range(first, i + 1)], 1)
        scores = torch.einsum("bhd,bjhd->bhj", q[:, i], k[:, first : i + 1] * after) * KEY_DIM**-0.5
        if g is not None:
            scores = scores + torch.stack([g[:, j + 1 : i + 1].sum(1) for j in range(first, i + 1)], -1)
        exp, rest = scores.exp(), 0 if sink is None else sink.exp()[:, None]
        return exp / (exp.sum(-1, keepdim=True) + rest), v[:, first : i + 1]

    return by_query(q, see)


def moba_loop(q, k, v, others):
    means = [k[:, start : start + BLOCK].mean(1) for start in range(0, k.shape[1], BLOCK)]
    k, v = grouped(k), grouped(v)

    def see(i: int) -> tuple[Tensor, Tensor]:
        own, scores = i // BLOCK, torch.einsum("bhd,bjhd->bhj", q[:, i], k[:, : i + 1]) * KEY_DIM**-0.5
        mask = torch.zeros_like(scores, dtype=torch.bool)
        mask[..., own * BLOCK :] = True
        for b in range(len(q)):
            for h in range(QUERY_HEADS):
                gates = [float(q[b, i, h].detach() @ means[c][b, h // 2].detach()) for c in range(own)]
                for c in sorted(range(own), key=lambda c: -gates[c])[:others]:
                    mask[b, h, c * BLOCK : (c + 1) * BLOCK] = True
        return scores.masked_fill(~mask, -torch.inf).softmax(-1), v[:, : i + 1]

    return by_query(q, see)


def nsa_loop(q, k, v, g_cmp, g_slc, g_swa, count=4, window=4):
    starts = range(0, k.shape[1], BLOCK)
    k_means, v_means = (torch.stack([one[:, s : s + BLOCK].mean(1) for s in starts], 1) for one in (k, v))

    def means(i: int) -> tuple[Tensor, Tensor]:
        whole = (i + 1) // BLOCK
        scores = torch.einsum("bhd,bjhd->bhj", q[:, i], grouped(k_means[:, :whole])) * KEY_DIM**-0.5
        return scores.softmax(-1), grouped(v_means[:, :whole])

    def chosen(i: int) -> tuple[Tensor, Tensor]:
        own, weights = i // BLOCK, means(i)[0].detach().unflatten(1, (HEADS, -1)).mean(2)
        mask = torch.zeros(len(q), HEADS, i + 1, dtype=torch.bool)
        for b in range(len(q)):
            for h in range(HEADS):
                forced = list(dict.fromkeys(c for c in (own, own - 1, 0) if c >= 0))
                free = sorted((c for c in range(own) if c not in forced), key=lambda c: -float(weights[b, h, c]))
                for c in (forced + free)[:count]:
                    mask[b, h, c * BLOCK : (c + 1) * BLOCK] = True
        scores = torch.einsum("bhd,bjhd->bhj", q[:, i], grouped(k)[:, : i + 1]) * KEY_DIM**-0.5
        hidden = ~mask.repeat_interleave(QUERY_HEADS // HEADS, 1)
        return scores.masked_fill(hidden, -torch.inf).softmax(-1), grouped(v)[:, : i + 1]

    o = by_query(q, means) * g_cmp[..., None] + by_query(q, chosen) * g_slc[..., None]
    return o + softmax_loop(q, k, v, window=window) * g_swa[..., None]


def run_moba(q, k, v, cu_seqlens=None, topk=3):
    rows, time = q.shape[:2]
    bounds = torch.arange(0, rows * time + 1, time) if cu_seqlens is None else cu_seqlens
    packed = (one.flatten(0, 1).unsqueeze(0) for one in (q, k, v))
    return moba.parallel_moba(*packed, bounds, time, BLOCK, topk).view(rows, time, QUERY_HEADS, -1)


def run_wall(q, k, v, decay, g=None, sink=None, **options):
    return wall.parallel_wall_attn(q, k, v, decay, g_scalar=g, sink_bias=sink, **options)


QKV, GATES = ("q", "k", "v"), ("g_cmp", "g_slc", "g_swa")
Kind = tuple[tuple[str, ...], Callable[..., Any], Callable[..., Tensor]]
KINDS: dict[str, Kind] = {
    "softmax": (QKV, softmax.parallel_attn, softmax_loop),
    "window": (QKV, partial(softmax.parallel_attn, window_size=4), partial(softmax_loop, window=4)),
    "scale": (QKV, partial(softmax.parallel_attn, scale=0.3), partial(softmax_loop, scale=0.3)),
    "sink": (
        (*QKV, "sink"),
        lambda q, k, v, sink, cu_seqlens=None: softmax.parallel_attn(q, k, v, cu_seqlens=cu_seqlens, sink_bias=sink),
        lambda q, k, v, sink: softmax_loop(q, k, v, sink=sink),
    ),
    "sink, window and decay": (
        (*QKV, "g", "sink"),
        lambda q, k, v, g, sink, cu_seqlens=None: softmax.parallel_attn(
            q, k, v, g, None, 5, cu_seqlens, sink_bias=sink
        ),
        partial(softmax_loop, window=5),
    ),
    "forgetting": ((*QKV, "g"), softmax.parallel_forgetting_attn, softmax_loop),
    "parallax": (("q", "r", "k", "v"), parallax.parallel_parallax, parallax_loop),
    "parallax, window": (
        ("q", "r", "k", "v"),
        partial(parallax.parallel_parallax, window_size=4),
        partial(parallax_loop, window=4),
    ),
    "stick": (QKV, lambda *a, **o: stick_breaking.parallel_stickbreaking_attn(*a, **o)[0], stick_loop),
    "stick, own key": (
        QKV,
        lambda *a, **o: stick_breaking.parallel_stickbreaking_attn(*a, attend_current=True, **o)[0],
        partial(stick_loop, attend_current=True),
    ),
    "delta": (
        (*QKV, "beta"),
        lambda q, k, v, beta, **o: delta_former.deltaformer_attn(q[:, :, ::2], k, v, beta, **o),
        delta_loop,
    ),
    "PaTH": ((*QKV, "w", "beta"), lambda *a, **o: path.parallel_path_attn(*a, **o)[0], path_loop),
    "PaTH, decay": ((*QKV, "w", "beta", "g"), lambda *a, **o: path.parallel_path_attn(*a, **o)[0], path_loop),
    "wall": ((*QKV, "decay"), run_wall, wall_loop),
    "wall, all": ((*QKV, "decay", "g", "sink"), partial(run_wall, window_size=5), partial(wall_loop, window=5)),
    "MoBA": (QKV, run_moba, partial(moba_loop, others=2)),
    "MoBA, all keys": (QKV, partial(run_moba, topk=1), softmax_loop),
    "NSA": (
        (*QKV, *GATES),
        partial(nsa.parallel_nsa, block_counts=4, block_size=BLOCK, window_size=4),
        nsa_loop,
    ),
}


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch) -> Iterator[str]:
    monkeypatch.setattr(path, "_CHUNK", 4)
    monkeypatch.setattr(wall, "_BLOCK", 4)
    return request.param


def with_gradients(run: Callable[..., Tensor], inputs: Inputs) -> dict[str, Tensor]:
    """The output, and the gradients of all inputs for a loss with other weights for each number."""
    leaves = {name: one.clone().requires_grad_() for name, one in inputs.items()}
    o = run(*leaves.values())
    weights = torch.linspace(-1, 2, o.numel(), dtype=torch.float64).view(o.shape)
    grads = torch.autograd.grad(o, list(leaves.values()), weights.to(o.dtype), materialize_grads=True)
    return {"output": o.detach()} | dict(zip(leaves, grads, strict=True))


def assert_near(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = TOLERANCE) -> None:
    assert actual.keys() == expected.keys()
    for part, wanted in expected.items():
        distance = (actual[part] - wanted).abs().max() / max(1.0, float(wanted.abs().max()))
        assert distance <= tolerance, (part, float(distance))


@pytest.mark.parametrize("time", [1, 2, 23])
def test_outputs_and_gradients_are_those_of_a_loop(kind, time):
    names, ours, loop = KINDS[kind]
    inputs = make(time, *names)
    expected = with_gradients(loop, inputs)
    assert_near(with_gradients(ours, inputs), expected, 1e-10)
    assert_near(with_gradients(ours, {name: one.float() for name, one in inputs.items()}), expected)


@pytest.mark.parametrize("bounds", [[0, 1, 8, 19], [0, 6, 12, 18]], ids=["uneven", "even"])
def test_packed_rows_are_their_parts(kind, bounds):
    names, ours, loop = KINDS[kind]
    inputs = make(bounds[-1], *names, batch=1)

    def loops(*tensors: Tensor) -> Tensor:
        parts = [[one if one.dim() == 1 else one[:, a:b] for one in tensors] for a, b in pairwise(bounds)]
        return torch.cat([loop(*part) for part in parts], 1)

    packed = partial(ours, cu_seqlens=torch.tensor(bounds, dtype=torch.int32))
    assert_near(with_gradients(packed, inputs), with_gradients(loops, inputs), 1e-10)


def test_half_precision_is_computed_in_float32(kind):
    names, ours, _ = KINDS[kind]
    half = {name: one.bfloat16() for name, one in make(23, *names).items()}
    exact = ours(*(one.float() for one in half.values()))
    with torch.autocast("cpu", torch.bfloat16):
        actual = ours(*half.values())
    assert actual.dtype == torch.bfloat16
    torch.testing.assert_close(actual, exact.bfloat16(), rtol=0, atol=1e-2)


def last(x: Tensor, count: int) -> Tensor:
    return x[:, -count:]


@pytest.mark.parametrize("count", [1, 5])
def test_the_last_queries_are_those_of_the_whole(count):
    """Decoding: the queries of a part, and the keys of all steps so far."""
    inputs = make(23, "q", "r", "k", "v", *GATES)
    q, r, k, v, *gates = inputs.values()
    choose = partial(nsa.parallel_nsa, block_counts=4, block_size=BLOCK, window_size=4)
    for whole, part in (
        (flash.flash_attn_func(q, k, v, causal=True), flash.flash_attn_func(last(q, count), k, v, causal=True)),
        (
            flash.flash_attn_func(q, k, v, causal=True, window_size=(3, 0)),
            flash.flash_attn_func(last(q, count), k, v, causal=True, window_size=(3, 0)),
        ),
        (
            parallax.parallel_parallax(q, r, k, v, window_size=6),
            parallax.parallax_decode(last(q, count), last(r, count), k, v, window_size=6),
        ),
        (choose(q, k, v, *gates), choose(last(q, count), k, v, *(last(one, count) for one in gates))),
    ):
        torch.testing.assert_close(part, last(whole, count))


def test_one_step_of_decoding_has_a_query_for_each_sequence():
    q, k, v, g = make(19, "q", "k", "v", "g", batch=1).values()
    bounds = [0, 1, 8, 8, 19]
    o = softmax.attn_decoding_one_step(
        q[:, :4], k, v, g, cu_seqlens=torch.tensor(bounds), do_gate_scale=True, window_size=6
    )
    for row, (start, stop) in enumerate(pairwise(bounds)):
        keys = (one[:, start:stop] for one in (k, v, g * KEY_DIM**-0.5))
        queries = q[:, row].unsqueeze(1).expand(-1, stop - start, -1, -1)
        expected = softmax_loop(queries, *keys, window=6)[:, -1] if stop > start else torch.zeros(1, 4, VALUE_DIM)
        torch.testing.assert_close(o[:, row], expected.double())


def test_a_sink_takes_part_where_there_are_no_keys():
    q, k, v, sink = make(3, "q", "k", "v", "sink", batch=1).values()
    o = softmax.attn_decoding_one_step(q[:, :2], k, v, cu_seqlens=torch.tensor([0, 0, 3]), sink_bias=sink)
    torch.testing.assert_close(o[:, 1:], softmax_loop(q[:, 1:2].expand(-1, 3, -1, -1), k, v, sink=sink)[:, -1:])
    assert o[:, 0].abs().max() == 0


def test_a_parallax_query_of_padding_gives_zeros():
    q, r, k, v = make(7, "q", "r", "k", "v").values()
    o = parallax.parallax_decode(q, r, k, v, cache_start=torch.tensor([0, 3]))
    assert o[1, :3].abs().max() == 0
    torch.testing.assert_close(o[1, 3:], parallax.parallel_parallax(q[1:, 3:], r[1:, 3:], k[1:, 3:], v[1:, 3:])[0])


def test_wall_attention_forgets_at_once_without_overflow():
    inputs = make(21, "q", "k", "v", "decay")
    inputs["decay"] = 400 * inputs["decay"]
    assert_near(
        with_gradients(run_wall, {name: one.float() for name, one in inputs.items()}), with_gradients(wall_loop, inputs)
    )


@pytest.mark.parametrize("size", [4, 64])
def test_wall_attention_decodes_from_flas_cache(size):
    q, k, v, decay, g, sink = make(23, "q", "k", "v", "decay", "g", "sink").values()
    total, scalar = (one.cumsum(1) * 1.4426950408889634 for one in (decay, g))
    anchors = total[:, ::size]
    scaled = grouped(k) * torch.exp2(anchors.repeat_interleave(size, 1)[:, :23] - total)
    o, _ = wall.parallel_wall_attn_decode(
        last(q, 5), v, last(total, 5), scaled, anchors, sink, KEY_DIM**-0.5, size, scalar, window_size=9
    )
    torch.testing.assert_close(o, last(wall_loop(q, k, v, decay, g, sink, window=9), 5))


@pytest.mark.parametrize("bounds", [[0, 7], [0, 1, 7]])
def test_sums_and_means_begin_again_in_each_part(bounds):
    x, packed = make(7, "k", batch=1)["k"], torch.tensor(bounds)
    parts = [x[:, a:b] for a, b in pairwise(bounds)]
    total = sums.chunk_global_cumsum(x, reverse=True, cu_seqlens=packed, scale=2.0, output_dtype=None)
    expected = [2 * torch.stack([part[:, i:].sum(1) for i in range(part.shape[1])], 1) for part in parts]
    torch.testing.assert_close(total, torch.cat(expected, 1))
    means = [part[:, i : i + BLOCK].mean(1) for part in parts for i in range(0, part.shape[1], BLOCK)]
    torch.testing.assert_close(sums.mean_pooling(x, BLOCK, packed), torch.stack(means, 1))


def test_deltaformer_has_a_mask_over_corrected_values():
    q, k, v, beta = make(9, "q", "k", "v", "beta").values()
    q, mask = q[:, :, ::2], torch.ones(2, 9)
    mask[1, 6:] = 0
    whole = delta_former.deltaformer_attn(q, k, v, beta)
    masked = delta_former.deltaformer_attn(q, k, v, beta, attention_mask=mask)
    torch.testing.assert_close(masked[:, :6], whole[:, :6])
    assert masked[1, 6:].abs().max() == 0


def test_nsa_takes_a_count_for_each_query_and_counts_a_block_twice_that_is_given_twice():
    q, k, v = make(9, *QKV).values()
    blocks = torch.tensor([0, 1, 1]).expand(2, 9, HEADS, 3)
    run = partial(nsa.parallel_nsa, q, k, v, block_size=BLOCK)
    counts = torch.full((2, 9, HEADS), 2)
    once = run(block_indices=blocks, block_counts=counts)
    torch.testing.assert_close(once, run(block_indices=blocks[..., :2], block_counts=2))
    twice = run(block_indices=blocks, block_counts=3)
    assert (twice[:, 6:] - once[:, 6:]).abs().max() > 1e-3
    torch.testing.assert_close(twice[:, :3], once[:, :3])
    half = nsa.parallel_nsa_fwd(q, k, v, blocks, 3, BLOCK, KEY_DIM**-0.5)
    torch.testing.assert_close(half[0], twice)


def test_what_has_no_form_is_refused_by_name():
    q, k, v = make(4, *QKV).values()
    for match, run in {
        "multiple": lambda: softmax.parallel_attn(q[:, :, :3], k, v),
        "batch size is expected to be 1": lambda: softmax.parallel_attn(q, k, v, cu_seqlens=torch.tensor([0, 4])),
        "rise from 0 to the number of tokens, 4": lambda: softmax.parallel_attn(
            q[:1], k[:1], v[:1], cu_seqlens=torch.tensor([0, 3])
        ),
        "dropout_p=0.5": lambda: flash.flash_attn_func(q, k, v, 0.5, causal=True),
        "causal=False": lambda: flash.flash_attn_func(q, k, v),
        "softcap=2.0": lambda: flash.flash_attn_func(q, k, v, causal=True, softcap=2.0),
        "block_indices": lambda: nsa.parallel_nsa(q, k, v),
        "g_swa": lambda: nsa.parallel_nsa(q, k, v, q[..., 0], window_size=2),
        "same heads": lambda: delta_former.deltaformer_attn(q, k, v),
        "one step": lambda: parallax.parallax_decode_one_step(q, q, k, v),
        "cu_seqlens must be given": lambda: softmax.attn_decoding_one_step(q, k, v),
    }.items():
        with pytest.raises(UserError, match=match):
            run()


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_attention_residuals_are_a_mean_weighted_by_normed_products(scale):
    one, two, weight, query = (make(5, "k")["k"] for _ in range(4))
    weight, query, both = weight[0, 0, 0], query[1, 0, 1], torch.stack([one, two.flip(1)])
    logits = (both / (both.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight * query * scale).sum(-1)
    weights = logits.exp() / logits.exp().sum(0)
    expected = (weights[..., None] * both).sum(0)
    mean, found = fused_attnres(query[:, None], list(both), weight, scale=scale, return_weights=True)
    torch.testing.assert_close((mean, found), (expected, weights))
    normed = fused_attnres(query.float(), list(both.bfloat16()), weight.float(), 2 * weight.float(), scale=scale)
    expected = 2 * weight * expected / (expected.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    assert normed.dtype == torch.bfloat16
    torch.testing.assert_close(normed.double(), expected, rtol=0, atol=5e-2)
