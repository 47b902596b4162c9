import pytest

from lit_retrieval.tasks.text.answers import exact_match, f1

# given, right, exact match, F1: computed by hand from the rule.
CASES = [
    ("Orva", "Orva", True, 1.0),
    ("the  ORVA.", "Orva", True, 1.0),
    ("U.S.A.", "usa", True, 1.0),  # punctuation is deleted, not replaced by a space
    ("twenty-two", "twenty two", False, 0.0),
    ("A Tale of the Theatre", "tale of theatre", True, 1.0),  # articles are whole words
    ("theatre", "the atre", False, 0.0),
    ("Petra Maria Lindqvist", "Petra Lindqvist", False, 0.8),
    ("Petra", "Petra Lindqvist", False, 2 / 3),
    ("so so so", "so", False, 0.5),  # a word is shared once for each time that both have it
    ("Lindqvist Petra", "Petra Lindqvist", False, 1.0),  # F1 does not see the order
    ("yes", "Yes.", True, 1.0),
    ("yes it is", "yes", False, 0.0),
    ("yes", "yes it is", False, 0.0),
    ("no", "yes", False, 0.0),
    ("noanswer", "noanswer", True, 1.0),
    ("noanswer at all", "noanswer", False, 0.0),
    ("", "Orva", False, 0.0),
    ("the", "", True, 0.0),  # equal, but no word is shared
    ("Straße", "STRASSE", False, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("given", "right", "is_exact", "share"), CASES)
def test_answers_are_judged_by_the_rule_of_hotpotqa(given, right, is_exact, share):
    assert exact_match(given, right) == is_exact
    assert f1(given, right) == pytest.approx(share)


@pytest.mark.parametrize(("given", "right"), [(given, right) for given, right, *_ in CASES])
def test_neither_side_counts_more(given, right):
    assert exact_match(given, right) == exact_match(right, given)
    assert f1(given, right) == f1(right, given)
