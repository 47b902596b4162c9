"""Decoded transcripts as colored text."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console
from rich.text import Text

from lit_retrieval.conversation import Author, asked_as_prompt, spans, words_with_answers
from lit_retrieval.data import Batch
from lit_retrieval.decoding import Reply
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Task
from lit_retrieval.training.sequence_module import SequenceModule
from lit_retrieval.vocabulary import Vocabulary

Part = TypeVar("Part")

_FEW = 3  # equal words or phrases in a row that are all shown
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
        console, task = get_console(), pl_module.data.task
        for row, reply in enumerate(outputs):
            console.print(render(reply, task.vocabulary, collapses=True), soft_wrap=not console.is_terminal)
            console.print(verdict(reply, batch.reply(row), task), "\n")


def render(reply: Reply, vocabulary: Vocabulary, collapses: bool = False) -> Text:
    """The transcript as text, with retrieved tokens in brackets and the reply on its own line.

    Args:
        reply: The decoded transcript.
        vocabulary: The words of the token ids.
        collapses: Whether to show repeated words and phrases once, with their number.
    """
    separator = vocabulary.separator
    end = separator and "\n"  # a text has its own
    return assemble(words_with_answers(reply, vocabulary), reply, separator, end, collapses=collapses)


def assemble(
    words: Sequence[str], reply: Reply, separator: str, prompt_end: str, brackets: tuple[str, str] = ("[", "]"),
    line_break: str = "\n", collapses: bool = True,
) -> Text:  # fmt: skip
    """Build the text of `render` from one word per token and the separators between them."""
    text, parts = Text(), []
    for span in spans(asked_as_prompt(reply.author)):
        own = words[span.start : span.stop]
        written = span.mark(separator.join(collapse(own) if collapses else own), *brackets)
        end = prompt_end if span.author == Author.PROMPT else separator
        parts.append((written.replace("\n", line_break) + end, _STYLES[span.author]))
    for phrase, count in phrases(parts) if collapses else [(parts, 1)]:
        text.append("(" * (count > 1))
        for part in phrase:
            text.append(*part)
        if count > 1:
            text.rstrip()
            text.append(f") x {count} ")
    return text


def collapse(words: Sequence[str]) -> list[str]:
    """The words, with more than three equal words in a row as one: `<StartSearch> x 270`."""
    runs = phrases([word for word in words if word], longest=1)  # a token of a text may have none
    return [word if count == 1 else f"{word} x {count}" for (word,), count in runs]


def phrases(parts: Sequence[Part], longest: int = 8) -> Iterator[tuple[Sequence[Part], int]]:
    """Split into phrases of up to `longest` parts, each with its number of repeats; up to three repeats stay apart."""
    at = 0
    while at < len(parts):
        lengths = range(1, min(longest, (len(parts) - at) // (_FEW + 1)) + 1)
        found = ((length, _repeats(parts, at, length)) for length in lengths)
        length, count = next(((length, count) for length, count in found if count > _FEW), (1, 1))
        yield parts[at : at + length], count
        at += length * count


def _repeats(parts: Sequence[Part], at: int, length: int) -> int:
    """How often the phrase of `length` parts at a position is repeated in a row."""
    phrase, count = parts[at : at + length], 1
    while parts[at + count * length : at + (count + 1) * length] == phrase:
        count += 1
    return count


def verdict(reply: Reply, right: Reply, task: Task) -> Text:
    """One line: the number of right answers in a reply, and the right answers where it is wrong."""
    texts = zip(task.answer_texts(reply), task.answer_texts(right), strict=True)
    wrong = [
        f"{'undecided' if given is None else given}, not {true}"
        for answer, true_answer, (given, true) in zip(reply.answers, right.answers, texts, strict=True)
        if answer != true_answer
    ]
    line = f"-> {len(right.answers) - len(wrong)} of {len(right.answers)} right"
    return Text(f"{line} ({'; '.join(wrong)})" if wrong else line, "red" if wrong else "green")
