import pytest

from lit_retrieval.errors import UserError
from lit_retrieval.vocabulary import SPECIAL_WORDS, Vocabulary


def test_every_vocabulary_begins_with_the_special_words():
    assert Vocabulary(["a", "b"]).words[: len(SPECIAL_WORDS)] == SPECIAL_WORDS


def test_decoding_undoes_encoding():
    vocabulary = Vocabulary(["10", "1", "YES"])
    words = ["<s>", "1", "~", "10", "?", "YES"]
    assert vocabulary.decode(vocabulary.encode(words)) == words


@pytest.mark.parametrize(("words", "said"), [(["a", "a"], "'a' is listed"), (["a b"], "white space"), (["~"], "twice")])
def test_words_that_cannot_be_told_apart_are_refused(words, said):
    with pytest.raises(UserError, match=said):
        Vocabulary(words)


def test_an_unknown_word_is_named():
    with pytest.raises(UserError, match="'x' is not one of the vocabulary's 11 words"):
        Vocabulary(["a"]).encode(["a", "x"])


def test_numerals_have_their_numbers():
    assert Vocabulary(["12", "0", "k1", "1234567890", "²"]).numbers[len(SPECIAL_WORDS) :].tolist() == [
        12,
        0,
        -1,
        -1,
        -1,
    ]
