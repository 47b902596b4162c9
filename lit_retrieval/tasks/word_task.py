"""Tasks written in words, a sample at a time: the short way to a task of your own."""

from abc import abstractmethod
from collections.abc import Container, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import Context, EitherFormRetriever
from lit_retrieval.tasks.task import Author, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import blank_rows
from lit_retrieval.vocabulary import Vocabulary

_PROBED = 256  # samples whose longest reply bounds the others'


class Turn(NamedTuple):
    """What the user says and what the model should reply, words separated by spaces.

    Args:
        prompt: The user's words. The first turn's begin with `<s>` by custom.
        reply: The model's words. What a search finds is put in behind each `<EndSearch>`, and not written here.
    """

    prompt: str
    reply: str


class WordTask(Task):
    """A task of which `draw` makes a problem and `write_turns` says in words how it is asked and answered.

    The answer of a turn is the word of `answers` that ends its reply; the last turn may have several. A search is
    run while the transcript is written, by the retriever that decodes as well.

    Args:
        words: The words of prompts and replies; `<s>`, `?` and the signs of queries are there already.
        answers: Those of them that are answers: a turn ends where the model writes one outside a search.
        chance: Share of right answers among blind guesses; one among the answers if absent.
    """

    def __init__(self, words: Iterable[str], answers: Iterable[str], chance: float | None = None) -> None:
        self.vocabulary = Vocabulary(words)
        self.answer_words = self.vocabulary.encode(list(answers))
        if not len(self.answer_words):
            raise UserError(f"{type(self).__name__} has no answers; name the words that end a turn")
        self.chance = 1 / len(self.answer_words) if chance is None else chance
        self._longest: dict[tuple[int, Regime], int] = {}

    @abstractmethod
    def draw(self, rng: np.random.Generator, size: int) -> Any:
        """A problem of this size."""

    @abstractmethod
    def write_turns(self, problem: Any, regime: Regime) -> list[Turn]:
        """How the problem is asked and answered in a regime."""

    def write(
        self, seed: int, indices: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], regime: Regime
    ) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        drafts = [
            self._write_sample(_generator(seed, int(index)), int(size), regime)
            for index, size in zip(indices, sizes, strict=True)
        ]
        width, num_answers = max(len(draft.tokens) for draft in drafts), max(len(draft.answers) for draft in drafts)
        rows = blank_rows(len(drafts), width, num_answers)
        for row, draft in enumerate(drafts):
            length = rows.length[row] = len(draft.tokens)
            rows.tokens[row, :length], rows.author[row, :length] = draft.tokens, draft.author
            rows.answers[row, : len(draft.answers)] = draft.answers
            rows.prompt_length[row] = draft.author.index(Author.MODEL)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """Twice the longest of 256 samples; override it if that may be too short."""
        if (size, regime) not in self._longest:
            probed = self.sample(0, np.arange(_PROBED), np.full(_PROBED, size), regime)
            self._longest[size, regime] = 2 * int((probed.length - probed.prompt_length).max())
        return self._longest[size, regime]

    def shortest_reply(self, regime: Regime) -> int:
        """One word; override it if no reply is as short."""
        return 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` below size 1; override it if other sizes can't be drawn."""
        if size < 1:
            raise UserError(f"size={size} is no size; write 1 or more in data.sizes")

    def _write_sample(self, rng: np.random.Generator, size: int, regime: Regime) -> "_Draft":
        draft = _Draft(self.vocabulary, frozenset(self.answer_words.tolist()))
        turns = self.write_turns(self.draw(rng, size), regime)
        for place, turn in enumerate(turns, start=1):
            draft.write(turn.prompt, Author.PROMPT)
            draft.write(turn.reply, Author.MODEL)
            has_ended = bool(draft.answers) and draft.tokens[-1] == draft.answers[-1]
            if not has_ended or len(draft.answers) < place or (place < len(turns) and len(draft.answers) > place):
                raise UserError(
                    f"{type(self).__name__} wrote {turn.reply!r} as reply {place}; a reply ends with its one answer, "
                    "and only the last may have several"
                )
        return draft


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))  # all 64 bits of each count


class _Draft:
    """A transcript that is being written in words, its searches run on the way.

    Args:
        vocabulary: The words.
        answer_words: Ids of the words that are answers.
    """

    def __init__(self, vocabulary: Vocabulary, answer_words: Container[int]) -> None:
        self.tokens: list[int] = []
        self.author: list[Author] = []
        self.answers: list[int] = []
        self._vocabulary = vocabulary
        self._answer_words = answer_words
        self._context = Context()
        self._retriever = EitherFormRetriever()

    def write(self, text: str, author: Author) -> None:
        """Write words of the user or of the model, and behind each search of the model what it finds."""
        for token in self._vocabulary.encode(text.split()).tolist():
            self._append(token, author)
            query = self._context.write(token)
            if author == Author.MODEL and query is not None:
                for found in self._retriever(self._context.visible, query, self._vocabulary).tolist():
                    self._append(found, Author.RETRIEVER)
                self._context.close_search()
            elif author == Author.MODEL and token in self._answer_words and not self._context.is_searching:
                self.answers.append(token)

    def _append(self, token: int, author: Author) -> None:
        self.tokens.append(token)
        self.author.append(author)
