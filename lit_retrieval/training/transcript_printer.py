"""Decoded transcripts as colored text."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console
from rich.text import Text

from lit_retrieval.conversation import Author, spans
from lit_retrieval.data import Batch
from lit_retrieval.decoding import UNDECIDED, Reply
from lit_retrieval.errors import UserError
from lit_retrieval.training.sequence_module import SequenceModule
from lit_retrieval.vocabulary import Vocabulary

_FEW = 3  # equal words in a row that are all shown
_STYLES = {Author.PROMPT: "dim", Author.MODEL: "", Author.RETRIEVER: "bold cyan"}


class TranscriptPrinter(Callback):
    """Prints what `predict` decoded: the prompt, the model's tokens, and retrieved ones in `[brackets]`."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `UserError` on several ranks, which would print at the same time."""
        if trainer.world_size > 1:
            raise UserError("predict must run in one process; write --trainer.devices 1")

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Print the batch."""
        assert isinstance(pl_module, SequenceModule)
        # The console of the progress bar prints above it. A file has no width to wrap at.
        console, vocabulary = get_console(), pl_module.data.task.vocabulary
        for row, reply in enumerate(outputs):
            console.print(render(reply, vocabulary, collapses=True), soft_wrap=not console.is_terminal)
            console.print(verdict(reply.answers, batch.answers_of(row), vocabulary), "\n")


def render(reply: Reply, vocabulary: Vocabulary, collapses: bool = False) -> Text:
    """The transcript as text, with retrieved tokens in brackets and the reply on its own line.

    Args:
        reply: The decoded transcript.
        vocabulary: The words of the token ids.
        collapses: Whether equal words in a row are shown once, with their number.
    """
    text = Text()
    for span in spans(reply.author):
        words = vocabulary.decode(reply.tokens[span.start : span.stop])
        text.append(span.mark(" ".join(collapse(words) if collapses else words)), _STYLES[span.author])
        text.append("\n" if span.author == Author.PROMPT else " ")
    return text


def collapse(words: Sequence[str]) -> list[str]:
    """The words, with more than three equal ones in a row as one: `<StartSearch> x 270`."""
    runs = ((word, len(list(run))) for word, run in groupby(words))
    return [part for word, count in runs for part in ([word] * count if count <= _FEW else [f"{word} x {count}"])]


def verdict(answers: list[int], right: list[int], vocabulary: Vocabulary) -> Text:
    """One line: the number of right answers, and the right ones for the wrong."""
    wrong = [
        f"{'undecided' if given == UNDECIDED else vocabulary.words[given]}, not {vocabulary.words[true]}"
        for given, true in zip(answers, right, strict=True)
        if given != true
    ]
    line = f"-> {len(right) - len(wrong)} of {len(right)} right"
    return Text(f"{line} ({'; '.join(wrong)})" if wrong else line, "red" if wrong else "green")
