"""Prints, as JSON, how far MesaNet by fla's kernels, as on a GPU, is from MesaNet on a CPU, relative to its norm.

Run with TRITON_INTERPRET=1: Triton's interpreter runs the kernels on a CPU. The loss is as small as a mean over many
tokens.
"""

import json

import torch
from fla_interpreted import prepare_fla
from torch import Tensor
from torch.nn import functional as F

BATCH, TIME, HEADS, DIM = 1, 70, 2, 16
SMALL = 1e-4
NAMES = ("o", "h_kk", "h_kv", "q", "k", "v", "g", "beta", "lamb", "h_kk_init", "h_kv_init")


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    q, k, v = (draw(BATCH, TIME, HEADS, DIM) for _ in range(3))
    g, beta = F.logsigmoid(2 * draw(BATCH, TIME, HEADS)), draw(BATCH, TIME, HEADS).sigmoid()
    lamb, half, h_kv = (
        F.softplus(draw(HEADS, DIM)) + 0.25,
        draw(BATCH, HEADS, DIM, 2 * DIM),
        draw(BATCH, HEADS, DIM, DIM),
    )
    return [q, k, v, g, beta, lamb, half @ half.mT / DIM, h_kv]


def main() -> None:
    prepare_fla()
    from lit_retrieval.ops.fla_cpu.mesa_net import mesa_net, mesa_net_by_fla, mesa_net_step, mesa_net_step_by_fla

    results = []
    for run in (mesa_net, mesa_net_by_fla):
        leaves = [one.requires_grad_() for one in inputs()]
        o, *states = run(*leaves, output_final_state=True, use_qk_l2norm_in_kernel=True)
        weights = torch.linspace(-1, 1, o.numel()).view(o.shape)
        loss = SMALL * ((o * weights).sum() + sum(one.sin().sum() for one in states))
        results.append([o, *states, *torch.autograd.grad(loss, leaves)])
    q, k, v, g, beta, lamb, h_kk, h_kv = inputs()
    for run, result in zip((mesa_net_step, mesa_net_step_by_fla), results, strict=True):
        result += run(q[:, 0], F.normalize(k[:, 0], dim=-1), v[:, 0], g[:, 0], lamb, beta[:, 0], h_kk, h_kv)
    names = (*NAMES, "one step's o", "one step's h_kk", "one step's h_kv")
    off = {
        name: float((found - wanted).norm() / wanted.norm())
        for name, wanted, found in zip(names, *results, strict=True)
    }
    print(json.dumps(off))


if __name__ == "__main__":
    main()
