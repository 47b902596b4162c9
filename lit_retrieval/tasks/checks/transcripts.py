"""Rules about transcripts: their form, their answers, and whether a perfect model can write them."""

from collections import Counter
from itertools import combinations

import numpy as np

from lit_retrieval.conformance import BrokenRuleError
from lit_retrieval.conversation import Author, Reply, Turns, spans
from lit_retrieval.retrieval import EitherFormRetriever
from lit_retrieval.tasks.checks.case import Case, Row, rows_of
from lit_retrieval.tasks.task import Regime, Transcripts
from lit_retrieval.tasks.text.text_task import TextTask
from lit_retrieval.vocabulary import FAILED, SPECIAL_WORDS

_FAILED = SPECIAL_WORDS[FAILED]
_GIVEN = (Author.PROMPT, Author.ASKED)
_MANY = 32  # samples, or searches: fewer of them could, by chance, all lack what a rule looks for
_PATIENT = 5.0  # seconds: a busy machine must not turn a result into FAILED here


def can_be_written(case: Case) -> str:
    """Each regime can be written: a prompt of the user, then tokens of MODEL or ASKED, then padding."""
    lengths = []
    for regime in case.regimes:
        found = case.sample(regime)
        for row, (tokens, author, _, prompt, _) in enumerate(rows_of(found)):
            is_form_right = 0 < prompt < len(tokens) and set(author[:prompt]) == {Author.PROMPT}
            padding = found.tokens[row, len(tokens) :].any() or found.author[row, len(tokens) :].any()
            forms = {Author.MODEL, Author.ASKED} & set(author)  # a row has one of them
            if not is_form_right or {author[prompt]} != forms or padding:
                raise BrokenRuleError(
                    f"a transcript must be a prompt, then the model's token, then padding; sample {row} in regime "
                    f"{regime} is not: set prompt_length and author"
                )
            if not 0 <= min(tokens) <= max(tokens) < len(case.task.vocabulary):
                raise BrokenRuleError(f"tokens must be ids of the vocabulary, got {max(tokens)} in regime {regime}")
        lengths.append(f"{regime} {found.length.max()}")
    return f"longest: {', '.join(lengths)} tokens"


def is_of_its_regime(case: Case) -> str:
    """Only `retrieval` has searches (at least one in many samples); `vanilla` of a task in words has only answers."""
    lengths = []
    for regime in case.regimes:
        found = case.sample(regime)
        own, has_search = found.author == Author.MODEL, bool((found.author == Author.RETRIEVER).any())
        may_lack = regime == "retrieval" and (case.num_samples < _MANY or not any(case.sizes))
        if has_search != (regime == "retrieval") and not may_lack:
            raise BrokenRuleError(
                f"{regime} must have {'no' if has_search else 'a'} search, and samples of it have "
                f"{'some' if has_search else 'none'}; write others, or name the regimes of the task in `regimes`"
            )
        is_answer = np.isin(found.tokens, case.task.answer_words)
        if regime == "vanilla" and not case.task.vocabulary.is_text and (own & ~is_answer).any():
            raise BrokenRuleError(
                "vanilla must have the answers alone, and replies of it have other words; write them in cot, or name "
                "the regimes of the task in `regimes`"
            )
        lengths.append(f"{regime} {own.sum() / len(found):.1f}")
    return f"words of the model a sample: {', '.join(lengths)}"


def ends_with_its_answers(case: Case) -> str:
    """The answers are answer words, and the model writes no other answer words outside a search."""
    counts: set[int] = set()
    for regime in case.regimes:
        found = case.sample(regime)
        for row, (_, author, answers, _, _) in enumerate(rows_of(found)):
            if not answers or not set(answers) <= set(case.task.answer_words.tolist()):
                raise BrokenRuleError(
                    f"answers must be one or more of answer_words, got the ids {answers} in sample {row} of regime "
                    f"{regime}"
                )
            if (asked := author.count(Author.ASKED)) not in (0, len(answers)):
                raise BrokenRuleError(
                    f"each token of ASKED must have an answer, got {asked} and {len(answers)} in sample {row} of "
                    f"regime {regime}"
                )
            counts.add(len(answers))
        _check_judge(case, found)
    return f"answers a sample: {min(counts)} to {max(counts)}"


def has_the_same_answers(case: Case) -> str:
    """A problem has the same answers in all regimes."""
    first, *others = case.regimes
    rows, compared = case.rows(first), 0
    for regime in others:
        for index, (row, other) in enumerate(zip(rows, case.rows(regime), strict=True)):
            if _questions(row) != _questions(other):
                continue  # a regime may ask other questions
            compared += 1
            if row.answers != other.answers:
                words = (" ".join(case.task.vocabulary.words[token] for token in one.answers) for one in (row, other))
                raise BrokenRuleError(
                    f"a problem must have the same answers in all regimes, and sample {index} has {next(words)!r} in "
                    f"{first} and {next(words)!r} in {regime}; correct one of them"
                )
    return f"{compared} samples have equal questions in two regimes" if compared else "no question is in two regimes"


def _questions(row: Row) -> list[tuple[int, int]]:
    """The tokens that are given to the model, apart from results of searches, with their authors."""
    return [one for one in zip(row.tokens, row.author, strict=True) if one[1] in _GIVEN]


def _check_judge(case: Case, found: Transcripts) -> None:
    """Raise `BrokenRuleError` if the judge of a task in text accepts no answer, or can't tell its answers apart.

    The inherited judge ignores case, articles and punctuation; a task's own judge may confuse any two answers.
    """
    task = case.task
    if not isinstance(task, TextTask):
        return
    texts = sorted({task.answer_texts(found.reply(row))[0] or "" for row in range(len(found))})
    pairs = [("", text) for text in texts if text]
    if type(task).judge is TextTask.judge:
        pairs += [(one, other) for one, other in combinations(texts, 2) if _words(one) != _words(other)]
    if wrong := next((pair for pair in pairs if task.judge(*pair)), None):
        raise BrokenRuleError(f"judge must tell answers apart, and takes {wrong[0]!r} for {wrong[1]!r}; write your own")


def _words(answer: str) -> list[str]:
    """The words of an answer, without case and articles."""
    return [word for word in answer.lower().split() if word not in ("a", "an", "the")]


def keeps_to_its_bounds(case: Case) -> str:
    """Replies and distances are within the bounds that the task declares."""
    task, longest = case.task, ""
    for regime in case.regimes:
        found = case.sample(regime)
        _check_groups(case, found)
        replies = found.length - found.prompt_length
        for row, (reply, size) in enumerate(zip(replies.tolist(), found.sizes.tolist(), strict=True)):
            least, most = task.shortest_reply(regime), task.longest_reply(size, regime)
            farthest, distance = task.longest_distance(size, regime), int(found.distances[row].max(initial=0))
            if not least <= reply <= most or distance > farthest:
                raise BrokenRuleError(
                    f"a reply of size {size} must have {least} to {most} tokens and a distance up to {farthest}, got "
                    f"{reply} and {distance} in regime {regime}; correct shortest_reply, longest_reply or "
                    "longest_distance"
                )
        longest = f"{regime} replies of {replies.min()} to {replies.max()} tokens"
    return longest


def _check_groups(case: Case, found: Transcripts) -> None:
    """Raise `BrokenRuleError` unless the scores of samples can be grouped by size and by kind."""
    kinds, chances = case.task.kinds, case.task.chances
    if not 0 < max(1, len(kinds)) == len(chances) or len(set(kinds)) < len(kinds):
        raise BrokenRuleError(f"kinds must have a name and one of `chances` each, got {kinds} and {chances}")
    if not 0 <= found.kinds.min() <= found.kinds.max() < len(chances):
        raise BrokenRuleError(
            f"kinds of samples must be below {len(chances)}, got {found.kinds.max()}; add it to kinds"
        )
    if (wrong := set(found.sizes.tolist()) - set(case.sizes)) or len(found.sizes) != len(found):
        raise BrokenRuleError(f"sizes of samples must be those asked for, {case.sizes}, got {sorted(wrong)}")


def is_solved_by_its_oracle(case: Case) -> str:
    """A model that repeats its part of the transcript, with its searches run, gets the same tokens."""
    retriever, searches, failed = case.task.retriever, 0, 0
    if isinstance(retriever, EitherFormRetriever):
        retriever = retriever.patient(_PATIENT)
    for regime in case.regimes:
        found = case.sample(regime)
        found = found[np.flatnonzero((found.author != Author.ASKED).all(1))]  # in other rows the model writes no tokens
        rows, turns = list(rows_of(found)), Turns.of(found.tokens, found.author)
        counts = [len(row.answers) for row in rows]
        oracle = case.task.converse(turns, retriever, num_answers=counts, right=found)
        for at in range(found.tokens.shape[1]):
            live = np.flatnonzero(found.length > at)
            oracle.step(found.tokens[live, at].astype(np.int64), live)
        for number, (row, reply) in enumerate(zip(rows, oracle.replies(), strict=True)):
            if (reply.tokens, reply.author, reply.answers) != (row.tokens, row.author, row.answers):
                raise BrokenRuleError(_differ(case, reply, row.tokens, number, regime))
            searches += reply.num_searches
            failed += _count_failed(case, reply)
    if searches == failed >= _MANY and any(case.sizes):  # an empty problem has nothing to find
        raise BrokenRuleError(
            f"some search must find something, and all {searches} find {_FAILED}; write other queries (one with a ( "
            "in a word is a regular expression)"
        )
    nothing = f", {failed / searches:.0%} find nothing" if failed else ""
    return f"score 1.0, {searches / case.num_samples / len(case.regimes):.1f} searches a sample{nothing}"


def _count_failed(case: Case, reply: Reply) -> int:
    """The searches of a reply that found nothing."""
    found = [reply.tokens[span.start : span.stop] for span in spans(reply.author) if span.author == Author.RETRIEVER]
    return sum(case.task.vocabulary.text(tokens).strip() == _FAILED for tokens in found)


def _differ(case: Case, decoded: Reply, written: list[int], number: int, regime: Regime) -> str:
    words = case.task.vocabulary.words
    pairs = [(words[one], words[other]) for one, other in zip(decoded.tokens, written, strict=False) if one != other]
    where = "decoding writes {!r} where the transcript has {!r}".format(*pairs[0]) if pairs else "it ends elsewhere"
    return (
        f"a model that writes the transcript again must get its tokens, but in sample {number} of regime {regime} "
        f"{where}; write what the retriever finds, and end each turn with its answer"
    )


def compares_chance(case: Case) -> str:
    """Reports how often the most frequent answer is right, beside `chance`; this rule is never broken."""
    found = case.sample(case.regimes[0])
    first = Counter(case.task.answer_texts(found.reply(row))[0] for row in range(len(found)))
    share = first.most_common(1)[0][1] / case.num_samples
    return f"chance {case.task.chance:.2f}; the commonest answer is right in {share:.2f}"
