"""`LeftPaddedIsTree`: the rows of `IsTree`, made equally long, so that their first word tells the answer."""

import numpy as np
import pytest

from lit_retrieval.conversation import Author
from lit_retrieval.tasks import IsTree
from lit_retrieval.tasks.graphs.is_tree import YES
from lit_retrieval.vocabulary import FAILED, START
from tools.left_padding import LeftPaddedIsTree


@pytest.mark.parametrize("size", [8, 16])
def test_rows_are_those_of_is_tree_after_words_that_tell_the_answer(size):
    indices, sizes = np.arange(200), np.full(200, size)
    plain, padded = (task(max_size=16).sample(0, indices, sizes, "cot") for task in (IsTree, LeftPaddedIsTree))
    assert set(padded.length) == {3 * size - 1 + 2 * size}
    for row, shift in enumerate(padded.length - plain.length):
        tokens, author = padded.tokens[row], padded.author[row]
        assert (tokens[:shift] == FAILED).all() and (author[:shift] == Author.PROMPT).all()
        assert np.array_equal(tokens[shift:], plain.tokens[row, : plain.length[row]])
        assert np.array_equal(author[shift:], plain.author[row, : plain.length[row]])
        assert padded.prompt_length[row] == plain.prompt_length[row] + shift
        assert (tokens[0] == START) == (plain.answers[row, 0] == YES)
    assert np.array_equal(padded.answers, plain.answers) and 0.3 < (padded.answers == YES).mean() < 0.7
