"""The compiled rules of a conversation: how each token changes its row."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from lit_retrieval.conversation.author import Author, Authors
from lit_retrieval.conversation.turns import Places, Turns
from lit_retrieval.retrieval import short_form
from lit_retrieval.vocabulary import END_SEARCH, PAD, START_SEARCH, Ids

Flags = npt.NDArray[np.bool_]

NONE = -1
_PROMPT, _MODEL, _RETRIEVER = int(Author.PROMPT), int(Author.MODEL), int(Author.RETRIEVER)


class Rows(NamedTuple):
    """Conversations as arrays.

    Args:
        tokens: The tokens so far, followed by forced tokens that come next, `(rows, capacity)`.
        author: The author of each, `(rows, capacity)`.
        visible: The tokens that a query may see, `(rows, capacity)`; see `visible`.
        num_visible: Number of visible tokens, `(rows,)`.
        length: Number of tokens so far, `(rows,)`.
        certain: Number of tokens so far and forced tokens that come next, `(rows,)`.
        query: Where the unfinished query begins, NONE outside of one, `(rows,)`.
        turn: Index of the user's next turn, `(rows,)`.
        answers: The model's answers, `(rows, answers)`.
        num_given: Number of answers so far, `(rows,)`.
        num_searches: Number of searches that were run, `(rows,)`.
        num_timeouts: Number of searches that took too long, `(rows,)`.
        is_finished: Whether all answers have been given or the limit is reached, `(rows,)`.
    """

    tokens: Ids
    author: Authors
    visible: Ids
    num_visible: Places
    length: Places
    certain: Places
    query: Places
    turn: Places
    answers: Ids
    num_given: Places
    num_searches: Places
    num_timeouts: Places
    is_finished: Flags


class Rules(NamedTuple):
    """The constants of a batch of conversations.

    Args:
        turns: What the user writes.
        limit: Largest number of tokens, `(rows,)`.
        num_answers: Number of answers expected, `(rows,)`.
        is_answer: Which words end a turn, `(vocab_size,)`.
        short_words: The words of the queries that `short_form.answer` answers, `(vocab_size,)`; `(0,)` if the retriever
            answers them all.
        numbers: The value of each word that is a numeral, else -1, `(vocab_size,)`.
    """

    turns: Turns
    limit: Places
    num_answers: Places
    is_answer: Flags
    short_words: Flags
    numbers: Ids


@njit(cache=True)
def step(rows: Rows, rules: Rules, live: Places, choices: Places, taken: Places) -> Places:
    """Add the next token to some rows: a forced token if there is one, else the model's choice.

    Queries in the short form are answered here; the retriever must answer the other queries.

    Args:
        rows: The conversations; they are changed.
        rules: Their rules.
        live: The rows to step, `(live,)`.
        choices: The model's choice for each, `(live,)`.
        taken: Filled with the tokens added, PAD in a finished row, `(live,)`.

    Returns:
        The rows whose query waits for the retriever, `(waiting,)`.
    """
    waiting, count = np.empty(len(live), np.int64), 0
    for place in range(len(live)):
        row = live[place]
        taken[place] = PAD
        if not rows.is_finished[row]:
            if _take(rows, rules, row, choices[place]) and not _search(rows, rules, row):
                waiting[count] = row
                count += 1
            taken[place] = rows.tokens[row, rows.length[row] - 1]
    return waiting[:count]


@njit(cache=True)
def write(rows: Rows, rules: Rules, row: int, words: Ids) -> tuple[int, bool]:
    """Write `words (time,)` as the model's tokens in a row; forced tokens that come before each are added first.

    Returns the number of words that were used up (written, or dropped because the row is finished), and whether the
    last one has ended a query that waits for the retriever.
    """
    for at in range(len(words)):
        while rows.length[row] < rows.certain[row] and not rows.is_finished[row]:
            _take(rows, rules, row, PAD)
        if rows.is_finished[row]:
            break
        if _take(rows, rules, row, words[at]) and not _search(rows, rules, row):
            return at + 1, True
    return len(words), False


@njit(cache=True)
def begin(rows: Rows, turns: Turns) -> None:
    """Force the prompt in all rows."""
    for row in range(len(rows.length)):
        _begin_turn(rows, turns, row)


@njit(cache=True)
def insert(rows: Rows, row: int, found: Ids) -> None:
    """Force the result of a search, `(tokens,)`."""
    for token in found:
        _expect(rows, row, token, _RETRIEVER)
    _see(rows, row, END_SEARCH)  # in place of the whole search
    rows.query[row] = NONE
    rows.num_searches[row] += 1


@njit(cache=True)
def visible(rows: Rows, row: int) -> Ids:
    """The tokens that a query of the row may see, `(time,)`.

    Each earlier search is reduced to one token, `<EndSearch>`. In `arXiv:2402.18510` a query is matched against all the
    text before its `<StartSearch>`, including earlier queries, which look like facts in the paper's short form. Without
    them, edges (`~`) are found only in the prompt, and parents (`-`) only in the trace. The `<EndSearch>` also
    separates tokens that were not adjacent.
    """
    return rows.visible[row, : rows.num_visible[row]]


@njit(cache=True)
def query_of(rows: Rows, row: int) -> Ids:
    """The tokens of the query that the row's last token has ended, `(tokens,)`."""
    return rows.tokens[row, rows.query[row] : rows.length[row] - 1]


@njit(cache=True)
def _take(rows: Rows, rules: Rules, row: int, choice: int) -> bool:
    """Add a token to a row; returns whether it ends a query of the model.

    A second `<StartSearch>` turns the unfinished query before it into plain text; an `<EndSearch>` without a
    `<StartSearch>` ends an empty query. Results of searches are not visible.
    """
    at = rows.length[row]
    if at == rows.certain[row]:
        _expect(rows, row, choice, _MODEL)
    rows.length[row] = at + 1
    token, author, begun = rows.tokens[row, at], rows.author[row, at], rows.query[row]
    ends_query = False
    if author == _RETRIEVER:
        pass
    elif token == START_SEARCH:
        if begun != NONE:
            for place in range(begun, at):
                _see(rows, row, rows.tokens[row, place])
        rows.query[row] = at + 1
    elif token == END_SEARCH:
        ends_query = author == _MODEL
        if not ends_query:
            rows.query[row] = NONE
        elif begun == NONE:
            rows.query[row] = at
    elif begun == NONE:
        _see(rows, row, token)
        if author == _MODEL and 0 <= token < len(rules.is_answer) and rules.is_answer[token]:
            rows.answers[row, rows.num_given[row]] = token
            rows.num_given[row] += 1
            _begin_turn(rows, rules.turns, row)
    rows.is_finished[row] = rows.num_given[row] == rules.num_answers[row] or at + 1 >= rules.limit[row]
    return ends_query


@njit(cache=True)
def _begin_turn(rows: Rows, turns: Turns, row: int) -> None:
    """Force the user's next turn, if there is one."""
    turn = rows.turn[row]
    if turn < turns.firsts[row + 1]:
        for at in range(turns.starts[turn], turns.starts[turn + 1]):
            _expect(rows, row, turns.tokens[at], _PROMPT)
        rows.turn[row] = turn + 1


@njit(cache=True)
def _search(rows: Rows, rules: Rules, row: int) -> bool:
    """Answer the query that has ended if it is in the short form; returns whether it was."""
    query = query_of(rows, row)
    if len(rules.short_words) == 0:
        return False
    for word in query:
        if not 0 <= word < len(rules.short_words) or not rules.short_words[word]:
            return False
    found = np.empty(1, np.int32)
    found[0] = short_form.answer(visible(rows, row), query, rules.numbers)
    insert(rows, row, found)
    return True


@njit(cache=True)
def _see(rows: Rows, row: int, token: int) -> None:
    rows.visible[row, rows.num_visible[row]] = token
    rows.num_visible[row] += 1


@njit(cache=True)
def _expect(rows: Rows, row: int, token: int, author: int) -> None:
    at = rows.certain[row]
    rows.tokens[row, at], rows.author[row, at] = token, author
    rows.certain[row] = at + 1
