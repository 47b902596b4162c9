"""The tool that runs fla's own tests, on a checkout with two small test files."""

import csv
import sys
from pathlib import Path

import pytest
from fla_suites import plugin

TOOL = Path(__file__).parents[2] / "tools" / "fla_suite.py"
OPS = """
import pytest
import torch
from fla.ops.gla import chunk_gla
from fla.utils import device


@pytest.mark.parametrize(("B", "T", "cu_seqlens"), [(8, 1000, [0, 5, 1000])])
def test_sizes(B, T, cu_seqlens):
    assert (B, T, cu_seqlens) == (2, 168, [0, 1, 152])


def test_on_a_cpu():
    q = torch.randn(1, 5, 2, 8, device=device)
    assert chunk_gla(q, q, q, -q.abs())[0].shape == q.shape


def test_refused():
    q = torch.randn(1, 5, 2, 8)
    chunk_gla(q, q, q, q, what=1)


def test_not_covered():
    raise RuntimeError("0 active drivers ([]). There should only be one.")


def test_failing():
    assert 1 == 2


def test_skipped():
    pytest.skip("why")
"""
EXPECTED = {"passed": "2", "failed": "1", "refused": "1", "not covered": "1", "stopped": "0", "skipped": "1"}


@pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
def test_outcomes_are_counted_by_file_and_named(tmp_path, warm):
    for folder, text in (("ops", OPS), ("layers", "import a_module_that_is_not_there\n")):
        (tmp_path / "tests" / folder).mkdir(parents=True)
        (tmp_path / "tests" / folder / f"test_{folder}.py").write_text(text)
    start = f"sys.path.insert(0, {str(TOOL.parent)!r}); runpy.run_path({str(TOOL)!r}, run_name='__main__')"
    (tmp_path / "tool.py").write_text(f"import runpy, sys; {start}")
    said, complaints = warm.start("tool", [str(tmp_path), "--out", "out"], tmp_path).communicate(timeout=300)
    assert "tests/ops/test_ops.py" in said, complaints
    ops, layers = sorted(csv.DictReader((tmp_path / "out/files.csv").open()), key=lambda row: row["file"], reverse=True)
    assert ops["file"] == "tests/ops/test_ops.py" and ops.items() >= EXPECTED.items()
    assert layers["failed"] == "1" and layers["command"].startswith("python tools/fla_suite.py")
    rows = csv.DictReader((tmp_path / "out/cases.csv").open())
    cases = {row["test"].rpartition("::")[2]: row["reason"] for row in rows}
    assert "takes no what" in cases["test_refused"] and "assert 1 == 2" in cases["test_failing"]
    assert any("a_module_that_is_not_there" in reason for reason in cases.values())


def test_the_page_in_the_docs_has_the_published_counts():
    root = TOOL.parents[1]
    page = (root / "docs/fla_suite.md").read_text()
    for row in csv.DictReader((root / "data/results/fla_suite/files.csv").open()):
        counts = [row[name] for name in EXPECTED]
        assert f"| `{row['file']}` | {' | '.join(counts)} |" in page


def test_sizes_are_cut_and_what_is_no_size_is_not():
    given = {"T": 2048, "B": 4, "H": 8, "scale": 0.1, "cu_seqlens": [0, 0, 7, 2000]}
    cut = {"T": 256, "B": 2, "H": 8, "scale": 0.1, "cu_seqlens": [0, 0, 1, 152]}
    assert {name: plugin.smaller(name, value) for name, value in given.items()} == cut
    assert [plugin.smaller(name, 9, is_model=True) for name in "LBTH"] == [2, 2, 9, 9]
    assert plugin.smaller("T", 1024, is_model=True) == 64
    assert plugin.smaller("T", True) is True and plugin.smaller("T", 60) == 60
