"""A task whose prompts are read several times."""

import numpy as np

from lit_retrieval.conversation import Author
from lit_retrieval.ranges import check_numbers
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.tasks.writing import blank_rows


class ReadAgain(Task):
    """The problems of any task, with each prompt written several times, one after the other. (arXiv:2407.05483.)

    A recurrent model that has read the question may store on the second pass what it needs. Where answers are beside
    the user's words, all of these are read before, without a question. Later turns of the user are not repeated. There
    is no `retrieval`, since a search would see each fact several times. A sample of `AssociativeRecall`::

        prompt:  <s> k5 v1 k2 v4 ? k2 <s> k5 v1 k2 v4 ? k2
        vanilla: v4

    Args:
        task: The task.
        passes: How many times a prompt is written.
    """

    def __init__(self, task: Task, passes: int = 2) -> None:
        check_numbers("data.task.init_args", passes=(passes, 1))
        task.check_attributes()
        self.task = task
        self.passes = passes
        self.vocabulary, self.answer_words = task.vocabulary, task.answer_words
        self.chance, self.kinds = task.chance, task.kinds
        self.regimes = tuple(regime for regime in task.regimes if regime != "retrieval")

    @property
    def chances(self) -> tuple[float, ...]:
        """Those of the task."""
        return self.task.chances

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        once = self.task.write(seed, indices, sizes, regime)
        is_asked = (once.author == Author.ASKED).any(1)
        again = np.where(is_asked, once.length, once.prompt_length) * (self.passes - 1)
        rows = blank_rows(len(once), int((again + once.length).max()), once.answers.shape[1])
        for row, (added, length) in enumerate(zip(again.tolist(), once.length.tolist(), strict=True)):
            tokens = once.tokens[row, :length]
            rows.tokens[row, :added] = np.resize(tokens[: added // max(1, self.passes - 1)], added)
            rows.author[row, :added] = Author.PROMPT
            rows.tokens[row, added : added + length] = tokens
            rows.author[row, added : added + length] = once.author[row, :length]
        rows.length[:], rows.prompt_length[:] = again + once.length, again + once.prompt_length
        rows.answers[:], rows.distances[:] = once.answers, once.distances
        return rows.transcripts(once.sizes, once.kinds)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """That of the task."""
        return self.task.longest_reply(size, regime)

    def shortest_reply(self, regime: Regime) -> int:
        """That of the task."""
        return self.task.shortest_reply(regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """That of the task: from the last copy of an answer."""
        return self.task.longest_distance(size, regime)

    def random_bits(self, size: int) -> int | None:
        """None: a model that has read the question need not keep all bits."""
        return None

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless the task has problems of this size."""
        self.task.check_size(size)
