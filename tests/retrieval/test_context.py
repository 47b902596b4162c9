from lit_retrieval.retrieval import Context
from lit_retrieval.vocabulary import END_SEARCH, START_SEARCH

A, B, C = 20, 21, 22


def write(context, *tokens):
    return [query.tolist() for token in tokens if (query := context.write(token)) is not None]


def test_words_outside_a_search_are_visible():
    context = Context()
    assert write(context, A, B, C) == []
    assert context.visible.tolist() == [A, B, C]


def test_a_search_hides_its_words_and_leaves_one_mark():
    context = Context()
    assert write(context, A, START_SEARCH, B, C, END_SEARCH) == [[B, C]]
    assert context.visible.tolist() == [A], "the query must not see itself"
    context.close_search()
    write(context, C)
    assert context.visible.tolist() == [A, END_SEARCH, C]


def test_a_second_start_makes_plain_text_of_an_unfinished_query():
    context = Context()
    assert write(context, START_SEARCH, A, START_SEARCH, B, END_SEARCH) == [[B]]
    assert context.visible.tolist() == [A]


def test_an_end_without_a_start_ends_an_empty_query():
    context = Context()
    assert write(context, A, END_SEARCH) == [[]]
    assert context.visible.tolist() == [A]


def test_contexts_longer_than_the_first_buffer_are_kept_whole():
    context = Context()
    write(context, *range(10, 310))
    assert context.visible.tolist() == list(range(10, 310))
