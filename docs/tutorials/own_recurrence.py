# %% [markdown]
# # A recurrence of your own, from equation to frontier
#
# You have an equation for a recurrence, and ask: what can it recall, for how much memory? This notebook goes the whole
# way: equation, code, checks, training, bits of state, and how far it is from what any memory of its size could do.
#
# ## The equation
#
# The state is a matrix S, an associative memory: read at a key k, it gives the value `S^T k`. At each token, the memory
# is read at the key of the token *before*, and corrected towards the value of this token, the more the larger the rate
# b is:
#
# ```text
# S_t = S_{t-1} + b_t k_{t-1} (v_t - S_{t-1}^T k_{t-1})^T
# o_t = S_t^T k_t
# ```
#
# So after `k5 v1` the key of `k5` leads to the value of `v1`, and when `k5` comes again, the output has it. The
# correction is the delta rule ([arXiv:2102.11174](https://arxiv.org/abs/2102.11174)): a second `k5 v3` overwrites the
# first.

# %%
import copy
import os
from math import log2
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import normalize

import lit_retrieval
from lit_retrieval.tasks import MQAR, AssociativeRecall
from lit_retrieval.training import ceiling

SMALL = "TUTORIAL_SMALL" in os.environ  # a few steps, to test this notebook
STEPS, SAMPLES, DIMS = (4, 8, [2, 4]) if SMALL else (400, 500, [2, 4, 8, 16, 32])

# %% [markdown]
# ## The code
#
# A layer is an `nn.Module`. Its `forward` takes one or more tokens and the state before them, and returns the outputs
# and the state after them: so one method serves training, reading a prompt, and a single step. The state here has two
# parts, the last key and the matrix. `state_size` says how many elements that is.
#
# A loop over time in Python would be slow. `linear_recurrence` runs many recurrences of this kind, with kernels for CPU
# and GPU; ours is the one that reads with `-b k` and writes with `k`. (Its arguments have heads; ours has one.)
#
# The class is in a file, so that a configuration can name it: `memory.Memory`.

# %% memory.py
import torch
from torch import nn
from torch.nn.functional import normalize

from lit_retrieval.ops import linear_recurrence


class Memory(nn.Module):
    """Stores the value of each token behind the key of the token before."""

    def __init__(self, hidden_size, layer_idx, dim=16):
        super().__init__()
        self.dim = dim
        self.key = nn.Linear(hidden_size, dim)
        self.value = nn.Linear(hidden_size, dim)
        self.rate = nn.Linear(hidden_size, 1)
        self.out = nn.Linear(dim, hidden_size)

    def forward(self, x, state=None):  # x is (batch, time, hidden_size)
        keys, values, rate = normalize(self.key(x), dim=-1), self.value(x), self.rate(x).sigmoid()
        last, matrix = (torch.zeros_like(keys[:, :1]), None) if state is None else state
        before = torch.cat([last, keys[:, :-1]], 1)
        q, k, v, b = (one.unsqueeze(2) for one in (keys, before, values, rate))
        outputs, matrix = linear_recurrence(q, k, v, read=-b * k, write=k, rate=b, state=matrix)
        return self.out(outputs.squeeze(2).to(x.dtype)), (keys[:, -1:], matrix)

    def state_size(self, length):  # elements of one sample's state after `length` tokens
        return self.dim * self.dim + self.dim


# %% [markdown]
# ## Is it the equation?
#
# The surest test is a second version that is too simple to be wrong: the equation, step by step, in float64. Outputs,
# state and gradients must agree up to the rounding of float32.


# %%
def naive(layer, x):
    """One sample, `(time, hidden_size)`: the equation as it is written above."""
    k, v, b = normalize(layer.key(x), dim=-1), layer.value(x), layer.rate(x).sigmoid()
    S, before, outputs = x.new_zeros(layer.dim, layer.dim), x.new_zeros(layer.dim), []
    for t in range(len(x)):
        S = S + b[t] * torch.outer(before, v[t] - S.T @ before)
        before = k[t]
        outputs.append(S.T @ k[t])
    return layer.out(torch.stack(outputs)), S


# %%
from memory import Memory

torch.manual_seed(0)
fast = Memory(hidden_size=32, layer_idx=0, dim=8)
exact = copy.deepcopy(fast).double()
x = torch.randn(1, 45, 32)
outputs, (_, matrix) = fast(x)
right, right_matrix = naive(exact, x[0].double())
outputs.square().mean().backward()
right.square().mean().backward()

print(f"outputs   {(outputs[0] - right).abs().max():.1e}")
print(f"state     {(matrix[0, 0] - right_matrix).abs().max():.1e}")
for name, weight in fast.named_parameters():
    print(f"gradient  {(weight.grad - exact.get_parameter(name).grad).abs().max():.1e}  {name}")

# %% [markdown]
# ## Is it a layer?
#
# A layer that computes the right outputs may still be unfit for training or decoding: it may look at later tokens, or
# forget a part of its state between two calls. One command checks all rules, and shows a number for each.

# %%
# !python -m lit_retrieval.mixers check memory.Memory --hidden_size 32

# %% [markdown]
# ## The first training: MQAR
#
# Multi-query associative recall lists pairs of a key and a value. Later each key comes again, and the model is asked
# for its value (in braces: the answer stands beside the user's word, not in the text).

# %%
print(MQAR(vocab_size=32, num_kv_pairs=8).example(32, "vanilla"))

# %% [markdown]
# A model is a YAML: one of our layers, a feed-forward layer, and how fast it learns.


# %%
def write_model(dim):
    path = Path(f"memory_{dim}.yaml")
    path.write_text(f"""
hidden_size: 32
embedding: learned
stages:
  - mixers:
      - {{class_path: memory.Memory, init_args: {{dim: {dim}}}}}
      - {{class_path: lit_retrieval.mixers.SwiGLU}}
learning_rate: 1.0e-2
warmup_samples: 960
""")
    return path


def train(dim, data):
    steps = f"--trainer.max_steps {STEPS} --trainer.val_check_interval {STEPS // 2} --data.val_samples {SAMPLES}"
    return lit_retrieval.fit(f"--config quickstart --model {write_model(dim)} {data} --data.batch_size 64 {steps}")


PAIRS = "--data.task lit_retrieval.tasks.MQAR --data.task.vocab_size 32 --data.task.num_kv_pairs 8"
run = train(16, f"{PAIRS} --data.sizes [32] --data.regime vanilla")
print("closed-loop accuracy", run.score(SAMPLES))

# %% [markdown]
# A memory of 16 keys has room for 8 pairs, and it learns to use it.
#
# ## How many bits?
#
# A run counts what its model carries from token to token: elements, and bits in its number format.

# %%
print(f"{run.model.state_size(32):,} elements, {run.model.state_bits(32):,} bits")

# %% [markdown]
# To find the limit of a memory, ask it for something that can't be compressed. In a *random-access code* each of n keys
# has a random bit, and any may be asked for: that is n bits to remember, however clever the model is.

# %%
print(AssociativeRecall(num_keys=32, num_values=2, distribution="random_access_code").example(64, "vanilla"))

# %% [markdown]
# For this task there is a theorem. A memory of M bits answers any one of n random bits with a probability of at most
# `H^-1(1 - M/n)`, where H is the entropy of a coin (Theorem 4.6 of
# [arXiv:2402.18510](https://arxiv.org/abs/2402.18510)). A chain of thought does not raise it. A search does.
#
# So we train the layer at several sizes on a code of 32 bits, and the smallest but one again with a search.

# %%
CODE = "--data.task lit_retrieval.tasks.AssociativeRecall --data.task.distribution random_access_code"
CODE += " --data.task.num_keys 32 --data.task.num_values 2 --data.task.num_queries 8"
CODE += " --data.sizes [16,32,64] --data.eval_sizes [64]"
memories = {dim: train(dim, f"{CODE} --data.regime vanilla") for dim in DIMS}
searching = train(4, f"{CODE} --data.regime retrieval")

# %% [markdown]
# ## The frontier

# %%
accuracy = {dim: run.score(SAMPLES) for dim, run in memories.items()}
bits = {dim: run.model.state_bits(64) for dim, run in memories.items()}

figure, axes = plt.subplots(figsize=(6.5, 3.8))
few = np.linspace(1, 32, 100)
axes.plot(few, [ceiling(M, 32) for M in few], color="black", label="ceiling of any memory")
axes.plot([32, max(bits.values())], [1, 1], color="black")
axes.plot(bits.values(), accuracy.values(), "o-", color="#d55e00", label="our memory")
for dim in DIMS:
    axes.annotate(f"dim {dim}", (bits[dim], accuracy[dim] - 0.04), fontsize=8)
axes.plot(searching.model.state_bits(64), searching.score(SAMPLES), "*", color="#e8604c", ms=14, label="with a search")
axes.axhline(0.5, color="gray", linestyle=":", label="guess")
axes.set(xscale="log", xlabel="bits of state", ylabel="closed-loop accuracy", ylim=(0.4, 1.05))
axes.legend(loc="lower left", fontsize=8)
plt.show()

# %% [markdown]
# The picture has two messages. With a search, a small memory is enough. Without one, ours needs far more bits than the
# theory asks for: a state of 32 bits could be right always, in principle. (Each point is one training with one seed, so
# small differences, such as that of dim 2 and dim 4, say little.)
#
# How many bits does it use? Read the ceiling the other way round: an accuracy of p on n bits needs a memory of at least
# `n (1 - H(p))` bits.


# %%
def bits_needed(p, n=32):
    return n * (1 + sum(q * log2(q) for q in (p, 1 - p) if q > 0)) if p > 0.5 else 0.0


for dim in DIMS:
    print(f"dim {dim:2}: {bits[dim]:6,} bits of state, accuracy {accuracy[dim]:.3f}", end=", ")
    print(f"at least {bits_needed(accuracy[dim]):4.1f} bits used")

# %% [markdown]
# The layer uses at most about one bit for each direction that its keys can have. There are `dim` directions, and each
# has a row of `dim` numbers in float32, but a linear memory stores only one value well in a row. This is what a better
# recurrence would improve.
#
# ## Beside other recurrences
#
# Is it good? One training at one learning rate does not tell. In a checkout, one command trains your layer in the same
# model as others, with the same parameters and bits of state, at three learning rates and two seeds, on seven suites
# with frozen test samples:
#
# ```bash
# python tools/compare.py memory.Memory
# python tools/compare.py page compare/*/laptop.csv -o compare.html
# ```
#
# The first takes half an hour on two cores, and may be stopped and started again; the second writes a page with the
# table, the layers that differ with significance, and the frontier. [Recurrences compared](../compare.md) has the
# rules, and [Results](../results.md) what is known.
#
# ## Next
#
# - [A pretrained model that searches](pretrained_search.ipynb): the search with a language model and plain text.
# - [Layers](../layers.md): every layer of flash-linear-attention, for the same YAML.
# - [Steps](../../AGENTS.md): a layer for the package itself, and a kernel for it.
