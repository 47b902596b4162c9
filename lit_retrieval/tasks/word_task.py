"""The base class for a task of your own, written in words, one sample at a time."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lit_retrieval.conversation import UNDECIDED, Author, Conversation, Reply
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least, check_between
from lit_retrieval.retrieval import EitherFormRetriever
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.tasks.writing import blank_rows
from lit_retrieval.vocabulary import Vocabulary

_PROBED = 256  # samples that estimate the longest reply


class Turn(NamedTuple):
    """A prompt of the user and the right reply to it, words separated by spaces.

    Args:
        prompt: The user's words; by convention, the first turn's begin with `<s>`.
        reply: The model's words, without the results of searches, which are inserted after each `<EndSearch>`.
    """

    prompt: str
    reply: str


class WordTask(Task):
    """A task in words: `draw` makes a problem, and `write_turns` its prompts and replies.

    The answer of a turn is the word of `answers` that ends its reply; the last turn has `num_answers` of them. Searches
    are run while the transcript is written, by the same retriever as in decoding.

    Args:
        words: The words of prompts and replies; `<s>`, `?` and the signs of queries are always included.
        answers: The answers among them: a turn ends when the model writes one outside a search.
        chance: Share of right answers among blind guesses; 1 / number of answers if absent.
        num_answers: Answers that the last reply has; None if that varies. Each word of `answers` that a reply writes
            outside a search is one, so a chain of thought needs words of its own.
    """

    def __init__(
        self, words: Iterable[str], answers: Iterable[str], chance: float | None = None, num_answers: int | None = 1
    ) -> None:
        self.vocabulary = Vocabulary(words)
        self.answer_words = self.vocabulary.encode(list(answers))
        if not len(self.answer_words):
            raise UserError(f"{type(self).__name__} must have an answer or more; name the words that end a turn")
        self.chance = 1 / len(self.answer_words) if chance is None else chance
        check_between("chance", self.chance, 0, 1, "chance")
        if num_answers is not None:
            check_at_least("num_answers", num_answers, 1, "num_answers")
        self.num_answers = num_answers
        self._longest: dict[tuple[int, Regime], int] = {}
        self._retriever = EitherFormRetriever()

    @abstractmethod
    def draw(self, rng: np.random.Generator, size: int) -> Any:
        """A problem of this size."""

    @abstractmethod
    def write_turns(self, problem: Any, regime: Regime) -> list[Turn]:
        """The prompts of the problem and the replies in a regime."""

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        written = [
            self._write_sample(seed, int(index), int(size), regime) for index, size in zip(indices, sizes, strict=True)
        ]
        longest, most = max(len(sample.tokens) for sample in written), max(len(sample.answers) for sample in written)
        rows = blank_rows(len(written), longest, most)
        for row, sample in enumerate(written):
            length = rows.length[row] = len(sample.tokens)
            rows.tokens[row, :length], rows.author[row, :length] = sample.tokens, sample.author
            rows.answers[row, : len(sample.answers)] = sample.answers
            rows.prompt_length[row] = sample.author.index(Author.MODEL)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """Twice the longest of 256 samples; override it if that may be too short."""
        if (size, regime) not in self._longest:
            probed = self.sample(0, np.arange(_PROBED), np.full(_PROBED, size), regime)
            self._longest[size, regime] = 2 * int((probed.length - probed.prompt_length).max())
        return self._longest[size, regime]

    def shortest_reply(self, regime: Regime) -> int:
        """One token; override it if all replies are longer."""
        return 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` below size 1; override it if `draw` takes other sizes."""
        check_at_least("size", size, 1, "data.sizes")

    def _write_sample(self, seed: int, index: int, size: int, regime: Regime) -> Reply:
        """The transcript of a sample, with its answers alone."""
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))  # all 64 bits of each
        turns = self._write_turns(self.draw(rng, size), regime)
        prompts = [self.vocabulary.encode(turn.prompt.split()) for turn in turns]
        replies = [self.vocabulary.encode(turn.reply.split()) for turn in turns]
        most = 1 + sum(map(len, replies))  # more answers than there can be, so that the conversation goes on
        answer_tokens = self.answer_words.tolist()
        conversation = Conversation(prompts, answer_tokens, self._retriever, self.vocabulary, num_answers=most)
        for number, (turn, words) in enumerate(zip(turns, replies, strict=True), start=1):
            conversation.write(words)
            reply = conversation.reply()
            reply = reply._replace(answers=[answer for answer in reply.answers if answer != UNDECIDED])
            self._check_turn(reply, turn, number, number == len(turns))
        return reply

    def _write_turns(self, problem: Any, regime: Regime) -> list[Turn]:
        turns = self.write_turns(problem, regime)
        is_list = isinstance(turns, list | tuple) and bool(turns)
        if not is_list or not all(isinstance(turn, tuple) and list(map(type, turn)) == [str, str] for turn in turns):
            raise UserError(
                f"write_turns of {type(self).__name__} must return a list of one or more Turn(prompt, reply), two "
                f"strings each, got {turns!r:.80}"
            )
        return [Turn(*turn) for turn in turns]

    def _check_turn(self, written: Reply, turn: Turn, number: int, is_last: bool) -> None:
        """Raise `UserError` unless the last reply ended its turn, and no search took too long."""
        answers = written.answers
        has_ended = bool(answers) and written.tokens[-1] == answers[-1]
        if not has_ended or len(answers) < number or (not is_last and len(answers) > number):
            raise UserError(
                f"{type(self).__name__} wrote {turn.reply!r} as reply {number}; a reply ends with its one answer, "
                "and only the last may have several"
            )
        count = len(answers) - number + 1
        if is_last and self.num_answers not in (None, count):
            raise UserError(
                f"{type(self).__name__} wrote {turn.reply!r} with {count} answers, and its num_answers is "
                f"{self.num_answers}; take other words for the steps, or pass num_answers={count} to super().__init__ "
                "(None if it varies)"
            )
        if written.num_timeouts:
            raise UserError(
                f"a search of {type(self).__name__} took too long in {turn.reply!r}; write a faster query, since "
                "samples must not depend on the load of the machine"
            )
