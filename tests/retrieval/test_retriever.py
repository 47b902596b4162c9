import re
from pathlib import Path

import numpy as np
import own_retrievers
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_retrieval.cli import read_configuration
from lit_retrieval.conversation import Conversation
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import (
    AssociativeRecallRetriever,
    EitherFormRetriever,
    RegularExpressionRetriever,
    ShortFormRetriever,
    to_regular_expression,
)
from lit_retrieval.vocabulary import Vocabulary

NAMES = [
    "1",
    "11",
    "2",
    "k1",
    "a.b",
    "x+",
]  # beginnings of others, letters that mean something in a pattern
PIECES = [r"^(?:\S+\s+){2}", r"(\S+)", "(", "|", "(.*)", r"\b1\b\s+(\S+)", "(a{1000}){1000}", r"(?:\S+\s*)+$(x)"]
VOCABULARY = Vocabulary([*NAMES, *PIECES])
# Timed by the test below, so generous here: a busy machine must not turn an answer into FAILED.
EXPRESSIONS = RegularExpressionRetriever(timeout=5.0)


def ask(retriever, context, query):
    context, query = (VOCABULARY.encode(words.split()) for words in (context, query))
    return VOCABULARY.decode(retriever(context, query, VOCABULARY))


BOTH = pytest.mark.parametrize("retriever", [ShortFormRetriever(), EXPRESSIONS], ids=["ids", "expressions"])


@BOTH
@pytest.mark.parametrize(
    ("context", "query", "found"),
    [
        ("<s> 1 ~ 11 11 ~ k1 ?", "11 ~", "1"),
        ("<s> 1 ~ 11 11 ~ k1 ?", "11 ~ 1", "k1"),
        ("<s> 1 ~ 11 11 ~ k1 ?", "11 ~ k1", "FAILED"),
        ("<s> 11 ~ k1 1 ~ x+ ?", "1 ~", "x+"),
        ("<s> 1 ~ 11 ? 1 - 11 k1 - 1", "- 1", "k1"),
        ("<s> 1 ~ 11 ? 1 - 11", "- 1", "FAILED"),
        ("<s> 1 ~ 11 ~ k1 ?", "11 ~ 1", "FAILED"),  # edges that share a word do not follow each other
        ("<s> a.b x+ 1 k1 ? 1", "1", "k1"),
        ("<s> a.b x+ 1 k1 ?", "a.b x+", "1"),
        ("<s> k1 ? 1", "1", "FAILED"),
        ("<s> 1 11 ?", "<s>", "1"),  # the paper's \b finds no border here
        ("<s> 1 11 ?", "~", "FAILED"),
        ("<s> 1 11 ?", "", "FAILED"),
        ("<s> k1 1 11 x+ ? 2", "@ 2", "1"),
        ("<s> k1 1 ? 11", "@ 11", "FAILED"),
        ("<s> k1 1 ? k1", "@ k1", "FAILED"),
        ("<s> 1 11 1 k1 1 ? 1 2", "1 > 2", "1"),
        ("<s> 1 11 1 k1 11 ? 1 2", "1 > 2", "FAILED"),  # what is asked for stands after the `?` once more
        ("<s> 1 11 1 1 1 1", "1 > 2", "FAILED"),
        ("<s> 1 1 ?", "1 > k1", "FAILED"),
        ("<s> 1 11 1 k1 ? 1", "> 1", "k1"),  # nothing follows the last 1
        ("<s> 1 11 k1 1 11 2 11 k1 ?", "> 1 11", "2"),
        ("<s> 1 1 1", "> 1 1", "1"),
        ("<s> 11 ? 1", "> 1", "FAILED"),
        ("<s> 1 11 ?", "1 >", "FAILED"),
        ("<s> 1 11 ?", ">", "FAILED"),
        ("<s> 1 11 ?", "> > 1", "FAILED"),
        ("<s> x+ k1 1 2 k1 11 x+ k1 2 ?", "2 > k1", "11"),
        ("<s> k1 1 2 k1 11 2 k1 2 ?", "k1 > k1", "11"),
        ("<s> k1 1 2 ? k1", "2 > k1", "FAILED"),
        ("<s> 2 k1 1 ?", "x+ > k1", "FAILED"),
    ],
)
def test_queries_find_what_they_ask_for(retriever, context, query, found):
    assert ask(retriever, context, query) == [found]


word = st.sampled_from(["<s>", "?", "~", "~", "-", "@", ">", "<EndSearch>", "FAILED", *NAMES])
name = st.sampled_from([*NAMES, "?"])
query = st.one_of(
    st.tuples(name, st.just("~")), st.tuples(name, st.just("~"), name), st.tuples(st.just("-"), name),
    st.tuples(st.just("@"), name), st.tuples(name, st.just(">"), name),
    st.lists(name, min_size=1, max_size=3).map(lambda names: [">", *names]),
    st.lists(name, min_size=1, max_size=3), st.lists(word, max_size=4),
)  # fmt: skip


@settings(max_examples=2000, deadline=None)
@given(context=st.lists(word, max_size=30), query=query)
def test_both_ways_to_run_a_query_mean_the_same_on_any_context(context, query):
    context, query = " ".join(context), " ".join(query)
    assert ask(ShortFormRetriever(), context, query) == ask(EXPRESSIONS, context, query)


def test_the_short_form_is_the_papers_expression_bounded_by_spaces():
    assert to_regular_expression(["-", "1"]) == r"(?<!\S)(\S+) - (?<!\S)1(?!\S)"
    assert to_regular_expression(["~", "1"]) is None


def test_a_full_expression_is_joined_without_spaces_and_returns_its_group():
    assert ask(EXPRESSIONS, "<s> k1 1 11", r"\b1\b\s+(\S+)") == ["11"]
    assert ask(EXPRESSIONS, "<s> k1 1 11", r"^(?:\S+\s+){2} (\S+)") == ["1"]


def test_either_form_is_answered():
    retriever = EitherFormRetriever(EXPRESSIONS)
    assert ask(retriever, "<s> k1 1 11", "k1") == ["1"] == ask(retriever, "<s> k1 1 11", r"^(?:\S+\s+){2} (\S+)")


def test_counting_what_is_not_there_takes_no_time_that_grows_with_the_ways_to_choose():
    text = "<s> " + "1 11 " * 1000 + "?"
    pattern = to_regular_expression(["1", ">", "2000"])
    assert RegularExpressionRetriever(timeout=5.0).search(pattern, text) is None
    assert RegularExpressionRetriever(timeout=5.0).search(to_regular_expression(["1", ">", "999"]), text) == "1"


def test_the_first_group_that_took_part_is_returned():
    assert EXPRESSIONS.search(r"(?:a (\S+)|b (\S+))", "b c") == "c"


def test_several_retrieved_words_come_back_in_order():
    assert ask(EXPRESSIONS, "<s> k1 1 11", "(.*)") == ["<s>", "k1", "1", "11"]


@pytest.mark.parametrize("query", ["(", "( | |", "(a{1000}){1000}"])
def test_expressions_that_cannot_be_run_find_nothing(query):
    assert ask(EXPRESSIONS, "<s> 1", query) == ["FAILED"]


def test_an_expression_that_would_repeat_a_million_times_is_not_run():
    text = "a" * 2_000_000
    assert regex.search("(a{1000}){1000}", text) and EXPRESSIONS.search("(a{1000}){1000}", text) is None


def test_a_pattern_that_would_run_for_ever_is_stopped():
    text, pattern = "1 " * 200 + "y", r"(?R)?(1)"
    with pytest.raises(TimeoutError):
        RegularExpressionRetriever(timeout=0.05).search(pattern, text)


def test_a_pattern_above_a_cap_finds_nothing():
    assert EXPRESSIONS.search("(a){100001}", "a" * 100001) is None
    assert RegularExpressionRetriever(max_length=3).search("(aa)", "aa") is None
    for count in (1999, 10_000):
        assert EXPRESSIONS.search(rf"^(?:\S+\s+){{{count}}}(\S+)", "1 " * count + "2") == "2"


def test_a_result_that_is_no_word_is_failed():
    assert ask(EXPRESSIONS, "<s> k1", "(") == ["FAILED"]
    vocabulary = Vocabulary(["k1", r"(\S)1"])
    context, query = vocabulary.encode(["k1"]), vocabulary.encode([r"(\S)1"])
    assert re.search(r"(\S)1", "k1").group(1) == "k"
    assert vocabulary.decode(RegularExpressionRetriever()(context, query, vocabulary)) == ["FAILED"]


def test_a_timeout_of_nothing_is_refused():
    with pytest.raises(UserError, match="timeout must be above 0 and finite, got 0"):
        RegularExpressionRetriever(timeout=0)


def test_results_are_ids():
    found = ShortFormRetriever()(VOCABULARY.encode(["1", "11"]), VOCABULARY.encode(["1"]), VOCABULARY)
    assert found.dtype == np.int32 and found.shape == (1,)


@pytest.mark.parametrize("name", ["Bare", "Arrays", "Exact", "Derived", "Renamed", "Inherited", "function"])
def test_a_retriever_may_be_annotated_or_not(name, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    path = f"own_retrievers.{name}"
    given = read_configuration(["fit", "--config", "quickstart", "--data.retriever", path])["data"]["retriever"]
    assert (given if name == "function" else given["class_path"]) == path
    made = getattr(own_retrievers, name) if name == "function" else getattr(own_retrievers, name)()
    conversation = Conversation([VOCABULARY.encode(["1", "k1"])], set(), made, VOCABULARY)
    for word in ("<pad>", "<pad>", "<StartSearch>", "1", "<EndSearch>", "<pad>"):
        conversation.step(int(VOCABULARY.encode([word])[0]))
    assert VOCABULARY.decode(conversation.tokens)[-1] == ("k1" if name == "Inherited" else "1")


@pytest.mark.parametrize("name", ["TwoArguments", "NotCallable"])
def test_what_can_not_be_called_as_a_retriever_is_refused_in_one_line(name, capsys):
    with pytest.raises(SystemExit) as ended:
        read_configuration(["fit", "--config", "quickstart", "--data.retriever", f"own_retrievers.{name}"])
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error:")]
    assert ended.value.code == 2
    assert line == f"error: own_retrievers.{name} must be called as a Retriever is; set another class in data.retriever"


def test_arguments_of_an_own_retriever_are_taken():
    words = ["--data.retriever", "own_retrievers.Arrays", "--data.retriever.count", "3"]
    given = read_configuration(["fit", "--config", "quickstart", *words])["data"]["retriever"]
    assert given == {"class_path": "own_retrievers.Arrays", "init_args": {"count": 3}}


def test_the_retrievers_of_the_page_find_what_it_says():
    page = (Path(__file__).parents[2] / "docs/howto/retriever.md").read_text()
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    latest, any_case = names["Latest"](), names["AnyCase"]()
    assert ask(latest, "<s> 1 11 1 k1 ? 1", "1") == ["k1"]
    assert ask(latest, "<s> 1 11", "2") == ask(latest, "<s> 1 11", "") == ["FAILED"]
    assert ask(any_case, "<s> k1 11 ?", "k1") == ["11"]
    assert any_case.search(r"lives IN (\w+)", "She lives in Rome") == "Rome"
    assert not any(any_case.search(pattern, "She lives in Rome") for pattern in ("nobody (here)", "(", "lives"))


@pytest.mark.parametrize(
    ("context", "query", "found"),
    [
        ("<s> k1 x+ 2 k1 1 ? k1", "k1", "x+"),
        ("<s> x+ 2 ? k1", "k1", "FAILED"),
        ("<s> x+ 2 ?", "<s>", "x+"),
        ("<s> x+ k1 2 ?", "x+ k1", "FAILED"),
        ("<s> x+ k1 2 ?", "@ 2", "FAILED"),
        ("<s> x+ ~ 2 ?", "~", "FAILED"),
        ("<s> x+ ~ 2 ?", "x+ ~", "FAILED"),
        ("<s> x+ k1 2 ?", r"^(?:\S+\s+){2} (\S+)", "FAILED"),
        ("<s> x+ k1 2 ?", "", "FAILED"),
    ],
)
def test_associative_recall_answers_one_word_with_the_word_after_it(context, query, found):
    assert ask(AssociativeRecallRetriever(), context, query) == [found]
    if found != "FAILED":
        assert ask(EXPRESSIONS, context, query) == [found]
