"""Converts Markdown files of the checkout to pages of the site; their links may leave the folder docs."""

import os
import posixpath
import re
from pathlib import Path

from lit_retrieval.errors import UserError

ROOT = Path(__file__).parents[2]
# Pages outside docs, and where they are in the site.
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "AGENTS.md": "agents.md",
    "CHANGELOG.md": "changelog.md",
    "lit_retrieval/ops/README.md": "howto/kernel.md",
    "lit_retrieval/constructions/README.md": "constructions.md",
}
_MADE = "docs/reference/keys.md"  # from the parser, when the site is built
_FILES = "files"  # folder of the site for linked files that are not pages
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
# GitHub chooses the light or dark picture by the reader's system, the site by its own switch.
_PICTURE = re.compile(r'<picture>\s*<source [^>]*srcset="(.+?)">\s*<img alt="(.+?)" src="(.+?)"[^>]*>\s*</picture>')


def sources() -> dict[str, str]:
    """Every Markdown file that becomes a page: its path in the checkout and its path in the site."""
    docs = {f"docs/{path.relative_to(ROOT / 'docs').as_posix()}" for path in (ROOT / "docs").rglob("*.md")}
    return {source: source.removeprefix("docs/") for source in sorted(docs)} | MOVED


def page(source: str, attached: set[str]) -> str:
    """The Markdown of a page of the site; paths of other files that it links to are added to `attached`."""
    text = _PICTURE.sub(r"![\2](\3#only-light)\n![\2](\1#only-dark)", (ROOT / source).read_text())
    return rewrite(text, source, sources()[source], attached)


def listing(folder: str, attached: set[str]) -> str:
    """A page with the README of a folder of the checkout, if it has one, and links to its other files."""
    names = sorted(path.name for path in (ROOT / folder).iterdir() if path.is_file())
    attached |= {f"{folder}/{name}" for name in names if not name.endswith(".md")}
    about = (ROOT / folder / "README.md").read_text() if "README.md" in names else f"# {folder}\n"
    text = rewrite(about, f"{folder}/README.md", attached_page(folder), attached)
    return "\n".join([text, *(f"- [{name}]({name})" for name in names if not name.endswith(".md")), ""])


def attached_page(path: str) -> str:
    """The path in the site of a file or folder of the checkout that is not a page."""
    return f"{_FILES}/{path}/index.md" if (ROOT / path).is_dir() else f"{_FILES}/{path}"


def rewrite(text: str, source: str, site: str, attached: set[str]) -> str:
    """The text with links changed for the site; code blocks are not changed."""
    parts = _FENCE.split(text)
    for number in range(0, len(parts), 2):
        parts[number] = _LINK.sub(lambda found: _target(found[1], source, site, attached), parts[number])
    return "".join(parts)


def _target(link: str, source: str, site: str, attached: set[str]) -> str:
    """A link of a page, changed for the site; raises `UserError` if there is no such file."""
    path, hash_sign, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return link
    found = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if found != _MADE and not (ROOT / found).exists():
        raise UserError(f"{source} links to {link}, and there is no such file")
    if found.startswith("docs/"):
        there = found.removeprefix("docs/").replace(".ipynb", ".md")  # a notebook has a page
    elif found in MOVED:
        there = MOVED[found]
    else:
        attached.add(found)
        there = attached_page(found)
    return os.path.relpath(there, posixpath.dirname(site) or ".") + hash_sign + anchor
