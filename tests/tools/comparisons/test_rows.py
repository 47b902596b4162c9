"""The rows of a comparison: whose learning rate they have, and which of them may share a table."""

import numpy as np
import pytest
from comparisons import rows
from sweeps import files
from sweeps.grid import Trial

from lit_retrieval.errors import UserError


def test_numbers_come_back_from_their_text():
    numbers = np.array([0, 1, 255, 256, 65535, 3])
    assert rows.decode(rows.encode(numbers)).tolist() == numbers.tolist()
    with pytest.raises(UserError, match="65,535 parts of an answer or fewer, got 65,536"):
        rows.encode(numbers + 1)


@pytest.mark.parametrize(
    ("asked", "right", "parts", "whole"),
    [([4, 4, 4], [4, 0, 3], [4, 0, 3], 4), ([4, 1, 6], [4, 1, 3], [12, 12, 6], 12)],
)
def test_samples_with_different_numbers_of_answers_weigh_the_same(tmp_path, asked, right, parts, whole):
    (tmp_path / "run").mkdir()
    np.savez(tmp_path / "run" / rows.NAME, right=[*right, 1], asked=[*asked, 1], sizes=[8, 8, 8, 4])
    found = rows.answers_of_size(tmp_path, 8)
    assert found[0].tolist() == parts and found[1].tolist() == [whole] * 3
    assert np.mean(found[0] / found[1]) == pytest.approx(np.mean(np.divide(right, asked)))


def result(rate, seed, accuracy, loss):
    return {"curve": {"accuracy": [0.1, accuracy], "loss": [9.0, loss]}, "rate": rate, "seed": seed}


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ({0.1: [(0.9, 1), (0.7, 1)], 0.2: [(0.8, 1), (0.9, 1)]}, 0.2),  # the mean over seeds
        ({0.1: [(0.9, 2), (0.9, 2)], 0.2: [(0.9, 1), (0.9, 2)]}, 0.2),  # then the loss
        ({0.1: [(0.9, 1), (0.9, 1)], 0.2: [(0.9, 1), (0.9, 1)]}, 0.1),  # then the lower rate
        ({0.1: [(0.5, 1), (0.5, 1)], 0.2: [(0.9, 1), None]}, 0.1),  # a rate with a failed seed does not count
        ({0.1: [None, (1.0, 1)]}, None),
    ],
)
def test_validation_chooses_the_rate(tmp_path, losses, best):
    template, asked = Trial("", "Mine", 0, [], {}, ""), []
    for rate, seeds in losses.items():
        for seed, scores in enumerate(seeds):
            one = template._replace(hash=f"{rate}-{seed}", seed=seed, configuration={"model": {"learning_rate": rate}})
            asked.append(one)
            if scores is not None:
                files.write(result(rate, seed, *scores), files.trial_folder(tmp_path, one.hash) / "result.json")
    winner = rows.choose(asked, tmp_path)
    assert (None if winner is None else winner.rate) == best


def test_of_rows_in_several_files_one_with_an_accuracy_counts_with_its_own_samples(tmp_path):
    head = {"protocol": "tiny-1-abc", "recurrence": "x", "suite": "a", "size": "2", "state_budget": "9"}
    for number, accuracy in enumerate(["", "0.5", "0.7"]):
        rows.write([{**head, "accuracy": accuracy}], rows.COLUMNS, tmp_path / f"{number}.csv")
        samples = [{**head, "seed": "0", "right": str(number)}, {**head, "seed": str(number), "right": str(number)}]
        named = [{key: one[key] for key in rows.OF_SAMPLES} for one in samples]
        rows.write(named, rows.OF_SAMPLES, tmp_path / f"{number}.samples.csv")
    (row,), samples = rows.read([tmp_path / f"{number}.csv" for number in range(3)])
    assert row["accuracy"] == "0.5" and [(one["seed"], one["right"]) for one in samples] == [("0", "1"), ("1", "1")]


def test_one_name_of_two_classes_is_refused(tmp_path):
    head = {"protocol": "tiny-1-abc", "recurrence": "x", "suite": "a", "size": "2", "state_budget": "9"}
    for name in ("one", "two"):
        rows.write([{**head, "class_path": f"{name}.X"}], rows.COLUMNS, tmp_path / f"{name}.csv")
    with pytest.raises(UserError, match=r"x must be one class, got one\.X and two\.X; rename"):
        rows.read([tmp_path / "one.csv", tmp_path / "two.csv"])


@pytest.mark.parametrize(("head", "line", "got"), [(",note", ",good", "note"), ("", ",good", r"\(no name\)")])
def test_a_column_that_rows_do_not_have_is_refused(tmp_path, head, line, got):
    empty = "," * (len(rows.COLUMNS) - 1)
    (tmp_path / "rows.csv").write_text(f"{','.join(rows.COLUMNS)}{head}\n{empty}{line}\n")
    with pytest.raises(UserError, match=f"must have the columns of a row alone, got {got}; remove it"):
        rows.read([tmp_path / "rows.csv"])


def test_rows_of_different_versions_never_share_a_table(tmp_path):
    for version in (1, 2):
        row = {"protocol": f"tiny-{version}-abc", "recurrence": "x", "suite": "a", "size": "2", "state_budget": "9"}
        rows.write([row], rows.COLUMNS, tmp_path / f"{version}.csv")
    with pytest.raises(UserError, match="never share a table, got tiny-1-abc, tiny-2-abc"):
        rows.read([tmp_path / "1.csv", tmp_path / "2.csv"])
    assert len(rows.read([tmp_path / "1.csv", tmp_path / "1.csv"])[0]) == 1
