import re

import pytest
import torch
from rich.console import Console

from lit_retrieval.training.score_name import QUANTITIES
from lit_retrieval.training.score_table import score_table


def scores(group="", **values):
    values = dict.fromkeys(QUANTITIES, 0.5) | {"all_right": 0.25, "timeouts": 0.0} | values
    return {f"val/{group}{quantity}": torch.tensor(value) for quantity, value in values.items()}


def table_of(metrics):
    return score_table(metrics, "val", "validation after 700 steps")


def rows(table):
    return list(table.columns[0].cells)


def shown(table, width):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def test_rows_are_groups_in_order():
    metrics = scores() | scores("size_16/") | scores("size_8/") | scores("distance_4/") | scores("task_index/")
    assert rows(table_of(metrics)) == ["index", "size 8", "size 16", "4-7 back", "all"]


@pytest.mark.parametrize("other", ["val/size_8/of_another_kind", "test/size_8/loss", "train/loss"])
def test_what_is_logged_under_another_quantity_or_split_has_no_row(other):
    table = table_of(scores() | {other: torch.tensor(1.0)})
    assert rows(table) == ["all"] and all("1.0000" not in column.cells for column in table.columns)
    assert table_of({other: torch.tensor(1.0)}) is None


@pytest.mark.parametrize(("timeouts", "is_said"), [(0.0, False), (0.25, True)])
def test_timeouts_are_said_if_there_were_any(timeouts, is_said):
    lines = shown(table_of(scores(timeouts=timeouts) | scores("size_8/")), 80)
    assert ("0.2500 searches a sample took too long" in " ".join(lines)) == is_said


@pytest.mark.parametrize(("all_right", "is_shown"), [(0.5, False), (0.25, True)])
def test_all_right_has_a_column_where_there_are_several_answers(all_right, is_shown):
    headers = [str(column.header).replace("\n", " ") for column in table_of(scores(all_right=all_right)).columns]
    assert ("all right" in headers) == is_shown and len(headers) == len(QUANTITIES) - 1 + is_shown


WIDEST = scores(loss=10.2788, searches=270.0) | scores("distance_16384/") | scores("task_AssociativeRecall/")


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_table_fits_the_terminal(width):
    lines = shown(table_of(WIDEST), width)
    assert max(map(len, lines)) <= width
    values = [line.split() for line in lines if "." in line]
    assert [len([one for one in line if "." in one]) for line in values] == [len(QUANTITIES) - 1] * 3
    assert re.fullmatch(r"all +0\.5000 +0\.2500 +0\.5000 +0\.5000 +270\.00 +0\.5000 +0\.5000 +10\.2788 *", lines[-1])
    assert [line.split()[0] for line in lines[-3:]] == ["AssociativeRecall", "16384-32767", "all"]
