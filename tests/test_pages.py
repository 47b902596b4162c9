"""README, docs and the other pages: their links lead somewhere, and what is made from code is complete."""

import re
import signal
import tomllib
from pathlib import Path

import pytest
import yaml
from pages import keys, markdown, notebooks

import lit_retrieval
from lit_retrieval import mixers, retrieval
from lit_retrieval.cli.command import _parse
from lit_retrieval.cli.endings import DISK_FULL, LOST, OUT_OF_MEMORY
from lit_retrieval.errors import INTERRUPTED, PREEMPTED, UserError
from lit_retrieval.parsing import USER_ERROR
from lit_retrieval.training.finite_loss import STATUS as NOT_FINITE

ROOT = Path(__file__).parents[1]
PAGES = [*markdown.sources()]


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page):
    """Anchors too, where the link is to another page."""
    for target, anchor in re.findall(r"\]\(([^)\s#:]+\.md)#([\w-]+)\)", markdown.page(page, set())):
        site = Path("/", markdown.sources()[page]).parent / target
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
        markdown.rewrite(text, "docs/start.md", "start.md", set())


def test_links_are_those_of_the_site_and_code_stays_as_it_is():
    attached = set()
    text = (
        "[a](../CONTRIBUTING.md#tests) ![b](../data/paper/figures.csv)\n```\n[c](no_such.md)\n```\n[d](https://e.org)"
    )
    made = markdown.rewrite(text, "docs/task.md", "howto/task.md", attached)
    assert made == text.replace("../CONTRIBUTING.md", "../contributing.md").replace(
        "../data/paper", "../files/data/paper"
    )
    assert attached == {"data/paper/figures.csv"}


def test_a_picture_for_two_themes_is_two_pictures_of_the_site():
    """README's picture in light and dark; both files are there, and are attached."""
    attached = set()
    light, dark = re.findall(
        r"^!\[(.+)\]\((\S+)#only-(light|dark)\)$", markdown.page("README.md", attached), re.MULTILINE
    )
    assert light[0] == dark[0] and (light[2], dark[2]) == ("light", "dark")
    assert {light[1], dark[1]} <= {f"files/{path}" for path in attached}


def test_readme_is_short_and_counts_what_is_there():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 200
    tasks = re.findall(r"^### ", (ROOT / "docs/tasks.md").read_text(), re.MULTILINE)
    layers = re.findall(r"^\| `", (ROOT / "docs/layers.md").read_text().split("## fla's layers")[1], re.MULTILINE)
    compared = yaml.safe_load((ROOT / "configs/compare/recurrences.yaml").read_text())
    for said, there in (("Tasks[*]{2}: ", tasks), ("Ours, ", layers), ("beside ", compared)):
        assert int(re.findall(rf"{said}(\d+)", readme)[0]) == len(there), said


def test_the_page_of_keys_has_every_key_once():
    found = [key for _, group in keys.groups() for key in group]
    names = [key.name for key in found]
    configuration = _parse(["fit", "--config", "quickstart"]).configuration()
    groups = ("data", "model", "trainer", "checkpoint", "last_checkpoint", "inspection", "gpu")
    expected = {f"{group}.{name}" for group in groups for name in configuration[group]}
    assert expected - {"data.vocab_size", "model.vocab_size"} <= set(names)
    assert len(names) == len(set(names))
    (rate,) = [key for key in found if key.name == "model.learning_rate"]
    assert rate == ("model.learning_rate", "0.0003", "Peak learning rate, for any optimizer.")
    assert all(key.about and "(type:" not in key.about for key in found)
    text = keys.page()
    assert "## trainer\n" in text and all(line.count(" | ") >= 2 for line in text.splitlines() if line.startswith("| "))


def test_every_page_is_in_the_navigation_of_the_site():
    listed = set(re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    tutorials = {f"tutorials/{path.stem}.md" for path in notebooks.FOLDER.glob("*.ipynb")}
    assert listed == {*markdown.sources().values(), "reference/keys.md"} | tutorials, "name the page in mkdocs.yml"


def test_every_extra_is_described():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    table = markdown.page("docs/start.md", set()).split("### Extras")[1].split("##")[0]
    assert set(extras) == set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))))


def test_the_page_of_exit_statuses_has_those_of_the_code():
    page = markdown.page("docs/reference/exit_statuses.md", set())
    listed = [int(status) for status in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    signals = [INTERRUPTED, 128 + signal.SIGUSR1, 128 + signal.SIGTERM]
    assert listed == [0, 1, USER_ERROR, NOT_FINITE, OUT_OF_MEMORY, DISK_FULL, LOST, PREEMPTED, *signals]


def test_the_page_of_the_api_has_the_classes_that_are_exported():
    exported = {name: getattr(room, name) for room in (mixers, retrieval) for name in room.__all__}
    classes = {name for name, one in exported.items() if isinstance(one, type) and not name.endswith("State")}
    page = (ROOT / "docs/reference/api.md").read_text()
    listed = re.findall(r"^::: lit_retrieval\.[\w.]+\.(\w+)$", page, re.MULTILINE)
    inner = {"__version__", "FlaLayer", "MixerFactory", "PastInputs"}
    assert classes | set(lit_retrieval.__all__) <= {*listed, *inner} and len(listed) == len(set(listed))
