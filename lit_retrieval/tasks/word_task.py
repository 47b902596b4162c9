"""The base class for your own task in words, one sample at a time."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lit_retrieval.conversation import UNDECIDED, Conversations
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least, check_between
from lit_retrieval.tasks.drawn_task import DrawnTask
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import Regime, Transcripts
from lit_retrieval.tasks.writing import Rows
from lit_retrieval.vocabulary import PAD, Vocabulary


class Turn(NamedTuple):
    """A prompt of the user and the right reply to it, words separated by spaces.

    Args:
        prompt: The user's words; by convention, the first turn's begin with `<s>`.
        reply: The model's words, without the results of searches, which are inserted after each `<EndSearch>`.
    """

    prompt: str
    reply: str


class WordTask(DrawnTask):
    """A task in words: `draw` generates a problem, and `write_turns` its prompts and replies.

    The answer of a turn is the word of `answers` that ends its reply; the last turn has `num_answers` answers. Searches
    are run while the transcript is written, by the same retriever as in decoding.

    Args:
        words: The words of prompts and replies; `<s>`, `?` and the signs of queries are always included.
        answers: The answers among them: a turn ends when the model writes one outside a search.
        chance: Share of right answers among blind guesses; 1 / number of answers if absent.
        num_answers: Number of answers in the last reply; None if it varies. Each word of `answers` that a reply writes
            outside a search counts as an answer, so a chain of thought must use other words.
    """

    def __init__(
        self, words: Iterable[str], answers: Iterable[str], chance: float | None = None, num_answers: int | None = 1
    ) -> None:
        super().__init__()
        self.vocabulary = Vocabulary(words)
        self.answer_words = self.vocabulary.encode(sorted(answers) if isinstance(answers, set) else list(answers))
        if not 0 < len(self.answer_words) == len(set(self.answer_words.tolist())):
            name = type(self).__name__
            raise UserError(f"{name} must have an answer or more, and each once; name the words that end a turn")
        self.chance = 1 / len(self.answer_words) if chance is None else chance
        check_between("chance", self.chance, 0, 1, "chance")
        if num_answers is not None:
            check_at_least("num_answers", num_answers, 1, "num_answers")
        self.num_answers = num_answers

    @abstractmethod
    def write_turns(self, problem: Any, regime: Regime) -> list[Turn]:
        """Write the prompts of the problem, and the replies in this regime."""

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        pairs = zip(indices, sizes, strict=True)
        samples = [self._write_turns(self.problem(seed, int(index), int(size)), regime) for index, size in pairs]
        encode = self.vocabulary.encode
        prompts = [[encode(turn.prompt.split()) for turn in turns] for turns in samples]
        replies = [[encode(turn.reply.split()) for turn in turns] for turns in samples]
        most = [1 + sum(map(len, said)) for said in replies]  # more than possible, so that no answer is the last
        answer_tokens = self.answer_words.tolist()
        written = Conversations(prompts, answer_tokens, self.retriever, self.vocabulary, num_answers=most)
        for row, (turns, said) in enumerate(zip(samples, replies, strict=True)):
            for number, (turn, words) in enumerate(zip(turns, said, strict=True), start=1):
                written.write(row, words)
                self._check_turn(written, row, turn, number, number == len(turns))
        return _transcripts(written, np.array([len(turns[0]) for turns in prompts]), sizes)

    def _write_turns(self, problem: Any, regime: Regime) -> list[Turn]:
        turns = self.write_turns(problem, regime)
        is_list = isinstance(turns, list | tuple) and bool(turns)
        if not is_list or not all(isinstance(turn, tuple) and list(map(type, turn)) == [str, str] for turn in turns):
            raise UserError(
                f"write_turns of {type(self).__name__} must return a list of one or more Turn(prompt, reply), two "
                f"strings each, got {turns!r:.80}"
            )
        return [Turn(*turn) for turn in turns]

    def _check_turn(self, written: Conversations, row: int, turn: Turn, number: int, is_last: bool) -> None:
        """Raise `UserError` unless the last reply in a row ended its turn, and no search took too long."""
        rows, given = written.rows, int(written.rows.num_given[row])
        has_ended = given > 0 and rows.tokens[row, rows.length[row] - 1] == rows.answers[row, given - 1]
        if not has_ended or given < number or (not is_last and given > number):
            raise UserError(
                f"{type(self).__name__} wrote {turn.reply!r} as reply {number}; a reply ends with its one answer, "
                "and only the last may have several"
            )
        count = given - number + 1
        if is_last and self.num_answers not in (None, count):
            raise UserError(
                f"{type(self).__name__} wrote {turn.reply!r} with {count} answers, and its num_answers is "
                f"{self.num_answers}; take other words for the steps, or pass num_answers={count} to super().__init__ "
                "(None if it varies)"
            )
        if rows.num_timeouts[row]:
            raise UserError(
                f"a search of {type(self).__name__} took too long in {turn.reply!r}; write a faster query, since "
                "samples must not depend on the load of the machine"
            )


def _transcripts(written: Conversations, prompt_length: Counts, sizes: Counts) -> Transcripts:
    """Finished conversations as transcripts."""
    replies = written.replies()
    answers = np.where(replies.answers == UNDECIDED, PAD, replies.answers)[:, : written.rows.num_given.max()]
    distances = np.zeros(answers.shape, np.int64)
    return Rows(replies.tokens, replies.author, replies.length, prompt_length, answers, distances).transcripts(sizes)
