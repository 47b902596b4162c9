import pytest

from lit_retrieval.runs import differences, effective, run_hash

RUN = {
    "seed_everything": 0,
    "run_dir": None,
    "trainer": {"devices": "auto", "max_steps": 10, "accelerator": "cpu", "precision": None},
    "data": {"sizes": [8, 16], "num_workers": 0, "task": {"class_path": "tasks.IsTree", "init_args": {"max_size": 16}}},
}


def with_(section, **changes):
    return {**RUN, section: {**RUN[section], **changes}}


@pytest.mark.parametrize(
    "other",
    [
        {**RUN, "run_dir": "elsewhere"},
        with_("trainer", devices=2, accelerator="gpu"),
        with_("data", num_workers=3),
        {**RUN, "an_option_of_tomorrow": None},
    ],
)
def test_where_a_run_runs_makes_no_other_run(other):
    assert run_hash(other) == run_hash(RUN) and not differences(RUN, other)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({**RUN, "seed_everything": 1}, "seed_everything is 0 there and 1 here"),
        (with_("trainer", max_steps=20), "trainer.max_steps is 10 there and 20 here"),
        (with_("trainer", precision="bf16-mixed"), "trainer.precision is not set there and bf16-mixed here"),
        (with_("data", sizes=[8]), "data.sizes.1 is 16 there and not set here"),
    ],
)
def test_what_changes_the_result_makes_another_run_and_is_named(other, said):
    assert run_hash(other) != run_hash(RUN)
    assert differences(RUN, other) == [said]


def test_an_empty_list_is_not_an_absent_one():
    assert effective({"data": {"sizes": []}}) == {"data.sizes": "[]"} and effective({"data": {"sizes": None}}) == {}
