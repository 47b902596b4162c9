"""The subcommand `train`."""

import platform
import statistics
from collections.abc import Callable
from importlib.metadata import version
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models import MODEL_FILES, build_model


class _MambapyModel(nn.Module):
    """The package `mambapy` at the size of mamba_0.5M: its 16 blocks between a frozen, tied embedding and head.

    Its blocks hold the same parameters as ours; it has no norm after the last one.
    """

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        from mambapy.mamba import Mamba, MambaConfig

        self.register_buffer("embedding", embedding)
        self.blocks = Mamba(MambaConfig(d_model=64, n_layers=16, d_state=16))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, `(batch, time, vocab_size)`, of tokens `(batch, time)`."""
        return F.linear(self.blocks(F.embedding(tokens, self.embedding)), self.embedding)


class _LlamaModel(nn.Module):
    """The package `transformers`' LLaMA at the size of transformer_0.5M, its embedding tied to its head and frozen."""

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=len(embedding), hidden_size=64, intermediate_size=256, num_hidden_layers=8,
            num_attention_heads=4, head_dim=16, tie_word_embeddings=True, use_cache=False,
        )  # fmt: skip
        self.model = LlamaForCausalLM(config)
        self.model.get_input_embeddings().weight = nn.Parameter(embedding.clone(), requires_grad=False)
        self.model.tie_weights()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, `(batch, time, vocab_size)`, of tokens `(batch, time)`."""
        return self.model(tokens).logits


def train(batch: int = 64, time: int = 128, vocab_size: int = 64, rounds: int = 5) -> None:
    """Time a training step, forward and backward, of our 0.5M models and of two packages' models of the same size.

    Ours and theirs take turns in one run, so that whatever else the machine does slows both. The two Mambas are equal
    in width 64, 16 blocks, state 16 and expansion 2; mambapy's has no norm after its last block. The two Transformers
    are equal in every size (head_dim=16 is written out, since LlamaConfig may keep another one) and in the number of
    their trainable parameters. All share one frozen embedding, which is the head as well. The optimiser is not timed.

    Args:
        batch: Sequences in a batch.
        time: Tokens in a sequence.
        vocab_size: Number of tokens.
        rounds: Timed steps of each model, after two that are not counted.
    """
    table = Table("our model", "ms", "compared with", "ms", "times as fast")
    for name, other_name, make_other in (
        ("mamba_0.5M", "mambapy", _MambapyModel),
        ("transformer_0.5M", "transformers", _LlamaModel),
    ):
        ours = build_model(MODEL_FILES / f"{name}.yaml", vocab_size)
        other = _make(other_name, make_other, ours.embedding)
        tokens = torch.randint(vocab_size, (batch, time))
        ours_ms, other_ms = _time_in_turns([ours, other], tokens, rounds)
        table.add_row(name, f"{ours_ms:.0f}", other_name, f"{other_ms:.0f}", f"{other_ms / ours_ms:.2f}")
    table.caption = (
        f"medians of {rounds} steps at batch {batch}, time {time}, float32; CPU ({platform.machine()}), "
        f"threads: {torch.get_num_threads()}; "
        + ", ".join(f"{package} {version(package)}" for package in ("torch", "numba", "mambapy", "transformers"))
    )
    Console().print(table)


def _make(package: str, make: Callable[[Tensor], nn.Module], embedding: Tensor) -> nn.Module:
    try:
        return make(embedding)
    except ModuleNotFoundError:
        raise SystemExit(f"{package}, which this benchmark compares with, is missing; pip install {package}") from None


def _time_in_turns(models: list[nn.Module], tokens: Tensor, rounds: int) -> list[float]:
    """Median milliseconds of a forward and a backward of each model; the models take turns."""
    times: list[list[float]] = [[] for _ in models]
    for _ in range(rounds + 2):
        for model, model_times in zip(models, times, strict=True):
            start = perf_counter()
            output = model(tokens)
            logits = output[0] if isinstance(output, tuple) else output  # ours hands its state back as well
            F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
            model_times.append(1000 * (perf_counter() - start))
    return [statistics.median(model_times[2:]) for model_times in times]
