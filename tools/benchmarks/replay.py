"""Decodes right transcripts with a model that really computes its logits, also as `python -m benchmarks.replay`."""

import sys
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.models import MODEL_FILES, build_model
from lit_retrieval.data import BatchDataset
from lit_retrieval.decoding import decode
from lit_retrieval.retrieval import EitherFormRetriever
from lit_retrieval.tasks import IsTree, Regime, SampleStream

NO_MODEL = "none"  # a name for a model without work


class Replaying:
    """A model that computes its logits, then writes the true next token, so that work and lengths are realistic."""

    def __init__(self, model: Callable[..., Any], tokens: Tensor, vocab_size: int) -> None:
        self._model, self._tokens, self._vocab_size = model, F.pad(tokens, (0, 1)), vocab_size

    def __call__(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Tensor, Any]:
        rows, place, inner = (torch.arange(len(tokens)), 0, None) if state is None else state
        _, inner = self._model(tokens, inner, positions)
        place += tokens.shape[1]
        return F.one_hot(self._tokens[rows, place], self._vocab_size), (rows, place, inner)


class Problem:
    """Transcripts of IsTree on binary graphs, and a model that writes them again.

    Args:
        model: Name of a file in configs/model, without its extension, or `none`.
        regime: Regime of the transcripts.
        size: Vertices of the graphs.
        batch: Rows.
    """

    def __init__(self, model: str, regime: Regime, size: int, batch: int) -> None:
        self.task = IsTree(max_size=size)
        samples = BatchDataset(SampleStream(self.task, regime, [size], seed=0, split="test"))[np.arange(batch)]
        self.transcripts = samples.transcripts()
        words = len(self.task.vocabulary)
        network = _without_work if model == NO_MODEL else build_model(MODEL_FILES / f"{model}.yaml", words).eval()
        self.model = Replaying(network, samples.tokens, words)
        self.max_new_tokens = self.task.longest_reply(size, regime)

    @property
    def num_words(self) -> int:
        """The number of tokens after the prompts."""
        return int((self.transcripts.length - self.transcripts.prompt_length).sum())

    def decode(self) -> float:
        """Decode the transcripts; returns the seconds of processor time."""
        start = process_time()
        replies = self._decode(self.max_new_tokens)
        seconds = process_time() - start
        assert [reply.answers for reply in replies] == self.transcripts.answers.tolist()
        return seconds

    def warm_up(self) -> None:
        """Write a few tokens to load kernels and allocate memory."""
        self._decode(8)

    def _decode(self, max_new_tokens: int) -> Any:
        return decode(self.model, self.transcripts, self.task, EitherFormRetriever(), max_new_tokens)


def _without_work(tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[None, None]:
    return None, None


def main() -> None:
    """Decode once for each line of standard input, and print the seconds."""
    model, regime, size, batch, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    problem = Problem(model, regime, int(size), int(batch))  # type: ignore[arg-type]
    problem.warm_up()
    for _ in sys.stdin:
        print(problem.decode(), flush=True)


if __name__ == "__main__":
    main()
