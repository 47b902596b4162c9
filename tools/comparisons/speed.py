"""Training and decoding speed of a model as a ratio to another's, timed in turns."""

from statistics import median
from time import perf_counter, process_time

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.models import SequenceModel
from lit_retrieval.training import Gpu

WORDS = 64
_BATCH, _STEPS = 64, 8


def speed_ratios(
    model: SequenceModel, reference: SequenceModel, length: int, rounds: int, accelerator: str = "auto"
) -> dict[str, str]:
    """The model's training and decoding speed relative to the reference.

    `training` is a forward and a backward pass of 64 sequences, `decoding` 8 steps of one token after each of them. The
    two models are timed alternately, so that other load slows both. They run on a GPU if there is one and trainings may
    use it; otherwise processor time is measured.

    Args:
        model, reference: The models, in evaluation mode, with `WORDS` words.
        length: Tokens of a sequence.
        rounds: Timed turns of each model, after one that is not counted.
        accelerator: `trainer.accelerator` of the trainings, which run on a CPU if it is `cpu`.
    """
    device = "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    if device == "cuda":
        Gpu().set_arithmetic()
    tokens = torch.randint(WORDS, (_BATCH, length), generator=torch.Generator().manual_seed(0)).to(device)
    pair, ratios = (model.to(device), reference.to(device)), {}
    for name, run in (("training", _train), ("decoding", _decode)):
        turns = [[run(one, tokens) for one in pair] for _ in range(rounds + 1)][1:]
        own, other = (median(seconds) for seconds in zip(*turns, strict=True))
        ratios[name] = f"{other / own:.3g}"
    return ratios


def _train(model: SequenceModel, tokens: Tensor) -> float:
    start = _now(tokens)
    logits, _ = model(tokens)
    F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
    return _now(tokens) - start


@torch.inference_mode()
def _decode(model: SequenceModel, tokens: Tensor) -> float:
    _, state = model(tokens)
    start = _now(tokens)
    for _ in range(_STEPS):
        _, state = model(tokens[:, :1], state)
    return _now(tokens) - start


def _now(tokens: Tensor) -> float:
    """The time in seconds, after waiting for the device."""
    if tokens.is_cuda:
        torch.cuda.synchronize()
        return perf_counter()
    return process_time()
