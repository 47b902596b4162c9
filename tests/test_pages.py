"""README, docs and the other pages: their links lead somewhere, and the commands, YAML and Python in them are right."""

import functools
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from pages import keys, markdown

import lit_retrieval.mixers.__main__ as mixers
import lit_retrieval.tasks.__main__ as tasks
from lit_retrieval import export
from lit_retrieval.cli.command import _parse
from lit_retrieval.errors import UserError

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *markdown.sources()]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [(page, language, text) for page in PAGES for language, text in BLOCK.findall((ROOT / page).read_text())]
LINES = sorted({
    line
    for _, language, text in BLOCKS if language == "bash"
    for line in text.replace("\\\n", " ").splitlines()
})  # fmt: skip
OURS = re.compile(
    r"(?:lit-retrieval|-m lit_retrieval(?:\.(?P<room>tasks|mixers)| (?P<command>export))?) (?P<arguments>.*)$"
)
QUOTED = re.compile(r'^\w+="(.*)"$')  # a command that a variable of the shell holds
COMMANDS = {
    found["arguments"]: found["room"] or found["command"]
    for line in LINES
    if (found := OURS.search(QUOTED.sub(r"\1", line.strip())))
}
NAMED = re.compile(r"# (\w+\.(?:py|yaml))\n")
PLAIN = {"--config", "--trainer", "--ckpt_path", "--data.regime"}
OF_TOOLS = {"write", "show", "check", "check_class", "import_arrays", "export"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the pages tell a reader to write, beside the folders of the checkout."""
    for _, _, text in BLOCKS:
        if named := NAMED.match(text):
            (tmp_path / named[1]).write_text(text)
    for name in ("configs", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_links_and_sections_of_a_page_are_there(page):
    """Anchors too, where the link is to another page."""
    if page == "README.md":
        text = markdown._rewrite((ROOT / page).read_text(), page, "index.md", set())
    else:
        text = markdown.page(page, set())
    for target, anchor in re.findall(r"\]\(([^)\s#:]+\.md)#([\w-]+)\)", text):
        site = Path("/", "index.md" if page == "README.md" else markdown.sources()[page]).parent / target
        linked = {made: source for source, made in markdown.sources().items()}
        source = linked[str(site.resolve().relative_to("/"))]
        heads = re.findall(r"^#+ (.+)$", markdown.page(source, set()), re.MULTILINE)
        slugs = [re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads]
        assert anchor in slugs, f"{page}: {target}#{anchor}"


@pytest.mark.parametrize(("text", "said"), [
    ("[a](no_such.md)", "docs/start.md links to no_such.md, and there is no such file"),
    ("[a](../no_such.csv#b)", "links to ../no_such.csv#b"),
])  # fmt: skip
def test_a_link_to_nothing_is_refused(text, said):
    with pytest.raises(UserError, match=re.escape(said)):
        markdown._rewrite(text, "docs/start.md", "start.md", set())


def test_links_are_those_of_the_site_and_code_stays_as_it_is():
    attached = set()
    text = (
        "[a](../CONTRIBUTING.md#tests) ![b](../data/paper/figures.csv)\n```\n[c](no_such.md)\n```\n[d](https://e.org)"
    )
    made = markdown._rewrite(text, "docs/task.md", "howto/task.md", attached)
    assert made == text.replace("../CONTRIBUTING.md", "../contributing.md").replace(
        "../data/paper", "../files/data/paper"
    )
    assert attached == {"data/paper/figures.csv"}


def test_a_section_that_readme_has_not_is_refused():
    with pytest.raises(UserError, match=r"README\.md must have the section 'None such'"):
        markdown.section("None such")


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


@pytest.mark.parametrize("line", [line for line in LINES if "tools/" in line])
def test_a_command_of_a_tool_names_files_that_are_there(line):
    paths = re.findall(r"(?<![\w/])(?:tools|configs|data)/[\w./*$-]+", line)
    out = re.findall(r"(?:-o|--out) (\S+)", line)
    missing = [path for path in paths if path not in out and not list(ROOT.glob(re.sub(r"\$\w+?(?=\.|$)", "*", path)))]
    assert paths and not missing


@pytest.mark.parametrize(("page", "language", "text"), [
    pytest.param(*block, id=f"{block[0]}-{number}")
    for number, block in enumerate(BLOCKS) if block[1] in ("python", "yaml")
])  # fmt: skip
def test_a_block_is_yaml_or_python(page, language, text):
    if language == "yaml":
        assert isinstance(yaml.safe_load(text), dict)
    elif page != "lit_retrieval/ops/README.md":  # pieces of files, quoted
        compile(text.replace(", ...)", ")").replace(": ...", ": pass"), page, "exec")


def test_the_python_of_the_page_on_python_runs(capsys):
    page = "docs/howto/python.md"
    blocks = [text for where, language, text in BLOCKS if (where, language) == (page, "python")]
    for text in blocks:
        exec(compile(text, page, "exec"), {})
    assert len(blocks) == 2 and capsys.readouterr().out.count("<EndSearch>") == 4


def test_the_page_of_keys_has_every_key_once():
    found = [key for _, group in keys.groups() for key in group]
    names = [key.name for key in found]
    configuration = _parse(["fit", "--config", "quickstart"]).configuration()
    groups = ("data", "model", "trainer", "checkpoint", "last_checkpoint", "inspection", "gpu")
    expected = {f"{group}.{name}" for group in groups for name in configuration[group]}
    assert expected - {"data.vocab_size", "model.vocab_size"} <= set(names)
    assert len(names) == len(set(names))
    (rate,) = [key for key in found if key.name == "model.learning_rate"]
    assert rate == ("model.learning_rate", "0.0003", "Peak learning rate, of any optimizer.")
    assert all(key.about and "(type:" not in key.about for key in found)
    text = keys.page()
    assert "## trainer\n" in text and all(line.count(" | ") >= 2 for line in text.splitlines() if line.startswith("| "))


def test_every_page_is_in_the_navigation_of_the_site():
    listed = set(re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {*markdown.sources().values(), "reference/keys.md"}, "name the page in mkdocs.yml"


def test_every_extra_is_described():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    table = markdown.page("docs/start.md", set()).split("### Extras")[1].split("##")[0]
    assert set(extras) == set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))))
