"""IsTree with left padding, as in the paper's code; without a mask, the padding reveals the answer to a model."""

import numpy as np

from lit_retrieval.conversation import Author
from lit_retrieval.tasks import IsTree, Regime, Transcripts
from lit_retrieval.tasks.random import Counts
from lit_retrieval.vocabulary import FAILED


class LeftPaddedIsTree(IsTree):
    """`IsTree` with left padding: `[FAILED]` tokens before `<s>` make all rows of a size equally long.

    Replies for trees are the longest, so a row that begins with `<s>` has a tree. The code of arXiv:2402.18510 compares
    the last word of a row with the verdict, which is right only with left padding (`--pad left`). It gives its
    Transformer a mask of the padding, but not Mamba and the hybrid. The arguments are those of `IsTree`.
    """

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        rows = super().write(seed, indices, sizes, regime)
        replies = rows.length - rows.prompt_length
        missing = np.array([self.longest_reply(int(size), regime) for size in sizes]) - replies
        tokens = np.zeros((len(rows), int((missing + rows.length).max())), rows.tokens.dtype)
        author = np.full(tokens.shape, Author.PAD, rows.author.dtype)
        for row, (shift, length) in enumerate(zip(missing, rows.length, strict=True)):
            tokens[row, :shift], author[row, :shift] = FAILED, Author.PROMPT
            tokens[row, shift : shift + length] = rows.tokens[row, :length]
            author[row, shift : shift + length] = rows.author[row, :length]
        return Transcripts(
            tokens, author, missing + rows.length, missing + rows.prompt_length, rows.answers, rows.sizes,
            rows.distances, rows.kinds,
        )  # fmt: skip
