"""Every block of code of README, docs and the other pages runs, or is parsed by what would run it."""

import argparse
import functools
import importlib
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonargparse
import pytest
import yaml
from pages import markdown

import lit_retrieval.mixers.__main__ as mixers
import lit_retrieval.tasks.__main__ as tasks
from lit_retrieval import export
from lit_retrieval.cli.command import _parse
from lit_retrieval.mixers.checks import check_mixer

ROOT = Path(__file__).parents[1]
PAGES = [*markdown.sources()]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [(page, language, text) for page in PAGES for language, text in BLOCK.findall((ROOT / page).read_text())]
SCRIPTS = [(page, text) for page, language, text in BLOCKS if language == "bash"]
LINES = sorted({line.strip() for _, text in SCRIPTS for line in text.replace("\\\n", " ").splitlines()})
OURS = re.compile(
    r"(?:lit-retrieval|-m lit_retrieval(?:\.(?P<room>tasks|mixers)| (?P<command>export))?) (?P<arguments>[^;&]*)"
)
QUOTED = re.compile(r'^\w+="(.*)"$')  # a command that a variable of the shell holds
COMMANDS = {
    found["arguments"]: found["room"] or found["command"]
    for line in LINES
    if (found := OURS.search(QUOTED.sub(r"\1", line)))
}
TOOLS = sorted({found for line in LINES for found in re.findall(r"python (tools/\w+\.py[^;&>#]*)", line)})
NAMED = re.compile(r"# (\w+\.(?:py|yaml))\n")
PLAIN = {"--config", "--trainer", "--ckpt_path", "--data.regime"}
OF_TOOLS = {"write", "show", "check", "check_class", "import_arrays", "export"}
# Lines of the shell, and programs of others.
OTHERS = re.compile(
    r"#|for |done|\[ |\$ASK|USE=|--trainer|pip |python3? -m (?:pip|venv|pytest|lit_retrieval\.harness) |python -c |"
    r"(?:docker|git|lm_eval|ray|tensorboard|ruff|mypy|mkdocs|bash) |$"
)
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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the pages tell a reader to write, beside the folders of the checkout."""
    for _, _, text in BLOCKS:
        if named := NAMED.match(text):
            (tmp_path / named[1]).write_text(text)
    (tmp_path / "my_package.py").write_text(OWN_LOADER)
    (tmp_path / "zoology/mixers").mkdir(parents=True)
    (tmp_path / "zoology/mixers/attention.py").write_text(OF_ZOOLOGY)
    for name in ("configs", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
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


@pytest.mark.parametrize("arguments", [
    # tests/test_configs.py runs the ready files
    pytest.param(one, marks=[pytest.mark.slow] if set(re.findall(r"--[\w.]+", one)) <= PLAIN else [])
    for one in COMMANDS
])  # fmt: skip
def test_a_command_is_one_that_the_parser_takes(arguments, folder, monkeypatch):
    words = ["quickstart" if word == "X.yaml" else word for word in shlex.split(arguments, comments=True)]
    room = {None: None, "tasks": tasks, "mixers": mixers, "export": export}[COMMANDS[arguments]]
    if room is None:
        _parse(words)
        return
    called = []
    for name in OF_TOOLS & vars(room).keys():
        function = getattr(room, name)
        record = functools.wraps(function)(lambda *given, **keys: called.append(given or keys) or True)
        monkeypatch.setattr(room, name, record)
    try:
        room.main(words)
    except SystemExit as stopped:
        assert stopped.code == 0
    assert len(called) == 1


class ParsedError(Exception):
    """A tool has read its command line."""


@pytest.mark.parametrize("line", TOOLS)
def test_a_command_of_a_tool_is_one_that_its_parser_takes(line, monkeypatch):
    words = shlex.split(line)
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr("sys.path", [str(ROOT / "tools"), *sys.path])
    for parser in (argparse.ArgumentParser, jsonargparse.ArgumentParser):
        monkeypatch.setattr(parser, "parse_args", _stopping(parser.parse_args, parser))
    with pytest.raises(ParsedError):
        runpy.run_path(str(ROOT / words[0]), run_name="__main__")


def _stopping(parse, parser):
    @functools.wraps(parse)
    def parse_and_stop(self, *given, **keys):
        with pytest.MonkeyPatch.context() as restored:
            restored.setattr(parser, "parse_args", parse)  # parsers of values
            parse(self, *given, **keys)
        raise ParsedError

    return parse_and_stop


@pytest.mark.parametrize("line", [line for line in LINES if "tools/" in line])
def test_a_command_of_a_tool_names_files_that_are_there(line):
    paths = re.findall(r"(?<![\w/])(?:tools|configs|data)/[\w./*$-]+", line)
    out = re.findall(r"(?:-o|--out) (\S+)", line)
    missing = [path for path in paths if path not in out and not list(ROOT.glob(re.sub(r"\$\w+?(?=\.|$)", "*", path)))]
    assert paths and not missing


def test_every_other_line_of_a_script_is_known():
    others = [line for line in LINES if not OURS.search(line) and not re.search(r"python tools/", line)]
    assert [line for line in others if not OTHERS.match(line)] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in LINES:
        for named in re.findall(r"pip install -c constraints.txt -e (\S+)", line):
            assert set(re.findall(r"\w+", named)) <= set(extras), line
        for code in re.findall(r"^python -c (.+)$", line):
            compile(*shlex.split(code), line, "exec")


def test_every_script_is_one_that_bash_reads():
    for page, text in SCRIPTS:
        read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert read.returncode == 0 and not read.stderr, page


@pytest.mark.parametrize(("page", "language", "text"), blocks("yaml"))
def test_a_yaml_is_a_part_of_a_run_or_a_sweep(page, language, text, folder):
    read = yaml.safe_load(text)
    assert isinstance(read, dict), page
    (folder / "block.yaml").write_text(text)
    part = "data" if "task" in read else "model"
    _parse(["fit", "--config", "quickstart", f"--{part}", "block.yaml"])


@pytest.mark.parametrize(("page", "language", "text"), blocks("python"))
def test_a_block_is_python(page, language, text):
    if page != "lit_retrieval/ops/README.md":  # pieces of files, quoted: tests/ops/test_readme.py
        compile(text.replace(", ...)", ")").replace(": ...", ": pass"), page, "exec")


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
