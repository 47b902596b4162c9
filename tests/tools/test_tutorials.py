"""The tutorials: sources, the notebooks that are kept, and their pages."""

import json

import pytest
import tutorials
from pages import notebooks

NAMES = sorted(path.stem for path in notebooks.FOLDER.glob("*.py"))
SOURCE = '''# %% [markdown]
# # A title
#
# Text, and [a link](../concepts/regime.md).

# %%
x = 1


# %% mine.py
def f():
    return "```"

# %%
# !python mine.py
'''  # fmt: skip


def kept(name):
    return json.loads((notebooks.FOLDER / f"{name}.ipynb").read_text())


def of_type(notebook, kind):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def texts(notebook):
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_the_cells_of_its_source(name):
    """Else its outputs are those of other code: run `python tools/tutorials.py NAME`."""
    source = notebooks.from_source((notebooks.FOLDER / f"{name}.py").read_text())
    assert texts(kept(name)) == texts(source)


@pytest.mark.parametrize("name", NAMES)
def test_all_cells_of_a_notebook_were_run_in_order_and_without_an_error(name):
    code = of_type(kept(name), "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs and not any(output["output_type"] == "error" for output in outputs)
    assert not any("Warning" in "".join(output.get("text", "")) for output in outputs)


def test_a_source_is_read_as_cells():
    cells = texts(notebooks.from_source(SOURCE))
    assert cells == [
        ("markdown", "# A title\n\nText, and [a link](../concepts/regime.md)."),
        ("code", "x = 1"),
        ("code", '%%writefile mine.py\ndef f():\n    return "```"'),
        ("code", "!python mine.py"),
    ]


def test_changed_text_is_taken_over_and_changed_code_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tutorials, "FOLDER", tmp_path)
    kept, source = tmp_path / "one.ipynb", tmp_path / "one.py"
    notebook = notebooks.from_source(SOURCE)
    notebook["cells"][1] |= {
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}],
        "execution_count": 1,
    }
    kept.write_text(json.dumps(notebook))
    source.write_text(SOURCE.replace("# A title", "# Another title"))
    tutorials.main(["one", "--text"])
    now = json.loads(kept.read_text())
    assert texts(now)[0][1].startswith("# Another") and now["cells"][1] == notebook["cells"][1]
    source.write_text(SOURCE.replace("x = 1", "x = 2"))
    with pytest.raises(SystemExit):
        tutorials.main(["one", "--text"])
    assert (
        "must be that which was run; leave out --text" in capsys.readouterr().err
        and json.loads(kept.read_text()) == now
    )


def test_a_page_has_text_code_outputs_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    notebook = notebooks.from_source(SOURCE)
    _, first, second, third = notebook["cells"]
    first["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["\x1b[?25l\x1b[1mbold\x1b[0m\r\n"]}]
    second["outputs"] = [{"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": ["<Figure>"]}}]
    third["outputs"] = [{"output_type": "display_data", "data": {"text/html": ["<b>"], "text/plain": ["a table"]}}]
    path = tmp_path / "docs/tutorials/one.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(notebook))
    text, pictures = notebooks.page(path, set())
    assert pictures == {"one_1.png": b"\0\0\0"} and "(one_1.png)" in text and "(one.ipynb)" in text
    assert text.startswith("# A title\n\nText, and [a link](../concepts/regime.md).\n")
    assert "```python\nx = 1\n```\n\n```{ .text .output }\nbold\n```" in text, "without the colors of a terminal"
    assert '````python\n%%writefile mine.py\ndef f():\n    return "```"\n````' in text, "a longer fence"
    assert "```bash\n!python mine.py\n```\n\n```{ .text .output }\na table\n```" in text and "<b>" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_made_of_a_notebook(name):
    text, pictures = notebooks.page(notebooks.FOLDER / f"{name}.ipynb", set())
    assert text.startswith("# ") and pictures and all(one.startswith(b"\x89PNG") for one in pictures.values())
