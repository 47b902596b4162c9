"""The subcommand `train`."""

import platform
import statistics
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from time import perf_counter, process_time
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models import MODEL_FILES, build_model
from benchmarks.naive_fla import naive_recurrences
from lit_retrieval.mixers import linear_rnn
from lit_retrieval.models import SequenceModel
from lit_retrieval.ops.linear_rnn import linear_rnn_naive


class _MambapyModel(nn.Module):
    """`mambapy` at the size of mamba_0.5M: 16 blocks between a frozen embedding and the head tied to it.

    Its blocks have the same parameters as ours; there is no norm after the last one.
    """

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        from mambapy.mamba import Mamba, MambaConfig

        self.embedding = nn.Buffer(embedding)
        self.blocks = Mamba(MambaConfig(d_model=64, n_layers=16, d_state=16))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, `(batch, time, vocab_size)`, of tokens `(batch, time)`."""
        return F.linear(self.blocks(F.embedding(tokens, self.embedding)), self.embedding)


class _LlamaModel(nn.Module):
    """The LLaMA of `transformers` at the size of transformer_0.5M, with a frozen embedding tied to the head."""

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
        logits: Tensor = self.model(tokens).logits
        return logits


class _Naive(nn.Module):
    """A model or layer whose recurrences run one step at a time: fla's own naive ones, or a PyTorch loop."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        """The module's outputs, without its state."""
        with naive_recurrences(), patch.object(linear_rnn, "linear_rnn", linear_rnn_naive):
            outputs: Tensor = self.module(inputs)[0]
        return outputs


_IN_A_LOOP = (  # compared with a loop over time; fla's further layers have tests against theirs
    "deltanet", "gated_deltanet", "gla", "hgrn2", "kda", "linear_attention", "linear_rnn", "mamba2", "retnet", "rwkv7",
    "simple_gla",
)  # fmt: skip
_OF_PACKAGES: dict[str, tuple[str, Callable[[Tensor], nn.Module]]] = {
    "mamba": ("mambapy", _MambapyModel),
    "transformer": ("transformers", _LlamaModel),
}

_PACKAGES = ("torch", "numba", "mambapy", "transformers")


def train(
    models: list[str] | None = None,
    batch: int = 64,
    time: int = 128,
    vocab_size: int = 64,
    rounds: int = 5,
    alternatives: bool = True,
    processor_time: bool = False,
) -> None:
    """Time a training step, forward and backward, of our 0.5M models and of alternatives.

    Each model is timed alternately with our Transformer and the alternative, in one run, so that other load slows all
    of them. Steps come in pairs, of which the second is timed, because in training a step follows one of the same
    model. The optimizer is not timed.

    Layers of fla are compared with the same layers on step-by-step recurrences: fla's `naive` ones, or a PyTorch loop
    for Mamba-2, which has none. They are compared in a model, where both sides share most of the time (SwiGLU, norms,
    the head), and as one layer alone, on inputs of the model's width. Both Mamba-1 models have width 64, 16 blocks,
    state 16 and expansion 2; mambapy's has no norm after its last block. The two Transformers have equal sizes
    (head_dim=16 is set because LlamaConfig may keep another) and equal numbers of trainable parameters. All models
    share one frozen embedding, tied to the head.

    Args:
        models: Files in configs/model without `_0.5M.yaml`; all if absent.
        batch: Sequences per batch.
        time: Tokens per sequence.
        vocab_size: Number of tokens.
        rounds: Timed turns of each model, after one that is not counted.
        alternatives: Whether to time alternatives too; if not, each model is compared only with our Transformer.
        processor_time: Whether to measure processor time, over all threads, instead of elapsed time.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clock = process_time if processor_time else perf_counter
    table = Table(
        "model", "ms", "of Transformer's", "compared with", "ms", "times as fast", "layer: ms", "times as fast"
    )
    transformer = build_model(MODEL_FILES / "transformer_0.5M.yaml", vocab_size).to(device)
    tokens = torch.randint(vocab_size, (batch, time), device=device)
    for name in models or sorted(path.name.removesuffix("_0.5M.yaml") for path in MODEL_FILES.glob("*_0.5M.yaml")):
        ours = build_model(MODEL_FILES / f"{name}_0.5M.yaml", vocab_size).to(device)
        other_name, other = _other_side(name, ours, device) if alternatives else ("", None)
        sides = [ours, transformer, *([other] if other is not None else [])]
        ours_ms, transformer_ms, *other_ms = _time_in_turns(sides, tokens, rounds, clock)
        compared = [f"{other_ms[0]:.0f}", f"{other_ms[0] / ours_ms:.2f}"] if other_ms else ["", ""]
        alone = _time_layer(ours, batch, time, rounds) if isinstance(other, _Naive) else ["", ""]
        table.add_row(name, f"{ours_ms:.0f}", f"{ours_ms / transformer_ms:.2f}", other_name, *compared, *alone)
    kind = " of processor time" if processor_time else ""
    table.caption = (
        f"medians of {rounds} turns{kind} at batch {batch}, time {time}, float32; {device} ({platform.machine()}), "
        f"threads: {torch.get_num_threads()}; "
        + ", ".join(f"{package} {version(package)}" for package in _PACKAGES if find_spec(package))
    )
    Console(width=120).print(table)


def _other_side(name: str, ours: SequenceModel, device: str) -> tuple[str, nn.Module | None]:
    """The name and the model to compare with; None if there is none, as for naive recurrences on a GPU."""
    if name in _OF_PACKAGES:
        package, make = _OF_PACKAGES[name]
        return package, _make(package, make, ours.embedding).to(device)
    if device == "cpu" and name in _IN_A_LOOP:
        return "one step at a time", _Naive(ours)
    return "", None


def _make(package: str, make: Callable[[Tensor], nn.Module], embedding: Tensor) -> nn.Module:
    try:
        return make(embedding)
    except ModuleNotFoundError:
        raise SystemExit(f"{package}, which is compared here, is not installed; pip install {package}") from None


def _time_layer(model: SequenceModel, batch: int, time: int, rounds: int) -> list[str]:
    """Milliseconds of the model's first mixer alone, and its speedup over one step at a time."""
    layer = model.mixers[0]
    x = torch.randn(batch, time, model.embedding.shape[1], requires_grad=True)
    ours_ms, other_ms = _time_in_turns([layer, _Naive(layer)], x, rounds)
    return [f"{ours_ms:.1f}", f"{other_ms / ours_ms:.2f}"]


def _time_in_turns(
    modules: list[nn.Module], inputs: Tensor, rounds: int, clock: Callable[[], float] = perf_counter
) -> list[float]:
    """Median milliseconds of a forward and a backward of each module; the modules are timed alternately.

    Inputs are tokens, `(batch, time)`, for models, and `(batch, time, hidden_size)` for layers.
    """
    times: list[list[float]] = [[] for _ in modules]
    for _ in range(rounds + 1):
        for module, module_times in zip(modules, times, strict=True):
            for _ in range(2):
                start = clock()
                output = module(inputs)
                outputs = output[0] if isinstance(output, tuple) else output  # ours also returns its state
                torch.autograd.backward(_loss(outputs, inputs))
                if inputs.is_cuda:
                    torch.cuda.synchronize()
                milliseconds = 1000 * (clock() - start)
            module_times.append(milliseconds)
    return [statistics.median(module_times[1:]) for module_times in times]


def _loss(outputs: Tensor, inputs: Tensor) -> Tensor:
    """The cross-entropy of the next token for a model; a sum, whose gradient is cheap, for a layer."""
    if inputs.is_floating_point():
        return outputs.sum()
    return F.cross_entropy(outputs[:, :-1].flatten(0, 1), inputs[:, 1:].flatten())
