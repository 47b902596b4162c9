"""IsTree with rows padded at the left, as the paper's code pads them: their places tell a model without a mask."""

import numpy as np

from lit_retrieval.conversation import Author
from lit_retrieval.tasks import IsTree, Regime, Transcripts
from lit_retrieval.tasks.random import Counts
from lit_retrieval.vocabulary import FAILED


class LeftPaddedIsTree(IsTree):
    """`IsTree` with a `[FAILED]` before `<s>` for each token that the reply is shorter than that of a tree.

    Rows of one size are then equally long, and one that begins with `<s>` has a tree. The code of arXiv:2402.18510
    scores chains of thought by comparing the verdict with the last word of a row, which is right only if rows are
    padded at the left (`--pad left`); it gives its Transformer a mask of the padding, but not Mamba and the hybrid.
    The arguments are those of `IsTree`.
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
