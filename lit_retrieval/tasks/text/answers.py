"""Scores answers in text by HotpotQA's rule (arXiv:1809.09600), which it took from SQuAD."""

import re
import string
from collections import Counter

_CLOSED = frozenset({"yes", "no", "noanswer"})
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(given: str, right: str) -> bool:
    """Whether two answers are equal, ignoring case, punctuation, the articles a, an and the, and white space."""
    return _normalize(given) == _normalize(right)


def f1(given: str, right: str) -> float:
    """The F1 score of the words of two answers, 0 to 1, normalized as in `exact_match`.

    It is 2 s / (g + r) for s shared words, g given words and r right words: the harmonic mean of precision and recall.
    If either answer is yes, no or noanswer, there is no partial score: it is 0 unless both are equal.
    """
    given, right = _normalize(given), _normalize(right)
    if given != right and not _CLOSED.isdisjoint((given, right)):
        return 0.0
    words, right_words = given.split(), right.split()
    shared = (Counter(words) & Counter(right_words)).total()
    return 2 * shared / (len(words) + len(right_words)) if shared else 0.0


def _normalize(answer: str) -> str:
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer.lower().translate(_PUNCTUATION)).split())
