"""The base class of tasks in text."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lit_retrieval.conversation import RIGHT, AnswerLine, Author, Reply, TextConversations, TextReader, Turns, spans
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import RegularExpressionRetriever, Retriever
from lit_retrieval.tasks.drawn_task import DrawnTask
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import Regime, Transcripts
from lit_retrieval.tasks.text.answers import exact_match
from lit_retrieval.tasks.writing import Rows
from lit_retrieval.tokens import Tokens
from lit_retrieval.vocabulary import END_SEARCH, SPECIAL_WORDS, Ids

_END = SPECIAL_WORDS[END_SEARCH]


class Dialogue(NamedTuple):
    """The user's prompt, the right reply of the model, and the answer in it.

    Args:
        prompt: The user's text.
        reply: The model's text, with searches as `<StartSearch>query<EndSearch>`; their results are inserted when the
            transcript is written.
        answer: The right answer, as the reply gives it.
    """

    prompt: str
    reply: str
    answer: str


class TextTask(DrawnTask):
    """A task in the text of a pretrained model: `draw` generates a problem, `write_dialogue` asks and answers it.

    Each piece of text by one author is tokenized separately, here and while decoding. The answer is in the first
    complete line of the model that matches `answer_pattern`; in `Transcripts.answers` it is RIGHT.

    Args:
        tokenizer: The folder of a pretrained model, with its tokenizer.json.
        sha256: The sha256 of tokenizer.json, entered by the command; another tokenizer is refused.

    Attributes:
        answer_pattern: A regular expression for the line of the answer; its first group is the answer.
    """

    answer_words = np.array([RIGHT], np.int32)
    chance = 0.0
    answer_pattern = r"^Answer: ?(.*)"
    retriever: Retriever = RegularExpressionRetriever()
    num_probed = 64

    def __init__(self, tokenizer: Path, sha256: str | None = None) -> None:
        super().__init__()
        self.tokenizer, self.sha256 = tokenizer, sha256

    @cached_property
    def vocabulary(self) -> Tokens:  # type: ignore[override]  # dialogues are written without it
        """The tokenizer of the folder; raises `UserError` if it does not match `sha256`."""
        tokens = Tokens(self.tokenizer)
        if self.sha256 not in (None, tokens.sha256):
            raise UserError(
                f"the tokenizer of {self.tokenizer} must have the sha256 {self.sha256:.12}..., got "
                f"{tokens.sha256:.12}...; restore it, or leave out data.task.init_args.sha256"
            )
        return tokens

    @abstractmethod
    def write_dialogue(self, problem: Any, regime: Regime) -> Dialogue:
        """Write the prompt, the right reply and the answer of a problem in this regime."""

    def judge(self, given: str, right: str) -> bool:
        """Whether an answer is right: an exact match by HotpotQA's rule, which ignores case and punctuation."""
        return exact_match(given, right)

    def dialogue(self, seed: int, index: int, size: int, regime: Regime) -> Dialogue:
        """The dialogue of a sample; see `Task.sample`."""
        return self.write_dialogue(self.problem(seed, index, size), regime)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        pairs = zip(indices, sizes, strict=True)
        dialogues = [self.dialogue(seed, int(index), int(size), regime) for index, size in pairs]
        prompts = [self.vocabulary.read_prompt(dialogue.prompt) for dialogue in dialogues]
        written = TextConversations(
            [[prompt] for prompt in prompts], self.vocabulary, self.retriever, self._ending,
            lambda row, given: given == dialogues[row].answer,
        )  # fmt: skip
        for row, dialogue in enumerate(dialogues):
            for piece in _pieces(dialogue.reply):
                written.write(row, self.vocabulary.read(piece))
        replies = written.replies()
        for dialogue, reply in zip(dialogues, replies, strict=True):
            self._check(dialogue, reply)
        lengths, zeros = np.array([len(prompt) for prompt in prompts]), np.zeros((len(prompts), 1), np.int64)
        rows = Rows(replies.tokens, replies.author, replies.length, lengths, replies.answers, zeros)
        return rows.transcripts(sizes)

    def converse(
        self,
        turns: Turns | Sequence[Iterable[Ids]],
        retriever: Retriever,
        max_new_tokens: int | None = None,
        num_answers: Sequence[int] | None = None,
        right: Transcripts | None = None,
    ) -> TextConversations:
        """New conversations; see `Task.converse`. Raises `UserError` for more than one answer per row."""
        if (most := max(num_answers or [1])) > 1:
            raise UserError(f"a reply in text has one answer, got num_answers={most}; leave it out")
        texts = [] if right is None else [self.answer_texts(right.reply(row))[0] for row in range(len(right))]

        def judge(row: int, given: str) -> bool:
            text = texts[row] if texts else None
            return text is not None and self.judge(given, text)

        return TextConversations(turns, self.vocabulary, retriever, self._ending, judge, max_new_tokens)

    def answer_texts(self, reply: Reply) -> list[str | None]:
        """The answer of a reply, or of a right transcript; None if the reply is undecided."""
        reader = TextReader(self.vocabulary, self._ending)
        for span in spans(reply.author):
            for token in reply.tokens[span.start : span.stop] if span.author == Author.MODEL else ():
                list(reader.take(token))
        return [reader.answer]

    def check_retriever(self, retriever: Retriever) -> None:
        """Raise `UserError` unless the retriever can search text."""
        if not callable(getattr(retriever, "search", None)):
            name = getattr(retriever, "__name__", type(retriever).__name__)
            raise UserError(
                f"{name} can't search text; set data.retriever to one with search(query, text), such as "
                "lit_retrieval.retrieval.RegularExpressionRetriever, or leave it out"
            )

    @property
    def _ending(self) -> AnswerLine:
        return AnswerLine(self.answer_pattern)

    def _check(self, dialogue: Dialogue, reply: Reply) -> None:
        """Raise `UserError` unless the reply ends with its answer, and no search took too long."""
        name = type(self).__name__
        if reply.num_timeouts:
            raise UserError(
                f"a search of {name} took too long in {dialogue.reply!r:.200}; write a faster query, since samples "
                "must not depend on the load of the machine"
            )
        said = [token for token, by in zip(reply.tokens, reply.author, strict=True) if by == Author.MODEL]
        if reply.answers != [RIGHT] or self.vocabulary.text(said) != dialogue.reply:
            raise UserError(
                f"{name} wrote the reply {dialogue.reply!r:.200}, and its tokens have the text "
                f"{self.vocabulary.text(said)!r:.200}, with the answer {self.answer_texts(reply)[0]!r}; a reply ends "
                f"with the line of its answer, {dialogue.answer!r}, in tokens that have its text"
            )


def _pieces(reply: str) -> list[str]:
    """Split a reply after each search."""
    return [piece + _END * (at < reply.count(_END)) for at, piece in enumerate(reply.split(_END))]
