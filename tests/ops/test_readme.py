"""The guide's code is that of the files that it names."""

import re
from pathlib import Path

from lit_retrieval import ops

ROOM = Path(ops.__file__).parent
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
NAMED = re.compile(r"`((?:\w+/)+\w+\.py)`")


def test_every_quoted_block_is_in_the_file_named_before_it():
    text = (ROOM / "README.md").read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == 7
    for block in blocks:
        name = NAMED.findall(text[: block.start()])[-1]
        path = ROOM.parents[1] / name if name.startswith("tests/") else ROOM / name
        assert block[1] in path.read_text(encoding="utf-8"), f"{name} has no more:\n{block[1]}"
