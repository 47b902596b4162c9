"""The part of a transcript that a query may see."""

import numpy as np

from lit_retrieval.vocabulary import END_SEARCH, START_SEARCH, Ids


class Context:
    """A transcript as its searches see it: each earlier search is replaced by one token, `<EndSearch>`.

    In `arXiv:2402.18510` a query is matched against all the text before its `<StartSearch>`, earlier queries included;
    in the paper's short form these look like facts. Here edges (`~`) are found in the prompt only, and parents (`-`) in
    the trace only. The `<EndSearch>` also separates tokens that were not adjacent.
    """

    def __init__(self) -> None:
        self._visible = np.empty(64, np.int32)
        self._length = 0
        self._query: list[int] | None = None

    @property
    def visible(self) -> Ids:
        """The token ids that a query may see, `(time,)`; a view that the next `write` may change."""
        return self._visible[: self._length]

    @property
    def is_searching(self) -> bool:
        """Whether a query has begun and not ended."""
        return self._query is not None

    def write(self, token: int) -> Ids | None:
        """Append a token of the prompt or of the model; returns the query that it ends, if it ends one.

        Results of searches are not written. A second `<StartSearch>` turns the unfinished query before it into
        plain text; an `<EndSearch>` without a `<StartSearch>` ends an empty query.
        """
        if token == START_SEARCH:
            for pending in self._query or ():
                self._append(pending)
            self._query = []
        elif token == END_SEARCH:
            query = np.array(self._query or [], np.int32)
            self._query = None
            return query
        elif self._query is not None:
            self._query.append(token)
        else:
            self._append(token)
        return None

    def close_search(self) -> None:
        """Append the `<EndSearch>` that replaces a search, once its query has been answered."""
        self._append(END_SEARCH)

    def _append(self, token: int) -> None:
        if self._length == len(self._visible):
            self._visible = np.resize(self._visible, 2 * self._length)
        self._visible[self._length] = token
        self._length += 1
