"""Every block of code of README, docs and the other pages runs, or is parsed by what would run it."""

import argparse
import functools
import importlib
import re
import runpy
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonargparse
import pytest
import yaml
from pages import markdown
from scripts import commands
from sweeps.grid import read_grid, trials

import lit_retrieval.mixers.__main__ as mixers
import lit_retrieval.tasks.__main__ as tasks
from lit_retrieval import export
from lit_retrieval.cli.command import _parse
from lit_retrieval.mixers.checks import check_mixer

ROOT = Path(__file__).parents[1]
PAGES = [*markdown.sources()]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [(page, language, text) for page in PAGES for language, text in BLOCK.findall((ROOT / page).read_text())]
TOOL_IN_TEXT = re.compile(r"`(python tools/\w+\.py [^`]+)`")  # and outside of blocks
SCRIPTS = [
    script for page in PAGES for language, script in BLOCK.findall((ROOT / page).read_text()) if language == "bash"
] + [line for page in PAGES for line in TOOL_IN_TEXT.findall(BLOCK.sub("", (ROOT / page).read_text()))]
NAMED = re.compile(r"# (\w+\.(?:py|yaml))\n")
PLAIN = {"--config", "--trainer", "--ckpt_path", "--data.regime"}
OF_TOOLS = {"write", "show", "check", "check_class", "import_arrays", "export"}
OF_ZOOLOGY = """
from torch import nn
class MHA(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        self.v = nn.Linear(d_model, d_model)
    def forward(self, x):
        return self.v(x).cumsum(1)
"""
OWN_LOADER = """
from torch import nn
class MyLoader:
    def __init__(self, folder: str): ...
    def load(self, *, vocab_size: int) -> nn.Module: ...
"""


def _write_files(place):
    """Write what the pages tell a reader to write, beside the folders of the checkout."""
    for _, _, text in BLOCKS:
        if named := NAMED.match(text):
            (place / named[1]).write_text(text)
    (place / "my_package.py").write_text(OWN_LOADER)
    (place / "zoology/mixers").mkdir(parents=True)
    (place / "zoology/mixers/attention.py").write_text(OF_ZOOLOGY)
    for name in ("configs", "data", "tools"):
        (place / name).symlink_to(ROOT / name)


with TemporaryDirectory() as _place:
    _write_files(Path(_place))
    COMMANDS = commands(SCRIPTS, Path(_place))
OURS, TOOLS = [], []
for _command in COMMANDS:
    _words = ["python", "-m", "lit_retrieval", *_command[1:]] if _command[0] == "lit-retrieval" else _command
    if _words[:2] == ["python", "-m"] and "lit_retrieval.torchrun" in _words:
        _words = ["python", *_words[_words.index("-m", 2) :]]
    if _words[0] == "python" and _words[1].startswith("tools/"):
        TOOLS.append(_words[1:])
    elif _words[:2] == ["python", "-m"] and _words[2].startswith("lit_retrieval"):
        OURS.append(_words[2:])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with what the pages tell a reader to write."""
    _write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def blocks(*languages):
    """The blocks in these languages, as parameters."""
    return [
        pytest.param(*block, id=f"{block[0]}-{number}") for number, block in enumerate(BLOCKS) if block[1] in languages
    ]


def test_every_block_is_in_a_language_that_is_checked_here():
    assert {language for _, language, _ in BLOCKS} <= {"bash", "bibtex", "python", "text", "yaml", ""}
    fences = sum(len(re.findall(r"^ *```", (ROOT / page).read_text(), re.MULTILINE)) for page in PAGES)
    assert fences == 2 * len(BLOCKS), "a block must begin at the first column, and end with ``` alone"


def plain(words):
    """Whether a command runs a ready file as it is, as tests/test_configs.py does."""
    return words[0] == "lit_retrieval" and {word for word in words if word.startswith("--")} <= PLAIN


@pytest.mark.parametrize("words", [
    pytest.param(one, id=" ".join(one)[:80], marks=[pytest.mark.slow] if plain(one) else []) for one in OURS
])  # fmt: skip
def test_a_command_is_one_that_the_parser_takes(words, folder, monkeypatch):
    name, *arguments = ["quickstart" if word == "X.yaml" else word for word in words]
    name = "lit_retrieval.export" if arguments[0] == "export" else name
    rooms = {"lit_retrieval.tasks": tasks, "lit_retrieval.mixers": mixers, "lit_retrieval.export": export}
    if name == "lit_retrieval":
        _parse(arguments)
        return
    if name == "lit_retrieval.harness":  # whose options are those of a package that the tests do not need
        assert set(arguments[::2]) == {"--model_args", "--tasks", "--include_path"}
        return
    called = []
    for one in OF_TOOLS & vars(rooms[name]).keys():
        function = getattr(rooms[name], one)
        record = functools.wraps(function)(lambda *given, **keys: called.append(given or keys) or True)
        monkeypatch.setattr(rooms[name], one, record)
    try:
        rooms[name].main(arguments[name == "lit_retrieval.export" :])
    except SystemExit as stopped:
        assert stopped.code == 0
    assert len(called) == 1


class ParsedError(Exception):
    """A tool has read its command line."""


@pytest.mark.parametrize("words", TOOLS, ids=lambda words: " ".join(words)[:80])
def test_a_command_of_a_tool_is_one_that_its_parser_takes(words, monkeypatch):
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr("sys.path", [str(ROOT / "tools"), *sys.path])
    for parser in (argparse.ArgumentParser, jsonargparse.ArgumentParser):
        monkeypatch.setattr(parser, "parse_args", _stopping(parser.parse_args, parser))
    with pytest.raises(ParsedError):
        runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    given = [word for before, word in pairwise(words) if before not in ("-o", "--out")]
    assert [word for word in given if re.match("(?:configs|data)/", word) and not (ROOT / word).exists()] == []


def _stopping(parse, parser):
    @functools.wraps(parse)
    def parse_and_stop(self, *given, **keys):
        with pytest.MonkeyPatch.context() as restored:
            restored.setattr(parser, "parse_args", parse)  # parsers of values
            parse(self, *given, **keys)
        raise ParsedError

    return parse_and_stop


def test_a_script_is_run_as_bash_runs_it_and_its_mistakes_are_errors(tmp_path):
    script = "A='x y'\nfor B in 1 2; do python tools/a.py \"$A\" $B > out; done; X=1 lit-retrieval fit && srun ray up"
    expected = [["python", "tools/a.py", "x y", "1"], ["python", "tools/a.py", "x y", "2"]]
    assert commands([script], tmp_path) == [*expected, ["lit-retrieval", "fit"], ["ray", "up"]]
    for wrong in ("pyhton a.py", "for A in 1 2; do", "echo 'a"):
        with pytest.raises(ValueError, match="bash: line"):
            commands([wrong], tmp_path)


def test_packages_and_lines_of_python_are_right():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for words in COMMANDS:
        if words[1:4] == ["-m", "pip", "install"]:
            assert set(re.findall(r"\w+", words[words.index("-e") + 1])) <= set(extras), words
        if words[1] == "-c":
            compile(words[2], "page", "exec")


@pytest.mark.parametrize(("page", "language", "text"), blocks("yaml"))
def test_a_yaml_is_a_part_of_a_run_or_a_sweep(page, language, text, folder):
    read = yaml.safe_load(text)
    assert isinstance(read, dict), page
    if "experiment" in read:  # as in a file of configs/sweeps
        grid = folder / "sweeps/block.yaml"
        grid.parent.mkdir()
        grid.write_text(text.replace("../", "../configs/"))
        assert len(trials(read_grid(grid), grid.parent)) > 1
        return
    (folder / "block.yaml").write_text(text)
    part = "data" if "task" in read else "model"
    _parse(["fit", "--config", "quickstart", f"--{part}", "block.yaml"])


@pytest.mark.parametrize(("page", "language", "text"), blocks("python"))
def test_a_block_is_python(page, language, text):
    if page == "lit_retrieval/ops/README.md":
        pytest.skip("pieces of files, quoted, see tests/ops/test_readme.py")
    assert compile(text.replace(", ...)", ")").replace(": ...", ": pass"), page, "exec").co_names


@pytest.mark.parametrize("page", ["docs/fla.md", "docs/howto/python.md", "docs/howto/retriever.md"])
def test_the_python_of_a_page_runs(page, capsys):
    """That of README runs in tests/test_api.py and tests/test_mixers_in_yaml.py, that of AGENTS.md beside its page."""
    for where, language, text in BLOCKS:
        if (where, language) == (page, "python"):
            exec(compile(text, page, "exec"), {})
    assert page != "docs/howto/python.md" or capsys.readouterr().out.count("<EndSearch>") == 4


def test_the_layer_without_a_state_keeps_the_rules_that_a_run_checks(folder):
    check_mixer(importlib.import_module("theirs").Theirs(16, 0), 16)


def test_ready_files_that_a_page_names_are_there():
    """`--model NAME`, `--data NAME` and `--config NAME` in the text of a page."""
    folders = {"config": "experiments", "data": "data", "model": "model"}
    for page in PAGES:
        for part, name in re.findall(r"`--(model|data|config) (\w+)`", (ROOT / page).read_text()):
            found = ROOT / "configs" / folders[part] / f"{name}.yaml"
            assert re.match("[A-Z]{2}|mad_$", name) or found.is_file(), f"{page}: {name}"
