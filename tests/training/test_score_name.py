import pytest

from lit_retrieval.training.score_name import QUANTITIES, Group, ScoreName

GROUPS = [Group(), Group("task", "Index"), Group("task", "Many_words2"), Group("size", "16"), Group("distance", "8")]


@pytest.mark.parametrize("split", ["", "val", "test"])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_name_reads_as_it_is_written(quantity, group, split):
    name = ScoreName(quantity, group, split)
    assert ScoreName.parse(str(name)) == name


@pytest.mark.parametrize("text", ["epoch", "train/gradient_norm", "val/sizes_8/loss", "size_8", "size_8/state_bits"])
def test_what_else_is_logged_reads_as_it_is_written(text):
    assert str(ScoreName.parse(text)) == text


def test_tables_have_tasks_first_then_rising_sizes_and_distances_and_all_at_the_end():
    values = [("", ""), ("distance", "16"), ("size", "32"), ("size", "8"), ("task", "b"), ("task", "a")]
    groups = [Group(*value) for value in values]
    assert [group.label for group in sorted(groups, key=lambda group: group.order)] == [
        "b", "a", "size 8", "size 32", "16-31 back", "all",
    ]  # fmt: skip
