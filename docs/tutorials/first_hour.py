# %% [markdown]
# # The first hour
#
# A recurrent model reads a text once, from left to right, and keeps what it can in a state of fixed size. So it can't
# answer every question about a long text, and thinking longer does not help: what the state has not kept is gone. A
# model that may **search** its context while it writes can look again.
#
# In this hour you see a task, train the same small Mamba three times (it answers at once, it writes steps first, it
# searches), let each write by itself, and look at its errors. Everything runs on a laptop without a GPU.

# %%
import os
import re

import matplotlib.pyplot as plt
import numpy as np
import torch

import lit_retrieval
from lit_retrieval.tasks import Author, IsTree

SMALL = "TUTORIAL_SMALL" in os.environ  # a few steps, to test this notebook
STEPS, SAMPLES = (4, 8) if SMALL else (700, 500)
COLORS = {"vanilla": "#3aa7d8", "cot": "#3fae49", "retrieval": "#e8604c"}

# %% [markdown]
# ## The task
#
# A graph has 8 vertices and 7 edges. Is it a tree? If it has a cycle, it is not. The question is written in words: a
# list of edges in random order, then `?`.

# %%
task = IsTree(max_size=8)
print(task.example(8, "vanilla", index=0))
print(task.example(8, "vanilla", index=1))

# %% [markdown]
# People see the answer when they look at the graph. The model sees the line of words, one after another.


# %%
def draw(graph, axes):
    places = {str(vertex): (np.cos(vertex * np.pi / 4), np.sin(vertex * np.pi / 4)) for vertex in range(1, 9)}
    for edge in re.findall(r"(\d) ~ (\d)", graph):
        axes.plot(*zip(*(places[vertex] for vertex in edge), strict=True), color="gray")
    for name, place in places.items():
        axes.text(*place, name, ha="center", va="center", bbox={"boxstyle": "circle", "facecolor": "white"})
    axes.set(title="a tree" if graph.endswith("YES") else "not a tree", aspect="equal", xlim=(-1.3, 1.3))
    axes.axis("off")


graphs = [task.example(8, "vanilla", index) for index in range(20)]
figure, both = plt.subplots(1, 2, figsize=(6, 3))
draw(next(graph for graph in graphs if graph.endswith("YES")), both[0])
draw(next(graph for graph in graphs if graph.endswith("NO")), both[1])
plt.show()

# %% [markdown]
# ## Three ways to answer
#
# A sample is a *transcript*: the user's prompt, and the reply that the model should write. What the reply may have
# before its answer is the [regime](../concepts/regime.md):
#
# - `vanilla`: nothing. The answer comes at once.
# - `cot`, a chain of thought: a walk through the graph, step by step.
# - `retrieval`: the same walk, but searches of the text so far find each step.

# %%
for regime in ("vanilla", "cot", "retrieval"):
    print(f"--- {regime}", task.example(8, regime, index=4), sep="\n", end="\n\n")

# %% [markdown]
# In the last one, `<StartSearch> 1 ~ <EndSearch>` is a search that the model writes: where does the first edge of 1 in
# the prompt lead? `<StartSearch> - 5 <EndSearch>` asks for the parent of 5 in the walk so far. What stands in
# `[brackets]` is not the model's: a search engine looks into the text before the search, and puts there what it finds.
#
# So each token has an [author](../concepts/author.md), and only the model's own tokens are trained and scored.

# %%
sample = task.sample(seed=0, indices=np.array([4]), sizes=np.array([8]), regime="retrieval")
for author in (Author.PROMPT, Author.MODEL, Author.RETRIEVER):
    print(f"{author.name:9} writes {np.sum(sample.author == author):4} tokens")

# %% [markdown]
# ## Training
#
# `lit_retrieval.fit` does what the command `lit-retrieval fit` does in a terminal: the options are the same.
# `quickstart` is a ready configuration, a Mamba of three layers with 98,176 weights. It is trained on graphs that are
# drawn on the fly. If you run this cell again, finished runs are loaded, and one that was stopped resumes.

# %%
OPTIONS = f"--trainer.max_steps {STEPS} --trainer.val_check_interval {STEPS // 2} --data.val_samples {SAMPLES}"
runs = {
    regime: lit_retrieval.fit(f"--config quickstart --data.regime {regime} {OPTIONS}")
    for regime in ("vanilla", "cot", "retrieval")
}

# %% [markdown]
# ## The closed loop
#
# Now each model answers questions that it has not seen. It reads the prompt, writes its most likely token, reads that
# token, and so on. When it closes a search, the search is run. Nobody corrects it on the way. This is the
# [closed loop](../concepts/closed_loop.md), and the share of right answers is `closed_loop_accuracy`.

# %%
accuracy = {regime: run.score(SAMPLES) for regime, run in runs.items()}
figure, axes = plt.subplots(figsize=(5, 3))
bars = axes.bar(accuracy.keys(), accuracy.values(), color=COLORS.values())
axes.bar_label(bars, fmt="%.3f", label_type="center")
axes.axhline(task.chance, color="black", linestyle=":", label="guess")
axes.set(ylabel="closed-loop accuracy", ylim=(0, 1.1))
axes.legend()
plt.show()

# %% [markdown]
# Only the model that searches is better than a guess. (A larger model, with more samples, also learns a part of the
# chain of thought; [Results](../results.md) has the paper's sizes.) What does the searching one write?

# %%
for written in runs["retrieval"].sample(2):
    print(written)
    print("answer", *written.answers, "expected", *written.expected, end="\n\n")

# %% [markdown]
# You can ask it yourself. This graph is a path, so a tree.

# %%
(written,) = runs["retrieval"].generate("<s> 5 ~ 6 1 ~ 2 7 ~ 8 3 ~ 4 2 ~ 3 6 ~ 7 4 ~ 5 ?")
print(written)

# %% [markdown]
# ## Errors add up
#
# In training a model always reads a *right* text, and predicts its next token. This is called teacher forcing. Its
# token accuracy says how often one token is right if all before it are.
#
# Half-way in its training the searching model was not always right yet. The checkpoint of that step is in the run's
# folder.

# %%
folder = runs["retrieval"].folder
half_way = lit_retrieval.load(folder, checkpoint=folder / f"checkpoints/step_{STEPS // 2}.ckpt")
models = {"cot": runs["cot"], "retrieval": runs["retrieval"], "retrieval, half-way": half_way}


def draw_samples(run):
    indices, sizes = np.arange(SAMPLES), np.full(SAMPLES, 8)
    return run.task.sample(seed=1, indices=indices, sizes=sizes, regime=run.data.regime)


def token_accuracy(run):
    samples = draw_samples(run)
    tokens = torch.from_numpy(samples.tokens).long()
    with torch.no_grad():
        logits, _ = run.model(tokens[:, :-1])
    is_right = logits.argmax(-1) == tokens[:, 1:]
    return is_right[torch.from_numpy(samples.author[:, 1:] == Author.MODEL)].float().mean().item()


for name, run in models.items():
    print(f"{name:20} one token {token_accuracy(run):.4f}   the answer {run.score(SAMPLES):.3f}")

# %% [markdown]
# Half-way nearly every token is right, one by one, but not every answer. In the closed loop a model reads what it wrote
# itself. One wrong token, and it walks on in another graph. So let us find the first wrong token of each reply.


# %%
def first_error(given, right):
    """How many tokens are right before the first that is not; all of them if there is none."""
    return next((place for place, pair in enumerate(zip(given, right, strict=False)) if pair[0] != pair[1]), 10**6)


figure, axes = plt.subplots(figsize=(6, 3))
for (name, run), style in zip(models.items(), ("-", "-", "--"), strict=True):
    samples = draw_samples(run)
    starts = samples.prompt_length
    found = [
        first_error(written.reply.tokens[starts[row] :], samples.reply(row).tokens[starts[row] :])
        for row, written in enumerate(run.generate(samples))
    ]
    share = [np.mean(np.array(found) >= place) for place in range(1, 121)]
    axes.plot(range(1, 121), share, style, color=COLORS[run.data.regime], label=name)
axes.set(xlabel="tokens of the reply", ylabel="replies without an error so far", ylim=(0, 1.05))
axes.legend()
plt.show()

# %% [markdown]
# Every token is a chance to leave the right way, so long replies fail more often than short ones. Without searches the
# walk is lost after a few tokens. What does an error look like?

# %%
samples = draw_samples(half_way)
for row, written in enumerate(half_way.generate(samples)):
    if written.answers != written.expected:
        given, right = written.reply.tokens, samples.reply(row).tokens
        place = first_error(given, right)
        words = half_way.task.vocabulary.decode
        print("it wrote  ", *words(given[place - 12 : place + 1]))
        print("right was ", *words(right[place - 12 : place + 1]))
        print("it answered", *written.answers, "and right was", *written.expected)
        break

# %% [markdown]
# A search does not make the model cleverer. It makes each step easy: the state need not hold the graph, only the place
# in the walk. That is why its curve stays up.
#
# The paper ([arXiv:2402.18510](https://arxiv.org/abs/2402.18510)) proves that this is no matter of training: with a
# chain of thought alone, *no* recurrent model with a small state can answer for large graphs; with searches, one of
# constant size can. [Theorems](../theorems.md) runs the constructions of its proofs.
#
# ## Next
#
# - [A recurrence of your own](own_recurrence.ipynb): write a layer, check it, and measure what its state holds.
# - [A pretrained model that searches](pretrained_search.ipynb): the same idea with a language model and plain text.
# - In a terminal: `lit-retrieval fit --config recall` trains on associative recall, and `--help` explains every option.
#   [Tasks](../tasks.md) has all tasks.
