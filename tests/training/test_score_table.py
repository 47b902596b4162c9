from types import SimpleNamespace

import pytest
import torch

from lit_retrieval.training.score_name import QUANTITIES
from lit_retrieval.training.score_table import score_table


def scores(group="", timeouts=0.0):
    values = dict.fromkeys(QUANTITIES, 0.5) | {"timeouts": timeouts}
    return {f"val/{group}{quantity}": torch.tensor(value) for quantity, value in values.items()}


def table_of(metrics):
    return score_table(SimpleNamespace(callback_metrics=metrics), "val", "validation")


def rows(table):
    return list(table.columns[0].cells)


def test_rows_are_groups_in_order():
    metrics = scores() | scores("size_16/") | scores("size_8/") | scores("distance_4/") | scores("task_index/")
    assert rows(table_of(metrics)) == ["index", "size 8", "size 16", "4 to 7 tokens back", "all"]


@pytest.mark.parametrize("other", ["val/size_8/of_another_kind", "test/size_8/loss", "train/loss"])
def test_what_is_logged_under_another_quantity_or_split_has_no_row(other):
    table = table_of(scores() | {other: torch.tensor(1.0)})
    assert rows(table) == ["all"] and all("1.0000" not in column.cells for column in table.columns)
    assert table_of({other: torch.tensor(1.0)}) is None


@pytest.mark.parametrize(("timeouts", "is_shown"), [(0.0, False), (0.25, True)])
def test_timeouts_have_a_column_if_there_were_any(timeouts, is_shown):
    table = table_of(scores(timeouts=timeouts) | scores("size_8/"))
    headers = [column.header for column in table.columns]
    assert ("timeouts" in headers) == is_shown and len(headers) == len(QUANTITIES) + is_shown
    if is_shown:
        assert list(table.columns[headers.index("timeouts")].cells) == ["0.0000", "0.2500"]
