"""A retriever of passages of text."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least, check_between


class PassageRetriever:
    """Answers a query with the passage that matches its words best by BM25, for tasks in text.

    A passage is a line that begins with `mark`. Of passages with equal scores, the first is found; a passage that
    shares no word with the query is never found.

    Args:
        mark: The beginning of a line that is a passage, left out of the result; if empty, all lines are passages.
        k1: How slowly the score saturates when a word is repeated, 0 or more.
        b: Penalty for long passages, 0 to 1.
    """

    def __init__(self, mark: str = "- ", k1: float = 1.2, b: float = 0.75) -> None:
        check_at_least("k1", k1, 0, "data.retriever.init_args.k1")
        check_between("b", b, 0, 1, "data.retriever.init_args.b")
        if "\n" in mark:
            raise UserError(f"mark must begin a line, got {mark!r}; set data.retriever.init_args.mark, without \\n")
        self.mark, self.k1, self.b = mark, k1, b

    def __call__(self, context: Any, query: Any, vocabulary: Any) -> Any:
        """Raise `UserError`: token ids have no lines."""
        raise UserError(
            "PassageRetriever is for tasks in text, such as lit_retrieval.tasks.text.HotpotQA; leave out data.retriever"
        )

    def search(self, query: str, text: str) -> str | None:
        """The passage of `text` with the highest score; None if none shares a word with the query."""
        passages = self.passages(text)
        scores = bm25(_words(query), [_words(passage) for passage in passages], self.k1, self.b)
        return passages[int(scores.argmax())] if scores.any() else None

    def passages(self, text: str) -> list[str]:
        """The passages of a text, without their mark."""
        lines = (line for line in text.split("\n") if line.startswith(self.mark))
        return [passage for line in lines if (passage := line[len(self.mark) :].strip())]


def bm25(query: Sequence[str], passages: Sequence[Sequence[str]], k1: float, b: float) -> npt.NDArray[np.float64]:
    """The BM25 score of each passage for a query.

    It is the sum over the words w of the query of log(1 + (N - n_w + 1/2) / (n_w + 1/2)) times
    f (k1 + 1) / (f + k1 (1 - b + b l / L)), where n_w of the N passages have w, the passage has it f times among its l
    words, and L is the mean of l  (Robertson and Zaragoza 2009, doi:10.1561/1500000019, equations 3.8 and 3.15; the 1
    in the logarithm, from Lucene, keeps the weight of a word of most passages above 0).

    Args:
        query: The words of the query.
        passages: The words of each passage.
        k1, b: As above.

    Returns:
        The scores, `(passages,)`.
    """
    counts = [Counter(passage) for passage in passages]
    lengths = np.array([len(passage) for passage in passages], np.float64)
    damping = k1 * (1 - b + b * lengths / (lengths.mean() or 1.0)) if len(passages) else lengths
    scores = np.zeros(len(passages))
    for word, times in Counter(query).items():
        found = np.array([count[word] for count in counts], np.float64)
        if (having := int(np.count_nonzero(found))) == 0:
            continue
        weight = math.log1p((len(passages) - having + 0.5) / (having + 0.5))
        shares = np.divide(found * (k1 + 1), found + damping, out=np.zeros_like(found), where=found > 0)
        scores += times * weight * shares
    return scores


def _words(text: str) -> list[str]:
    words: list[str] = regex.findall(r"\w+", text.lower())
    return words
