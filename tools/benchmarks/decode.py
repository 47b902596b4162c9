"""The subcommand `decode`."""

import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from benchmarks.models import MODEL_FILES, build_model
from lit_retrieval.data import BatchDataset
from lit_retrieval.decoding import Conversation, begin, generate
from lit_retrieval.retrieval import ShortFormRetriever
from lit_retrieval.tasks import IsTree, Regime, SampleStream
from lit_retrieval.vocabulary import PAD


class _Replaying:
    """A model that computes its logits, then chooses the true next token: real work on transcripts of real lengths."""

    def __init__(self, model: Callable[..., Any], tokens: Tensor, vocab_size: int) -> None:
        self._model, self._tokens, self._vocab_size = model, F.pad(tokens, (0, 1)), vocab_size

    def __call__(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Tensor, Any]:
        rows, place, inner = (torch.arange(len(tokens)), 0, None) if state is None else state
        _, inner = self._model(tokens, inner, positions)
        place += tokens.shape[1]
        return F.one_hot(self._tokens[rows, place], self._vocab_size), (rows, place, inner)


def decode(
    model: str = "mamba_0.5M", regime: Regime = "cot", size: int = 16, batch: int = 256, rounds: int = 3
) -> None:
    """Time closed-loop decoding against reading the whole prefix again for every token.

    Both write the true transcripts of IsTree on binary graphs, so the times do not depend on what a model has learned.
    Ours keeps its state and removes finished rows. The other side is the plain loop: it reads all rows from the start
    for each new token, until the last row has finished. The two are timed alternately.

    Args:
        model: Name of a file in configs/model, without its extension.
        regime: Regime of the transcripts.
        size: Vertices of the graphs.
        batch: Rows decoded together.
        rounds: Timed runs of each.
    """
    task = IsTree(max_size=size)
    samples = BatchDataset(SampleStream(task, regime, [size], seed=0, split="test"))[np.arange(batch)]
    network = build_model(MODEL_FILES / f"{model}.yaml", len(task.vocabulary)).eval()
    replaying = _Replaying(network, samples.tokens, len(task.vocabulary))
    transcripts, limit = samples.transcripts(), task.longest_reply(size, regime)

    times: dict[str, list[float]] = {"cached": [], "prefix read again": []}
    for _ in range(rounds + 1):
        runs: tuple[Callable[..., object], ...] = (generate, _read_again)
        for name, run in zip(times, runs, strict=True):
            turns = [transcripts.turns(row) for row in range(batch)]
            rows, start = begin(turns, task, ShortFormRetriever(), limit), perf_counter()
            run(replaying, rows)
            times[name].append(perf_counter() - start)
            assert [row.reply().answers for row in rows] == transcripts.answers.tolist()
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    tokens = int((transcripts.length - transcripts.prompt_length).sum())
    table = Table("decoding", "seconds", "tokens/s", "times as fast", title=f"{model}, IsTree {regime}, n = {size}")
    for name, seconds in medians.items():
        ratio = medians["prefix read again"] / seconds
        table.add_row(name, f"{seconds:.2f}", f"{tokens / seconds:,.0f}", f"{ratio:.1f}")
    table.caption = f"medians of {rounds}; {batch} rows; CPU, {torch.get_num_threads()} threads"
    Console().print(table)


@torch.inference_mode()
def _read_again(model: Callable[..., Any], conversations: list[Conversation]) -> None:
    """Decode without a state."""
    common = min(one.num_forced for one in conversations)
    tokens = torch.tensor([[one.step(PAD) for _ in range(common)] for one in conversations])
    while not all(one.is_finished for one in conversations):
        last = torch.arange(1, len(tokens) + 1) * tokens.shape[1] - 1
        choices = model(tokens, None, last)[0].argmax(-1).tolist()
        pairs = zip(conversations, choices, strict=True)
        step = [PAD if one.is_finished else one.step(choice) for one, choice in pairs]
        tokens = torch.cat([tokens, torch.tensor(step)[:, None]], 1)
