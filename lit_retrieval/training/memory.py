"""The memory of a model, in state elements and bits."""

import math

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.lightning_internals import whole_parameters
from lit_retrieval.training.sequence_module import SequenceModule

_SAMPLES = 64  # transcripts of each size, of which the longest is taken


class Memory(Callback):
    """Logs the state size at the end of the longest transcript, and prints it below the scores of a test.

    For a random access code it also prints the accuracy ceiling; see `ceiling`.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log `state_numbers`, `state_bits` and the transcript length, `state_length`, as hyperparameters."""
        assert isinstance(pl_module, SequenceModule)
        length, model = longest_transcript(pl_module), pl_module.model
        with whole_parameters(trainer), trainer.precision_plugin.forward_context():
            sizes = {"state_numbers": model.state_size(length), "state_bits": model.state_bits(length)}
        for logger in trainer.loggers:
            logger.log_hyperparams({"state_length": length, **sizes})

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the state size, and the accuracy ceiling."""
        assert isinstance(pl_module, SequenceModule)
        with whole_parameters(trainer), trainer.precision_plugin.forward_context():
            said = describe(pl_module)
        if trainer.is_global_zero:
            print(said)


def longest_transcript(module: SequenceModule, size: int | None = None) -> int:
    """The length of the longest of 64 transcripts of a size, by default of the largest evaluation size."""
    data = module.data
    return int(data.some_of_size(data.eval_values[-1] if size is None else size, _SAMPLES).length.max())


def describe(module: SequenceModule) -> str:
    """The state size in elements, in bits and by kind of mixer, and the accuracy ceiling if there is one."""
    data, model, length = module.data, module.model, longest_transcript(module)
    elements, bits = model.state_size(length), model.state_bits(length)
    parts = ", ".join(f"{kind} {size:,}" for kind, size in model.state_sizes(length).items())
    lines = [f"memory after {length} tokens: {elements:,} state elements, {bits:,} bits ({parts or 'none'})"]
    for size in data.eval_values if data.regime != "retrieval" else ():
        code = data.task.random_bits(size)
        if code is not None:
            best = ceiling(model.state_bits(longest_transcript(module, size)), code)
            lines.append(f"accuracy ceiling with this memory on the {code:,} random bits of size {size}: {best:.4f}")
    return "\n".join(lines)


def ceiling(state_bits: int, random_bits: int) -> float:
    """The highest accuracy on a random access code that a memory of a given size allows.

    p <= H^-1(1 - M / n), where H is the binary entropy and p >= 1/2  (Wen et al. 2024, arXiv:2402.18510, Theorem 4.6).
    It holds if the context has n independent fair bits and the question then asks for one of them, each with the same
    probability: `Index`, `AssociativeRecall` and `Counting` with `distribution: random_access_code`. A chain of thought
    does not raise it, because it knows the context only through the memory. A search does, so the ceiling does not
    apply to the regime `retrieval`. M counts all that is carried from the context to the question, the keys and values
    of attention included.

    Args:
        state_bits: The memory M, in bits.
        random_bits: The bits n of the context.

    Returns:
        The highest share of right answers, from 1/2 to 1.
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
