"""Texts are continued and scored as by the whole forward, one text at a time."""

import sys
from functools import partial

import numpy as np
import pytest
import text_tokenizers
import torch
from pretrained_models import write_folder

from lit_retrieval.errors import UserError
from lit_retrieval.harness.opened import open_folder
from lit_retrieval.harness.text_model import StopStrings, TextModel
from lit_retrieval.mixers import Attention, Mamba, SwiGLU
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.retrieval import EitherFormRetriever, RegularExpressionRetriever
from lit_retrieval.tasks import AssociativeRecall, StringCopying
from lit_retrieval.tokens import Tokens

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
TASK = AssociativeRecall(num_keys=8, num_values=4)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tokenizer whose tokens reach over words, lines and search marks, and a tiny model for it, by architecture."""
    texts = text_tokenizers.sentences(4, 20)

    def make(architecture, **changed):
        made = tmp_path_factory.mktemp(architecture)
        tokenizer = text_tokenizers.save(text_tokenizers.byte_level(texts, splits=False), made)
        return write_folder(tokenizer, architecture, vocab_size=400, **changed)

    return make


def words(mixers):
    torch.manual_seed(0)
    model = SequenceModel(len(TASK.vocabulary), 16, [Stage(mixers)]).eval()
    return TextModel(model, TASK.vocabulary, None, TASK.answer_words.tolist(), rows=3)


def opened(path, searches=False, rows=3):
    return open_folder(path, "float32", searches, rows, CPU)


@torch.no_grad()
def direct(one, context, text):
    """The log-likelihood from all logits of the whole text, in float64."""
    whole = torch.tensor([[*context, *text]])
    logits, _ = one.model(whole[:, :-1])
    scores = logits[0].double().log_softmax(-1)[len(context) - 1 :]
    right = whole[0, len(context) :]
    return float(scores.gather(1, right[:, None]).sum()), bool((scores.argmax(-1) == right).all())


@torch.no_grad()
def greedy(one, prompt, count):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(one.model(torch.tensor([tokens]))[0][0, -1].argmax()))
    return tokens[len(prompt) :]


MODELS = {
    "transformer": lambda folder: words([partial(Attention, num_heads=2), SwiGLU]),
    "mamba": lambda folder: words([Mamba]),
    "pretrained llama": lambda folder: opened(folder("llama")),
    "pretrained mamba": lambda folder: opened(folder("mamba")),
}


@pytest.mark.parametrize("name", MODELS)
def test_log_likelihoods_are_those_of_each_text_alone(name, folder):
    one = MODELS[name](folder)
    rng = np.random.default_rng(0)
    pairs = [
        tuple(rng.integers(5, len(one.vocabulary), count).tolist() for count in counts)
        for counts in [(3, 2), (2, 3), (1, 4), (4, 1), (9, 1), (5, 5), (3, 2), (1, 1), (7, 0)]
    ]
    pairs.append((pairs[0][0], greedy(one, pairs[0][0], 4)))
    expected = [direct(one, *pair) for pair in pairs[:-2]] + [(0.0, True), direct(one, *pairs[-1])]
    found = one.log_likelihoods(pairs)
    assert [best for _, best in found] == [best for _, best in expected] and found[-1][1]
    np.testing.assert_allclose([score for score, _ in found], [score for score, _ in expected], atol=1e-4)


def test_a_text_too_long_for_the_model_loses_its_first_tokens(folder):
    one = opened(folder("llama", max_position_embeddings=8))
    assert one.most_places == 8
    context, text = list(range(5, 14)), [20, 21, 22]
    ((score, _),) = one.log_likelihoods([(context, text)])
    assert score == pytest.approx(direct(one, [*context, *text][-9:-3], text)[0], abs=1e-4)
    ((score, _),) = one.log_likelihoods([(context, list(range(30, 42)))])
    assert score == pytest.approx(direct(one, [33], list(range(34, 42)))[0], abs=1e-4)
    (written,) = one.write([context], [], 4)
    assert written == one.vocabulary.text(greedy(one, context[-4:], 4))
    with pytest.raises(UserError, match="max_gen_toks must be below the 8 places of the model, got 8"):
        one.write([context], [], 8)


@pytest.mark.parametrize("name", ["pretrained llama", "pretrained mamba"])
def test_texts_end_before_the_first_stop_string_whatever_the_borders_of_tokens(name, folder):
    one = MODELS[name](folder)
    prompts = [one.vocabulary.read(text).tolist() for text in ("Emma lives in", "Who?", "a b c d", "Answer: Oslo\n")]
    texts = [one.vocabulary.text(greedy(one, prompt, 12)) for prompt in prompts]
    assert one.write(prompts, [], 12) == texts and len(set(texts)) > 1
    for text in texts:
        stop = text[len(text) // 2 : len(text) // 2 + 3]
        expected = [each[: each.find(stop)] if stop in each else each for each in texts]
        assert one.write(prompts, ["never", "", stop], 12) == expected and expected != texts


def test_a_stop_string_is_found_where_it_ends():
    stops = StopStrings(["", "\n\n", "Problem:"])
    text = "ab\n\nProblem:"
    found = [stops.find(text[:stop], stop - 1, False) for stop in range(1, len(text) + 1)]
    assert found[:3] == [None] * 3 and found[3] == "ab" and found[-1] == "ab\n\n"
    assert stops.find("abc", 3, True) == "abc" and stops.find("abc", 1, False) is None


def test_the_end_of_a_text_is_left_out_and_nothing_follows_it(folder):
    one = opened(folder("llama"))
    prompt = one.vocabulary.read("Emma").tolist()
    said = greedy(one, prompt, 12)
    one.vocabulary.ends = frozenset({said[5]})
    before = said.index(said[5])
    assert one.write([prompt], [], 12) == [one.vocabulary.text(said[:before])]


class Scripted:
    """Writes what a function of the text so far says next, byte by byte; its state is the tokens."""

    def __init__(self, vocabulary, script):
        self.vocabulary, self.script = vocabulary, script

    def __call__(self, tokens, state=None, positions=None):
        whole = tokens if state is None else torch.cat([state, tokens], 1)
        wanted = [self.vocabulary.read(self.script(self.vocabulary.text(row)))[0] for row in whole.tolist()]
        return torch.nn.functional.one_hot(torch.tensor(wanted).long(), len(self.vocabulary)).float(), whole


QUERY = r"<StartSearch>Anna lives in (\w+)<EndSearch>"


def search_and_say(text):
    """Search, then say what was found; a newline where nothing is left to say, or the prompt goes on."""
    _, _, said = text.partition("A:")
    if said == QUERY[: len(said)] != QUERY:
        return QUERY[len(said) :]
    found = said.removeprefix(QUERY)
    is_found = found.startswith("Oslo\n")
    answer = "It is Oslo." if is_found else "I do not know."
    return answer[len(found.removeprefix("Oslo\n")) :] or "\n"


@pytest.mark.parametrize(("searches", "said"), [(True, "\nIt is Oslo."), (False, "I do not know.")])
def test_searches_run_while_it_writes_and_what_they_find_is_left_out(searches, said, tmp_path):
    vocabulary = Tokens(text_tokenizers.save(text_tokenizers.byte_level([], size=257), tmp_path))
    retriever = RegularExpressionRetriever(timeout=5.0) if searches else None
    one = TextModel(Scripted(vocabulary, search_and_say), vocabulary, retriever)
    prompts = [vocabulary.read(f"{names} lives in Oslo. Where?A:").tolist() for names in ("Anna", "Bob and Anna")]
    assert one.write(prompts, ["\n"], 120) == [QUERY + said] * 2
    assert one.write(prompts, ["lives", "."], 120) == [QUERY + said.removesuffix(".")] * 2, "not in a query"


class Oracle:
    """Writes transcripts again, from the place that each row is at."""

    def __init__(self, transcripts, vocab_size):
        self.tokens, self.vocab_size = torch.from_numpy(transcripts.tokens.astype(np.int64)), vocab_size

    def __call__(self, tokens, state=None, positions=None):
        rows, place = (torch.arange(len(tokens)), 0) if state is None else state
        place += tokens.shape[1]
        return torch.nn.functional.one_hot(self.tokens[rows, place], self.vocab_size).float(), (rows, place)


@pytest.mark.parametrize("searches", [True, False])
def test_words_are_written_to_the_answer(searches):
    transcripts = TASK.sample(0, np.arange(4), np.full(4, 8), "retrieval")
    one = TextModel(
        Oracle(transcripts, len(TASK.vocabulary)), TASK.vocabulary, EitherFormRetriever() if searches else None,
        TASK.answer_words.tolist(),
    )  # fmt: skip
    prompts = [transcripts.tokens[row, : transcripts.prompt_length[row]].tolist() for row in range(4)]
    expected = []
    for row in range(4):
        said = TASK.vocabulary.decode(transcripts.tokens[row, len(prompts[row]) : transcripts.length[row]])
        end = said.index("<EndSearch>")
        assert len(said) == end + 3, "the search, what it finds, the answer"
        expected.append(" ".join([*said[: end + 1], *said[end + 1 + searches :][:1]]))
    assert one.write(prompts, [], 20) == expected
    assert one.write(prompts, ["k"], 20) == expected, "keys are in queries alone"
    assert one.write(prompts, ["<EndSearch>"], 20) == [text[: text.find("<EndSearch>")] for text in expected]


def test_a_text_of_words_has_as_many_answers_as_are_asked_for():
    task = StringCopying(max_size=6, vocab_size=4)
    transcripts = task.sample(0, np.arange(2), np.full(2, 6), "vanilla")
    one = TextModel(Oracle(transcripts, len(task.vocabulary)), task.vocabulary, None, task.answer_words.tolist())
    prompts = [transcripts.tokens[row, : transcripts.prompt_length[row]].tolist() for row in range(2)]
    answers = [task.vocabulary.decode(transcripts.answers_of(row)) for row in range(2)]
    for count in (1, 3, 6):
        assert one.write(prompts, [], 20, count) == [" ".join(each[:count]) for each in answers]


def test_the_token_before_a_text_is_that_which_begins_one(folder, tmp_path):
    made = text_tokenizers.byte_level(["a"], size=260, first="<|first|>")
    text_tokenizers.save(made, tmp_path)
    assert Tokens(tmp_path).prefix == made.token_to_id("<|first|>")
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": {"content": "<|end|>"}}')
    assert Tokens(tmp_path).prefix == made.token_to_id("<|end|>")
    assert words([Mamba]).prefix == 1


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*tokenizer\.json") as refused:
        opened(write_folder(tmp_path, "llama"))
    assert "\n" not in str(refused.value)
