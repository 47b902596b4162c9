"""When an answer in text is right, by the rule of HotpotQA (arXiv:1809.09600), which has it from SQuAD."""

import re
import string
from collections import Counter

_CLOSED = frozenset({"yes", "no", "noanswer"})
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(given: str, right: str) -> bool:
    """Whether two answers are equal up to case, punctuation, the articles a, an and the, and white space."""
    return _normalize(given) == _normalize(right)


def f1(given: str, right: str) -> float:
    """The F1 of the words that two answers share, 0 to 1, after the changes of `exact_match`.

    It is 2 s / (g + r) for s shared words of g given and r right ones: the harmonic mean of precision and recall. An
    answer of yes, no or noanswer on either side has no part that could be right: it scores 0 beside any other.
    """
    given, right = _normalize(given), _normalize(right)
    if given != right and not _CLOSED.isdisjoint((given, right)):
        return 0.0
    words, right_words = given.split(), right.split()
    shared = (Counter(words) & Counter(right_words)).total()
    return 2 * shared / (len(words) + len(right_words)) if shared else 0.0


def _normalize(answer: str) -> str:
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer.lower().translate(_PUNCTUATION)).split())
