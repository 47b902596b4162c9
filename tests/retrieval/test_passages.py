import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import PassageRetriever
from lit_retrieval.retrieval.passages import bm25

WORDS = st.lists(st.sampled_from(["orva", "tellmark", "river", "the", "of"]), max_size=6)
TEXT = """- Ada: Ada was born in Tellmark.
- Tellmark: The river Orva flows through Tellmark.
- Fennick: A town without a river.
Question: Which river flows through the town where Ada was born, Ada?
"""


def by_the_formula(query, passages, k1, b):
    """The scores, a sum of one product for each word of the query."""
    mean = sum(map(len, passages)) / len(passages)
    scores = []
    for passage in passages:
        score = 0.0
        for word in query:
            having = sum(word in other for other in passages)
            weight = math.log(1 + (len(passages) - having + 0.5) / (having + 0.5))
            if f := passage.count(word):
                score += weight * f * (k1 + 1) / (f + k1 * (1 - b + b * len(passage) / mean))
        scores.append(score)
    return scores


@settings(max_examples=40, deadline=None)
@given(WORDS, st.lists(WORDS, min_size=1, max_size=5), st.sampled_from([0, 1.2, 2.0]), st.sampled_from([0, 0.75, 1]))
def test_scores_are_those_of_the_formula(query, passages, k1, b):
    np.testing.assert_allclose(bm25(query, passages, k1, b), by_the_formula(query, passages, k1, b), rtol=1e-12)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Ada", "Ada: Ada was born in Tellmark."),
        ("the river of TELLMARK?", "Tellmark: The river Orva flows through Tellmark."),
        ("a town", "Fennick: A town without a river."),
        ("Which", None),  # only the question has this word, and it is no passage
        ("Helsinki", None),
        ("", None),
        ("?!", None),
    ],
)
def test_the_passage_that_matches_best_is_found(query, found):
    assert PassageRetriever().search(query, TEXT) == found


def test_all_lines_are_passages_without_a_mark():
    assert PassageRetriever(mark="").search("Which", TEXT).startswith("Question: ")
    assert PassageRetriever().search("Ada", "") is None
    assert PassageRetriever().search("Ada", "- \n-\n") is None


def test_the_first_of_equal_passages_is_found():
    assert PassageRetriever().search("two", "- two one\n- two six") == "two one"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k1": -1}, "k1 must be 0 or more, got -1"),
        ({"b": 2}, "b must be 0 to 1, got 2"),
        ({"mark": "\n"}, "mark must begin a line, got '\\n'"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments, said):
    with pytest.raises(UserError) as error:
        PassageRetriever(**arguments)
    assert said in str(error.value)


def test_token_ids_are_refused():
    with pytest.raises(UserError, match="is for tasks in text"):
        PassageRetriever()(np.array([1]), np.array([1]), None)
