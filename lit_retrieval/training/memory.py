"""How much a model remembers, beside what it answers."""

import math

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.lightning_internals import whole_parameters
from lit_retrieval.training.sequence_module import SequenceModule

_SAMPLES = 64  # transcripts of the largest size, the longest of which counts


class Memory(Callback):
    """Logs the size of the state at the end of the longest problem, and prints it under the scores of a test.

    With a random access code it prints the ceiling as well; see `ceiling`.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log `state_numbers`, `state_bits` and the length that they belong to as hyperparameters."""
        assert isinstance(pl_module, SequenceModule)
        length, model = longest_transcript(pl_module), pl_module.model
        with whole_parameters(trainer), trainer.precision_plugin.forward_context():
            sizes = {"state_numbers": model.state_size(length), "state_bits": model.state_bits(length)}
        for logger in trainer.loggers:
            logger.log_hyperparams({"state_length": length, **sizes})

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the size of the state, and the ceiling."""
        assert isinstance(pl_module, SequenceModule)
        with whole_parameters(trainer), trainer.precision_plugin.forward_context():
            said = describe(pl_module)
        if trainer.is_global_zero:
            print(said)


def longest_transcript(module: SequenceModule, size: int | None = None) -> int:
    """Words in the longest of some transcripts of a size, the largest one in evaluation if absent."""
    data = module.data
    sizes = np.full(_SAMPLES, data.eval_values[-1] if size is None else size)
    return int(data.task.sample(data.seed, np.arange(_SAMPLES), sizes, data.regime).length.max())


def describe(module: SequenceModule) -> str:
    """The state's size in numbers and bits and by kind of mixer, and the ceiling where there is one."""
    data, model, length = module.data, module.model, longest_transcript(module)
    numbers, bits = model.state_size(length), model.state_bits(length)
    parts = ", ".join(f"{kind} {size:,}" for kind, size in model.state_sizes(length).items())
    lines = [f"memory after {length} words: {numbers:,} numbers, {bits:,} bits ({parts or 'none'})"]
    for size in data.eval_values if data.regime != "retrieval" else ():
        code = data.task.random_bits(size)
        if code is not None:
            best = ceiling(model.state_bits(longest_transcript(module, size)), code)
            lines.append(f"ceiling of so much memory on the {code:,} random bits of size {size}: {best:.4f}")
    return "\n".join(lines)


def ceiling(state_bits: int, random_bits: int) -> float:
    """The best accuracy that a memory allows on a random access code.

    p <= H^-1(1 - M / n), where H is the binary entropy and p >= 1/2  (Wen et al. 2024, arXiv:2402.18510, Theorem 4.6).
    It holds for a task whose context holds n independent fair bits, where the question comes after the context and asks
    for one of them, each as often as any other: `Index`, `AssociativeRecall` and `Counting` with
    `distribution: random_access_code`. A chain of thought doesn't lift it, since all that it can use of the context
    went through the memory; a search in the context does, so it says nothing about the regime `retrieval`. M has to
    count all that is carried from the context to the question, an attention layer's keys and values included.

    Args:
        state_bits: The memory M, in bits.
        random_bits: The bits n of the context.

    Returns:
        The share of right answers that can't be passed, from 1/2 to 1.
    """
    if state_bits >= random_bits:
        return 1.0
    entropy, low, high = 1 - state_bits / random_bits, 0.5, 1.0
    for _ in range(60):  # halvings of an interval of 1/2: more than a float's digits
        middle = (low + high) / 2
        low, high = (middle, high) if _binary_entropy(middle) > entropy else (low, middle)
    return low


def _binary_entropy(p: float) -> float:
    return -sum(q * math.log2(q) for q in (p, 1 - p) if q > 0)
