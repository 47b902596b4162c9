"""No regular expression that a model may write stops a run."""

import time

import numpy as np
import pytest

from lit_retrieval.decoding import Conversation
from lit_retrieval.retrieval import RegularExpressionRetriever
from lit_retrieval.vocabulary import END_SEARCH, FAILED, START_SEARCH, Vocabulary

PATHOLOGICAL = [
    r"(?:(?:.*a){20}.*)(x)",
    r"(a+)+$(x)",
    r"((?:a|aa|\s)+)+$(x)",
    r"(?:\S*\s*)*\s(?:\S*\s*)*\s(?:\S*\s*)*$(x)",
    r"^(?:(\S+)\s*)*\s(\S+)\s*(?:(\S+)\s*)*$x",
    r"((a*)*)*b(x)",
    r"(.*)(.*)(.*)(.*)(.*)(.*)x(y)z",
    r"(?:.*?\s){11}.*(?:.*?\s){11}P(x)$",
    r"(a{1000}){1000}",
    r"((a{100}){100}){100}",
    r"(?:a?){500}(a{500})z",
    r"(\w+\s?)+\1\1\1z",
    r"(?:(.+)\1)+$z",
    r"(?R)?(a)",
    r"(?:(?P>n)|x)(?P<n>(?&n)?a)",
    r"(?=(\S+\s)+)(?:\1|.)*\1\1(z)$",
    r"(?<=(\w+\s+)+)(x)$",
    r"(?e)(?:aa\s1\saa\s1\sx\sz){e<=10}(q)",
    r"(?b)(?:\w+\s\w+\s\w+){e<=20}z",
    r"(?:a{e<=50}){20}(P)$",
    r"(?:a?b?c?d?e?f?){99999}(x)",
    r"(?:(?:a?b?c?){300}){300}(x)",
    r"(?V0)(?V1)(x)",  # a ValueError of the library
    rf"(?:{'a?b?c?d?' * 100}){{300}}(x)",
]
VOCABULARY = Vocabulary(["1", "a", "aa", "x", "y", "z", "P", *PATHOLOGICAL])
TEXT = "x y z P " + " ".join(("1", "a", "aa")[at % 3] for at in range(2000))


def test_pathological_patterns_over_two_thousand_words_end_in_time():
    """Their time is the processor's: a clock on the wall also counts what else the machine does."""
    retriever, timeouts = RegularExpressionRetriever(), 0
    context = VOCABULARY.encode(TEXT.split())
    for pattern in PATHOLOGICAL:
        began = time.process_time()
        try:
            retriever(context, VOCABULARY.encode([pattern]), VOCABULARY)
        except TimeoutError:
            timeouts += 1
        assert time.process_time() - began < 2, pattern  # 0.1 to match and about as much to compile, on a fast machine
    assert len(PATHOLOGICAL) >= 20 and timeouts >= 5


@pytest.mark.parametrize("pattern", PATHOLOGICAL[:1])
def test_a_time_out_says_failed_and_is_counted(pattern):
    prompt = VOCABULARY.encode(TEXT.split())
    conversation = Conversation([prompt], {-1}, RegularExpressionRetriever(0.01), VOCABULARY, 5, 1)
    conversation.take_forced()
    for word in (START_SEARCH, int(VOCABULARY.encode([pattern])[0]), END_SEARCH, 0, 0):
        conversation.step(word)
    reply = conversation.reply()
    assert reply.num_searches == reply.num_timeouts == 1 and np.array(reply.tokens)[-2] == FAILED
