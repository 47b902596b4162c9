"""The table of a comparison in a terminal."""

import pytest
from comparisons import rows
from comparisons.publish import ROOT
from comparisons.summary import show

LAYERS = ["attention", "deltanet", "lstm", "gla", "mamba"]


@pytest.mark.parametrize(("count", "lines", "columns"), [(1, 15, 2), (4, 15, 5), (5, 6, 15)])
def test_a_narrow_terminal_leaves_no_number_out(count, lines, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found, _ = rows.read([ROOT / "data/results/compare/laptop.csv"])
    show(found, set(LAYERS[:count]))
    said = capsys.readouterr().out
    table = [[cell for cell in line.split("  ") if cell.strip()] for line in said.splitlines()]
    assert "\u2026" not in said and len(table) == lines and {len(line) for line in table} == {columns}
    for row in found:
        if row["recurrence"] in LAYERS[:count] and row["state_budget"] == "40960":
            assert f"{float(row['accuracy']):.3f}" in said
