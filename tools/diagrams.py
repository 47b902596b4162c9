"""Writes the diagrams of the concepts: `python tools/diagrams.py` makes docs/images/*.svg, for light and dark pages.

The transcripts in them are drawn by the tasks, and what a search finds is found by the retriever.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from figures.colors import REGIME_COLORS, Theme
from figures.svg import Box, Drawing

from lit_retrieval.conversation import Author
from lit_retrieval.retrieval import EitherFormRetriever
from lit_retrieval.tasks import REGIMES, Index, Regime

IMAGES = Path(__file__).parents[1] / "docs/images"
COMMAND = "python tools/diagrams.py"
_TASK = Index(max_size=4, num_words=9)
_SEED = 14


def main() -> None:
    """Write all diagrams."""
    IMAGES.mkdir(exist_ok=True)
    for path, text in files():
        path.write_text(text)


def files() -> Iterator[tuple[Path, str]]:
    """Each file, and its content."""
    themes: dict[Theme, str] = {"light": "", "dark": "_dark"}
    for name, draw in DIAGRAMS.items():
        for theme, suffix in themes.items():
            yield IMAGES / f"{name}{suffix}.svg", draw(theme).svg()


def draw_transcript(theme: Theme) -> Drawing:
    """A transcript in the retrieval regime, and the names of its parts."""
    drawing = Drawing(720, 130, theme, "A transcript: the user's prompt, then the model's reply with a search")
    tokens, authors = _transcript("retrieval")
    boxes = drawing.tokens(4, 40, _colored(drawing, tokens, authors))
    first, end = authors.index(Author.MODEL), tokens.index("<EndSearch>")
    _brace(drawing, boxes[0], boxes[first - 1], "prompt")
    _brace(drawing, boxes[first], boxes[-1], "reply")
    for number, name in ((first, "opens a search"), (end, "closes it"), (len(boxes) - 1, "answer")):
        drawing.words(boxes[number].middle, 92, name, anchor="middle", muted=True, size=12)
    drawing.words(boxes[end + 1].middle, 110, "found", anchor="middle", muted=True, size=12)
    return drawing


def draw_author(theme: Theme) -> Drawing:
    """Who writes each token, and on which ones the loss is computed."""
    drawing = Drawing(760, 190, theme, "The author of each token: user, model or retriever; the loss is on the model's")
    tokens, authors = _transcript("retrieval")
    boxes = drawing.tokens(4, 20, _colored(drawing, tokens, authors))
    rows = {
        Author.PROMPT: "user: given",
        Author.MODEL: "model: loss and scores",
        Author.RETRIEVER: "retriever: forced",
    }
    for line, (author, name) in enumerate(rows.items()):
        y = 72 + 30 * line
        for box, one in zip(boxes, authors, strict=True):
            if one == author:
                drawing.box(Box(box.x, y, box.width, 14), color=_color(drawing, author))
        drawing.words(boxes[-1].right + 14, y + 12, name, size=13)
    drawing.words(4, 176, "The model reads all tokens, and learns to write its own.", muted=True, size=13)
    return drawing


def draw_regimes(theme: Theme) -> Drawing:
    """One problem in the three regimes."""
    drawing = Drawing(800, 150, theme, "The same problem in three regimes: vanilla, cot and retrieval")
    for line, regime in enumerate(REGIMES):
        tokens, authors = _transcript(regime)
        y = 12 + 46 * line
        drawing.words(4, y + 18, regime, bold=True)
        drawing.tokens(92, y, _colored(drawing, tokens, authors))
    return drawing


def draw_retriever(theme: Theme) -> Drawing:
    """A query, the place in the context that it matches, and what comes back."""
    drawing = Drawing(720, 170, theme, "A retriever looks a query up in the context and returns the token it finds")
    tokens, _ = _transcript("retrieval")
    start = tokens.index("<StartSearch>")
    context, query = tokens[:start], tokens[start + 1 : tokens.index("<EndSearch>")]
    vocabulary = _TASK.vocabulary
    found = vocabulary.decode(EitherFormRetriever()(vocabulary.encode(context), vocabulary.encode(query), vocabulary))
    place = int(query[-1])  # @ k: the k-th word behind <s>
    retrieved = _color(drawing, Author.RETRIEVER)
    shown = [(word, retrieved if at == place else drawing.colors.muted) for at, word in enumerate(context)]
    drawing.words(4, 38, "context", bold=True)
    boxes = drawing.tokens(92, 20, shown)
    drawing.words(4, 128, "query", bold=True)
    asked = drawing.tokens(92, 110, [(word, _color(drawing, Author.MODEL)) for word in query])
    engine = drawing.box(Box(asked[-1].right + 60, 96, 120, 54), "retriever")
    (result,) = drawing.tokens(engine.right + 70, 110, [(word, retrieved) for word in found])
    drawing.words(result.right + 12, 128, "forced into the reply", size=13, muted=True)
    drawing.line([(asked[-1].right + 8, 123), (engine.x - 4, 123)])
    drawing.line([(engine.right + 4, 123), (result.x - 4, 123)])
    drawing.line([(boxes[place].middle, boxes[place].bottom), (boxes[place].middle, 72), (engine.middle, 72),
                  (engine.middle, engine.y - 2)], retrieved, dashed=True)  # fmt: skip
    return drawing


def draw_loop(theme: Theme) -> Drawing:
    """The closed loop: the model writes, searches are run, and what they find is forced."""
    drawing = Drawing(720, 290, theme, "The closed loop: the model writes tokens, and the searches it writes are run")
    of_model, of_retriever = _color(drawing, Author.MODEL), _color(drawing, Author.RETRIEVER)
    context = drawing.box(Box(4, 112, 176, 60), "context\nprompt + reply so far")
    model = drawing.box(Box(240, 112, 110, 60), "model", of_model)
    token = drawing.box(Box(430, 112, 120, 60), "its best token", of_model)
    retriever = drawing.box(Box(400, 222, 180, 48), "retriever\nruns the query", of_retriever)
    drawing.line([(context.right, 142), (model.x - 2, 142)])
    drawing.line([(model.right, 142), (token.x - 2, 142)])
    drawing.words(395, 104, "greedy", anchor="middle", size=12, muted=True)
    drawing.line([(token.middle, token.y), (token.middle, 60), (context.middle, 60), (context.middle, context.y - 2)])
    drawing.words(292, 50, "any token: append it, and go on", anchor="middle", size=13)
    drawing.line([(token.middle, token.bottom), (token.middle, retriever.y - 2)], of_retriever)
    drawing.words(token.middle + 10, 204, "<EndSearch>", size=13, mono=True)
    drawing.line([(retriever.x, 246), (context.middle, 246), (context.middle, context.bottom + 2)], of_retriever)
    drawing.words(248, 236, "found tokens are forced", anchor="middle", size=13)
    drawing.line([(token.right, 142), (606, 142)])
    drawing.words(612, 138, "an answer:", size=13)
    drawing.words(612, 156, "scored", size=13, bold=True)
    return drawing


DIAGRAMS: dict[str, Callable[[Theme], Drawing]] = {
    "transcript": draw_transcript,
    "author": draw_author,
    "regimes": draw_regimes,
    "retriever": draw_retriever,
    "loop": draw_loop,
}


def _transcript(regime: Regime) -> tuple[list[str], list[Author]]:
    """The words of one problem in a regime, and their authors."""
    drawn = _TASK.sample(_SEED, np.array([0]), np.array([4]), regime)
    length = int(drawn.length[0])
    return _TASK.vocabulary.decode(drawn.tokens[0, :length]), [Author(int(one)) for one in drawn.author[0, :length]]


def _colored(drawing: Drawing, tokens: list[str], authors: list[Author]) -> list[tuple[str, str]]:
    return [(word, _color(drawing, author)) for word, author in zip(tokens, authors, strict=True)]


def _color(drawing: Drawing, author: Author) -> str:
    of_author = {Author.MODEL: drawing.colors.lines[0], Author.RETRIEVER: REGIME_COLORS["retrieval"]}
    return of_author.get(author, drawing.colors.muted)


def _brace(drawing: Drawing, first: Box, last: Box, name: str) -> None:
    """A bracket above some tokens, with a name."""
    y = first.y - 8
    drawing.line([(first.x, y + 5), (first.x, y), (last.right, y), (last.right, y + 5)], arrow=False)
    drawing.words((first.x + last.right) / 2, y - 6, name, anchor="middle", bold=True)


if __name__ == "__main__":
    main()
