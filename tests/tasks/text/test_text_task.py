"""Tasks in text: what they write, a model that is right can write again, token by token, whatever the tokenizer."""

import numpy as np
import pytest
from text_tokenizers import byte_level, save, sentences

from lit_retrieval.conversation import RIGHT
from lit_retrieval.tasks.text import Friends, Phonebook

pytest.importorskip("tokenizers")
REGIMES = ("vanilla", "cot", "retrieval")
TOKENIZERS = {
    "words": {}, "bytes": {"size": 258}, "across words": {"size": 900, "splits": False},
    "with a first token": {"size": 600, "first": "<s>"},
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    texts, root = sentences(), tmp_path_factory.mktemp("tokenizers")
    return {name: save(byte_level(texts, **given), root / name) for name, given in TOKENIZERS.items()}


@pytest.mark.parametrize("task", [Friends, Phonebook])
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_oracle_writes_each_transcript_again(task, regime, name, folders):
    one = task(folders[name])
    found = one.sample(0, np.arange(6), np.resize([2, 5, 9], 6), regime)
    prompts = [[found.tokens[row, : found.prompt_length[row]]] for row in range(6)]
    oracle = one.converse(prompts, one.retriever, right=found)
    for at in range(found.tokens.shape[1]):
        live = np.flatnonzero(found.length > at)
        is_model = oracle.num_certain[live] == 0
        oracle.step(np.where(is_model, found.tokens[live, at], -7).astype(np.int64), live)
    assert oracle.is_finished.all()
    for row, reply in enumerate(oracle.replies()):
        assert reply[:3] == found.reply(row)[:3] and reply.answers == [RIGHT]
        assert reply.num_searches == {"retrieval": 2 if task is Friends else 1}.get(regime, 0)
