"""Conversations in text: searches and answers are found whatever the tokens, and against plainer rules."""

import re

import numpy as np
import pytest
from text_tokenizers import END as END_OF_TEXT
from text_tokenizers import byte_level, save, sentences, with_spaces

from lit_retrieval.conversation import RIGHT, UNDECIDED, WRONG, AnswerLine, Author, TextConversations
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import RegularExpressionRetriever
from lit_retrieval.tokens import Tokens

pytest.importorskip("tokenizers")
S, E = "<StartSearch>", "<EndSearch>"
ENDING = AnswerLine("^Answer: ?(.*)")
RETRIEVER = RegularExpressionRetriever(timeout=5.0)
_MARKS = [f"x{E}{S}a", f"b{E}\nAnswer: ", f"{S}{S}", f"Answer: Oslo\n{S}"] * 40
TOKENIZERS = {
    "words": lambda: byte_level(sentences()),
    "bytes": lambda: byte_level(sentences(), 257),
    "across marks": lambda: byte_level([*sentences(), *_MARKS], 900, splits=False),
    "with spaces": lambda: with_spaces([*sentences(), *_MARKS], 700, first="<bos>"),
}

# The prompt, what the model writes, the queries with what each may see, and the answer.
PROMPT = "Ann is in Oslo.\n"
CASES = {
    "an answer": (PROMPT, "Answer: Oslo\n", [], "Oslo"),
    "an answer without a space, after other lines": (PROMPT, "I see.\n\nAnswer:Oslo, \n", [], "Oslo,"),
    "a line that is not whole": (PROMPT, "Answer: Oslo", [], None),
    "a line that begins otherwise": (PROMPT, "The Answer: Oslo\n", [], None),
    "a search": (PROMPT, f"{S}is in (\\w+){E}Answer: Oslo\n", [("is in (\\w+)", PROMPT)], "Oslo"),
    "earlier searches are one mark each": (
        PROMPT, f"a{S}b{E}c\n{S}d{E}{S}e{E}", [("b", f"{PROMPT}a"), ("d", f"{PROMPT}a{E}c\n"),
        ("e", f"{PROMPT}a{E}c\n{E}")], None,
    ),
    "a second start": (PROMPT, f"a{S}b c{S}d{E}", [("d", f"{PROMPT}ab c")], None),
    "three starts": (PROMPT, f"{S}a{S}b{S}c{E}", [("c", f"{PROMPT}ab")], None),
    "an end without a start": (PROMPT, f"a{E}b{E}", [("", f"{PROMPT}a"), ("", f"{PROMPT}a{E}b")], None),
    "an empty query": (PROMPT, f"{S}{E}", [("", PROMPT)], None),
    "spaces around a query": (PROMPT, f"{S} a b\n{E}", [("a b", PROMPT)], None),
    "an answer in a query": (PROMPT, f"{S}\nAnswer: Oslo\n", [], None),
    "an answer in a query that becomes text": (PROMPT, f"{S}\nAnswer: Oslo\n{S}", [], None),
    "a search in the line of an answer": (PROMPT, f"Answer: {S}a{E}\n", [("a", f"{PROMPT}Answer: ")], None),
    "an answer after a search": (PROMPT, f"x{S}a{E}Answer: Oslo\n{S}b{E}", [("a", f"{PROMPT}x")], "Oslo"),
    "marks that are not whole": (PROMPT, f"<StartSearch{E[:-1]}>Answer: b\n", [("", f"{PROMPT}<StartSearch")], "b"),
    "searches in the prompt": (f"a{S}b{E}c\n", f"{S}d{E}", [("d", "ac\n")], None),
    "a query that the prompt begins": (f"a\n{S}b ", f"c{E}{S}d{E}", [("b c", "a\n"), ("d", f"a\n{E}")], None),
    "the end of the text ends a line": (PROMPT, f"Answer: Oslo{END_OF_TEXT}", [], "Oslo"),
    "the end of the text ends a reply": (PROMPT, f"Answer{END_OF_TEXT}: Oslo\n", [], None),
    "the end of the text in a query": (PROMPT, f"{S}Answer: Oslo{END_OF_TEXT}", [], None),
    "another alphabet": ("Zoë är i Malmö.\n", f"{S}i{E}Answer: Malmö\n", [("i", "Zoë är i Malmö.\n")], "Malmö"),
}  # fmt: skip


class Recording:
    """Finds nothing, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def search(self, query, text):
        self.asked.append((query, text))


class Moody:
    """Finds something, nothing, an empty text or several lines, or is too late."""

    def search(self, query, text):
        mood = len(query) % 5
        if mood == 0:
            raise TimeoutError
        return [None, "", text[-9:], f"{S}one\ntwo{E}"][mood - 1]


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokens(request, tmp_path_factory):
    return Tokens(save(TOKENIZERS[request.param](), tmp_path_factory.mktemp("tokenizer")))


def begin(tokens, prompts, retriever=RETRIEVER, **given):
    return TextConversations([[tokens.read_prompt(one)] for one in prompts], tokens, retriever, ENDING, **given)


@pytest.mark.parametrize("name", CASES)
def test_searches_and_answers_are_found_whatever_the_tokens(name, tokens):
    prompt, said, queries, answer = CASES[name]
    recording, given = Recording(), []
    talk = begin(tokens, [prompt], recording, judge=lambda row, text: given.append(text) or text == "Oslo")
    talk.write(0, tokens.read(said))
    (reply,) = talk.replies()
    assert recording.asked == queries and reply.num_searches == len(queries)
    assert given == ([] if answer is None else [answer])
    assert reply.answers == [UNDECIDED if answer is None else RIGHT if answer == "Oslo" else WRONG]
    assert talk.is_finished[0] == (answer is not None or END_OF_TEXT in said)


def test_what_is_found_comes_next_as_a_line_of_its_own(tokens):
    talk = begin(tokens, [PROMPT])
    talk.write(0, tokens.read(f"{S}in (\\w+){E}"))
    found = tokens.read("Oslo\n").tolist()
    assert talk.num_certain.tolist() == [len(found)]
    taken = [talk.step(np.array([-7]))[0] for _ in found]
    assert taken == found and talk.replies().author[0, -len(found) :].tolist() == [Author.RETRIEVER] * len(found)
    talk.write(0, tokens.read(f"{S}in (\\d+){E}"))
    talk.write(0, tokens.read("x")[:1])
    assert tokens.text(talk.replies()[0].tokens).endswith("FAILED\nx")


def test_text_after_a_search_in_the_same_token_is_the_models(tmp_path):
    tokens = Tokens(save(byte_level([f"b{E}Answer: "] * 99, 300, splits=False), tmp_path))
    token = tokens.read(f"b{E}Answer: ")
    assert len(token) == 1
    talk = begin(tokens, [PROMPT])
    talk.write(0, np.concatenate([tokens.read(S), token, tokens.read("Oslo\n")]))
    (reply,) = talk.replies()
    assert tokens.text(reply.tokens) == f"{PROMPT}{S}b{E}Answer: FAILED\nOslo\n" and reply.answers == [WRONG]


@pytest.mark.parametrize("max_new_tokens", [1, 3, 12])
def test_a_reply_that_is_too_long_is_undecided(max_new_tokens, tokens):
    talk = begin(tokens, [PROMPT, f"{PROMPT}{PROMPT}"], max_new_tokens=max_new_tokens)
    prompts = talk.num_certain.copy()
    while not talk.is_finished.all():
        talk.step(np.array([tokens.read("x")[0]] * 2))
    assert [reply.answers for reply in talk.replies()] == [[UNDECIDED]] * 2
    assert (talk.replies().length - prompts).tolist() == [max_new_tokens] * 2


class NaiveText:
    """The same rules once more: all text so far is cut into its parts again after each token."""

    def __init__(self, prompt, tokens, retriever, max_new_tokens):
        self.tokens, self.retriever, self.prompt = tokens, retriever, tokens.text(prompt[len(tokens.first) :])
        self.said, self.author = prompt.tolist(), [Author.PROMPT] * len(prompt)
        self.waiting, self.pieces, self.searches, self.timeouts = [], [[]], 0, 0
        self.limit, self.given, self.is_over = len(prompt) + max_new_tokens, None, False

    @property
    def is_finished(self):
        return self.is_over or len(self.said) >= self.limit

    def step(self, choice):
        token, author = (self.waiting.pop(0), Author.RETRIEVER) if self.waiting else (choice, Author.MODEL)
        self.said.append(token)
        self.author.append(author)
        if author == Author.MODEL:
            self.is_over = token in self.tokens.ends
            self.pieces[-1] += [] if self.is_over else [token]
            self.read()
        return token

    def read(self):
        visible, query, searches = self.cut(self.prompt, None)
        model = "".join(self.tokens.text(piece) for piece in self.pieces)
        parts = re.split(f"({S}|{E})", model)
        for at, part in enumerate(parts):
            is_last = at == len(parts) - 1
            if part == E:
                searches += 1
                if searches > self.searches:
                    self.search((query or "").strip(), visible)
                visible, query = visible + E, None
            elif part == S:
                visible, query = visible + (query or ""), ""
            elif query is not None:
                query += part
            else:
                lines = part.split("\n")
                for line in lines if is_last and self.is_over else lines[:-1]:
                    if self.given is None and (found := re.match("Answer: ?(.*)", line)):
                        self.given, self.is_over = found[1].strip(), True
                        return
                visible += part

    def cut(self, prompt, query):
        visible = ""
        for part in re.split(f"({S}|{E})", prompt):
            if part == S:
                visible, query = visible + (query or ""), ""
            elif part == E:
                query = None
            elif query is None:
                visible += part
            else:
                query += part
        return visible, query, 0

    def search(self, query, visible):
        self.searches += 1
        try:
            found = self.retriever.search(query, visible) or "FAILED"
        except TimeoutError:
            self.timeouts += 1
            found = "FAILED"
        self.waiting += self.tokens.read(f"{found}\n").tolist()
        self.pieces.append([])


PIECES = [
    S, E, f"{E}{S}", "Ann", " is in", "\n", "Answer:", "Answer: Oslo", " Oslo\n", "(\\w+)", "<Start", "Search>", "<",
    "é", END_OF_TEXT,
]  # fmt: skip
PROMPTS = ["Ann is in Oslo.\n", f"a{S}b{E}c Ann is in Rome.\nBob is in Oslo.\n", f"a\n{S}Ann is ", "x"]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("retriever", [RETRIEVER, Moody()], ids=["expressions", "moody"])
def test_random_text_is_read_as_by_plainer_rules(seed, retriever, tokens):
    rng, limit = np.random.default_rng(seed), 60
    prompts = [tokens.read_prompt(PROMPTS[row % 4]) for row in range(8)]
    ours = TextConversations([[one] for one in prompts], tokens, retriever, ENDING, max_new_tokens=limit)
    while len(reads := np.flatnonzero(ours.num_certain)):
        ours.step(np.full(len(reads), -7), reads)
    plain = [NaiveText(one, tokens, retriever, limit) for one in prompts]
    written = [tokens.read("".join(PIECES[one] for one in rng.integers(len(PIECES), size=60))) for _ in prompts]
    written = [iter(one.tolist()) for one in written]
    live = np.arange(8)
    while len(live):
        choices = np.array([-7 if ours.num_certain[row] else next(written[row]) for row in live])
        expected = [plain[row].step(choice) for row, choice in zip(live, choices.tolist(), strict=True)]
        assert ours.step(choices, live).tolist() == expected
        assert ours.is_finished[live].tolist() == [plain[row].is_finished for row in live]
        live = live[~ours.is_finished[live]]
    for one, reply in zip(plain, ours.replies(), strict=True):
        assert (reply.tokens, reply.author) == (one.said, one.author)
        assert reply.answers == [UNDECIDED if one.given is None else WRONG]
        assert (reply.num_searches, reply.num_timeouts) == (one.searches, one.timeouts)


def test_a_retriever_of_ones_own_must_return_text_or_nothing(tokens):
    class Numbers:
        def search(self, query, text):
            return 7

    talk = begin(tokens, [PROMPT], Numbers())
    with pytest.raises(UserError, match="search of Numbers must return a text, or None where nothing matches, got 7"):
        talk.write(0, tokens.read(E))


def test_a_conversation_in_text_has_one_turn_of_the_user(tokens):
    with pytest.raises(UserError, match="must have one turn of the user"):
        TextConversations([[tokens.read("a"), tokens.read("b")]], tokens, RETRIEVER, ENDING)
