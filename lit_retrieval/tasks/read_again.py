"""A task that repeats the prompts of another task."""

import numpy as np
from numba import njit

from lit_retrieval.conversation import Author, Authors
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_numbers
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import Regime, Task, Transcripts, check_words
from lit_retrieval.tasks.writing import Rows, ask, blank_rows
from lit_retrieval.vocabulary import Ids


class ReadAgain(Task):
    """The problems of any task, with each prompt written several times, one after the other. (arXiv:2407.05483.)

    On the second pass, a recurrent model that knows the question may store what it needs. If answers are beside the
    user's words, the repeated prompt has all of these words, without questions. Later turns of the user are not
    repeated. There is no `retrieval`, since a search would see each fact several times. This is a task, not a key of
    `data`, so that a mixture may have problems that are read once and twice, and files and suites record which they
    have. A sample of `AssociativeRecall`::

        prompt:  <s> k5 v1 k2 v4 ? k2 <s> k5 v1 k2 v4 ? k2
        vanilla: v4

    Args:
        task: The task.
        passes: Number of times that a prompt is written.
    """

    def __init__(self, task: Task, passes: int = 2) -> None:
        check_numbers("data.task.init_args", passes=(passes, 1))
        task.check_attributes()
        check_words(task, "ReadAgain")
        self.task = task
        self.passes = passes
        self.vocabulary, self.answer_words = task.vocabulary, task.answer_words
        self.chance, self.kinds = task.chance, task.kinds
        self.num_problems = task.num_problems
        self.regimes = tuple(regime for regime in task.regimes if regime != "retrieval")
        if not self.regimes:
            raise UserError(f"ReadAgain has no regime retrieval, and {type(task).__name__} no other; set another task")

    @property
    def chances(self) -> tuple[float, ...]:
        """The `chances` of the task."""
        return self.task.chances

    @property
    def evaluation(self) -> "ReadAgain":
        """The same wrapper around the task's `evaluation`."""
        return ReadAgain(self.task.evaluation, self.passes)

    @property
    def validation(self) -> "ReadAgain":
        """The same wrapper around the task's `validation`."""
        return ReadAgain(self.task.validation, self.passes)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        once = self.task.write(seed, indices, sizes, regime)
        read = np.where((once.author == Author.ASKED).any(1), once.length, once.prompt_length)
        again = read * (self.passes - 1)
        rows = blank_rows(len(once), int((again + once.length).max()), 0)
        _write_batch(once.tokens, once.author, once.length, read, self.passes, rows)
        rows.length[:], rows.prompt_length[:] = again + once.length, again + once.prompt_length
        return rows._replace(answers=once.answers, distances=once.distances).transcripts(once.sizes, once.kinds)

    @property
    def estimates_lengths(self) -> bool:
        """Whether the task does."""
        return self.task.estimates_lengths

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The longest reply of the task."""
        return self.task.longest_reply(size, regime)

    def shortest_reply(self, regime: Regime) -> int:
        """The shortest reply of the task."""
        return self.task.shortest_reply(regime)

    def about(self, problem: int) -> dict[str, int | str]:
        """The task's `about` for this problem."""
        return self.task.about(problem)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """The longest distance of the task, measured from the last copy of an answer."""
        return self.task.longest_distance(size, regime)

    def random_bits(self, size: int) -> int | None:
        """Returns None, since a model that has read the question need not keep all bits."""
        return None

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless the task has problems of this size."""
        self.task.check_size(size)


@njit(cache=True)
def _write_batch(tokens: Ids, author: Authors, length: Counts, read: Counts, passes: int, rows: Rows) -> None:
    """Write the first `read (batch,)` tokens of each row `passes - 1` times as the user's, then the whole row."""
    for row in range(len(tokens)):
        at = 0
        for _ in range(passes - 1):
            for place in range(read[row]):
                at = ask(rows.tokens[row], rows.author[row], at, tokens[row, place])
        for place in range(length[row]):
            rows.tokens[row, at + place], rows.author[row, at + place] = tokens[row, place], author[row, place]
