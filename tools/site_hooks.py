"""mkdocs hooks that add the pages of `tools/pages`, and the files that they link to, to the site."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

_TOOLS = Path(__file__).parent


def on_files(files: Any, config: Any) -> Any:
    """Replace the pages in the folder by the generated ones, and add the files that they link to."""
    sys.path[:0] = [str(_TOOLS.parent), str(_TOOLS)]
    from pages import keys, markdown, notebooks

    attached: set[str] = set()
    made: dict[str, str | bytes] = {
        site: markdown.page(source, attached) for source, site in markdown.sources().items()
    }
    for notebook in sorted(notebooks.FOLDER.glob("*.ipynb")):
        tutorial = notebooks.page(notebook, attached)
        made[f"tutorials/{notebook.stem}.md"] = tutorial.text
        made |= {f"tutorials/{name}": picture for name, picture in tutorial.pictures.items()}
    made["reference/keys.md"] = keys.page()
    listed: set[str] = set()
    while folders := {path for path in attached if (markdown.ROOT / path).is_dir()} - listed:  # they link to others
        made |= {markdown.attached_page(path): markdown.listing(path, attached) for path in sorted(folders)}
        listed |= folders
    for site, text in made.items():
        if (old := files.get_file_from_path(site)) is not None:
            files.remove(old)
        files.append(File.generated(config, site, content=text))
    for path in sorted(attached - listed):
        files.append(File.generated(config, markdown.attached_page(path), abs_src_path=str(markdown.ROOT / path)))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Replace the double colon before a literal block of a docstring by a single one."""
    return html.replace("::</p>", ":</p>")
