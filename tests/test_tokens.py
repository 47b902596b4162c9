"""The tokens of a pretrained model: text in pieces, and token by token."""

import json
import pickle

import numpy as np
import pytest
from text_tokenizers import END, byte_level, save, sentences, unigram, with_spaces, word_pieces

from lit_retrieval.errors import UserError
from lit_retrieval.tokens import Tokens, is_same_tokenizer

pytest.importorskip("tokenizers")
TEXTS = [*sentences(samples=8), "é 北京 ½\n", "  \n\n ", ""]
ROUND_TRIPS = {
    "words": lambda: byte_level(sentences()),
    "across words": lambda: byte_level(sentences(), 900, splits=False),
    "with a first token": lambda: byte_level(sentences(), 600, first="<s>"),
    "with spaces": lambda: with_spaces(sentences(), 600, first="<bos>"),
    "unigram": lambda: unigram(sentences(), "never"),
}
OTHERS = {
    "unigram with a space before a text": lambda: unigram(sentences(), "always"),
    "bytes with a space before a text": lambda: with_spaces(sentences(), 600, prefix=True),
    "word pieces": lambda: word_pieces(sentences()),
}


@pytest.fixture(scope="module", params=ROUND_TRIPS)
def tokens(request, tmp_path_factory):
    return Tokens(save(ROUND_TRIPS[request.param](), tmp_path_factory.mktemp("tokenizer")))


def test_text_is_read_in_pieces_and_given_back(tokens):
    texts = [text for text in TEXTS if text.isascii() or "<unk>" not in tokens]
    pieces = [tokens.read(text) for text in texts]
    assert [tokens.text(piece) for piece in pieces] == texts
    assert tokens.text(np.concatenate(pieces)) == "".join(texts)
    for text, piece in zip(texts, pieces, strict=True):
        assert "".join(tokens.decode(piece)) == text and len(tokens.decode(piece)) == len(piece)
        assert piece.dtype == np.int32 and (not len(piece) or piece.max() < len(tokens))


def test_a_stream_gives_the_text_of_each_token_as_soon_as_it_is_whole(tokens):
    for text in TEXTS[:12]:
        stream, said = tokens.stream(), ""
        for at, token in enumerate(ids := tokens.read(text)):
            said += stream.take(token)
            assert said == tokens.text(ids[: at + 1])


def test_random_tokens_have_a_text(tokens):
    for seed in range(10):
        ids = np.random.default_rng(seed).integers(len(tokens), size=100)
        pieces = tokens.decode(ids)
        assert len(pieces) == 100
        if "<0x00>" not in tokens:  # such bytes are text or not, depending on those that follow
            assert "".join(pieces) == tokens.text(ids)


def test_a_prompt_begins_with_what_the_tokenizer_puts_there(tokens):
    first = [tokens.words[token] for token in tokens.first]
    assert first in ([], ["<s>"], ["<bos>"])
    prompt = tokens.read_prompt(TEXTS[0])
    assert prompt.tolist() == [*tokens.first.tolist(), *tokens.read(TEXTS[0]).tolist()]
    assert tokens.text_of_prompt(prompt) == TEXTS[0] == tokens.text_of_prompt(tokens.read(TEXTS[0]))
    assert tokens.read_prompt("".join(first) + TEXTS[0]).tolist() == prompt.tolist()


def test_the_lengths_of_a_training_that_a_tokenizer_has_saved_are_not_those_of_texts(tmp_path):
    made = byte_level(sentences())
    long = 20 * TEXTS[0]
    expected = [Tokens(save(made, tmp_path / "plain")).read(text).tolist() for text in ("a", long)]
    made.enable_truncation(100)
    made.enable_padding(length=30)
    tokens = Tokens(save(made, tmp_path / "saved"))
    assert is_same_tokenizer(tmp_path / "saved", tmp_path / "plain")
    save(byte_level(sentences(), 299), tmp_path / "other")
    assert not is_same_tokenizer(tmp_path / "other", tmp_path / "plain")
    assert [tokens.read(text).tolist() for text in ("a", long)] == expected and len(expected[1]) > 100


def test_it_stands_where_a_vocabulary_does(tokens):
    assert len(tokens.words) == len(tokens) and tokens.encode(tokens.words[5:9]).tolist() == [5, 6, 7, 8]
    assert tokens.ends == {tokens.encode([END])[0]}
    assert pickle.loads(pickle.dumps(tokens)).read(TEXTS[0]).tolist() == tokens.read(TEXTS[0]).tolist()


def test_tokens_that_are_no_text_cost_no_more_for_those_before_them(tmp_path):
    tokens = Tokens(save(byte_level(sentences()), tmp_path))
    byte = tokens.words.index("Ã")  # the first of two bytes
    stream = tokens.stream()
    pieces = [stream.take(byte) for _ in range(100)]
    assert "".join(pieces) + stream.rest() == 100 * "\N{REPLACEMENT CHARACTER}"
    assert max(map(len, pieces)) == 8
    assert [stream.take(token) for token in tokens.read("é")] == ["", "é"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_tokenizer_that_changes_text_is_refused(name, tmp_path):
    save(OTHERS[name](), tmp_path)
    with pytest.raises(UserError, match="must give back the text that it has read in pieces, got ") as refused:
        Tokens(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no .*tokenizer.json; write the folder of a pretrained model"), ("{}", "is not a file of")],
)
def test_a_folder_without_a_tokenizer_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=message):
        Tokens(tmp_path)


def test_the_ends_of_a_text_are_those_of_the_models_files(tmp_path):
    save(byte_level(sentences()), tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": END}}))
    assert Tokens(tmp_path).ends == {0, 5, 6, 7}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is not JSON"):
        Tokens(tmp_path)
