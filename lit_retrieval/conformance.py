"""Rules that a class must keep: checks them one by one, and reports one line each."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from lit_retrieval.errors import UserError, one_line

Subject = TypeVar("Subject")
Result = Literal["pass", "FAIL", "n/a", "not run"]

_PACKAGE = str(Path(__file__).parent)
_STYLES = {"pass": "green", "FAIL": "bold red", "n/a": "dim", "not run": "dim"}


class BrokenRuleError(Exception):
    """A rule does not hold; the message says what must hold, what was found, and the fix."""


class NotApplicableError(Exception):
    """A rule does not apply here; the message is the reason."""


class Rule(NamedTuple, Generic[Subject]):
    """One rule.

    Args:
        name: A few words.
        check: Returns what shows that the rule holds, such as an error and its limit; else raises.
        needs: Names of rules that come earlier; where one of them is broken, this one says nothing new and is not run.
        is_cheap: Whether it is also checked at the start of every `fit`.
    """

    name: str
    check: Callable[[Subject], str]
    needs: tuple[str, ...] = ()
    is_cheap: bool = False


class Verdict(NamedTuple):
    """What became of a rule, and the numbers or the reason."""

    rule: str
    result: Result
    shown: str


def judge(rules: Sequence[Rule[Subject]], subject: Subject) -> Iterator[Verdict]:
    """Check one rule after the other; raises `UserError` where the subject can't be checked at all."""
    unfulfilled: set[str] = set()
    for rule in rules:
        verdict = _judge(rule, subject, [name for name in rule.needs if name in unfulfilled])
        if verdict.result in ("FAIL", "not run"):
            unfulfilled.add(rule.name)
        yield verdict


def refuse_broken(rules: Sequence[Rule[Subject]], subject: Subject, name: str, command: str) -> None:
    """Raise `UserError` at the first broken rule among the cheap ones.

    Args:
        rules: All rules.
        subject: What is checked.
        name: The subject's class.
        command: The command that shows the whole report.
    """
    for verdict in judge([rule for rule in rules if rule.is_cheap], subject):
        if verdict.result == "FAIL":
            raise UserError(f"{name} breaks the rule `{verdict.rule}`: {verdict.shown} (`{command}` shows all rules)")


def print_report(title: str, verdicts: Iterator[Verdict]) -> bool:
    """Print a table of verdicts, 80 columns wide or as wide as the terminal; returns whether all rules hold."""
    from rich.console import Console
    from rich.table import Table

    table, found = Table("rule", "result", "shown by", box=None, pad_edge=False, header_style="bold"), []
    with Console(stderr=True).status("checking") as status:  # in a terminal only; a compiler may take half a minute
        for verdict in verdicts:
            found.append(verdict)
            status.update(f"checked: {verdict.rule}")
    for rule, result, shown in found:
        table.add_row(rule, f"[{_STYLES[result]}]{result}[/]", shown.replace("[", r"\["))
    console = Console(highlight=False)
    console.print(title, table, sep="\n")
    broken = [verdict.rule for verdict in found if verdict.result == "FAIL"]
    held = sum(verdict.result == "pass" for verdict in found)
    console.print(f"broken: {', '.join(broken)}" if broken else f"all {held} rules that apply hold")
    return not broken


def path_of(one: Any) -> str:
    """The import path of a class or function, or of an object's class."""
    named = one if hasattr(one, "__qualname__") else type(one)
    return f"{named.__module__}.{named.__qualname__}"


def describe_error(error: Exception) -> str:
    """An exception in one line, with the innermost line of the user's own code, if there is one."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {one_line(error)[:300]}{where}"


def _judge(rule: Rule[Subject], subject: Subject, missing: list[str]) -> Verdict:
    if missing:
        return Verdict(rule.name, "not run", f"needs {missing[0]}")
    try:
        return Verdict(rule.name, "pass", rule.check(subject))
    except BrokenRuleError as error:
        return Verdict(rule.name, "FAIL", str(error))
    except NotApplicableError as error:
        return Verdict(rule.name, "n/a", str(error))
    except UserError:
        raise
    except Exception as error:  # whatever the checked class raises breaks the rule
        return Verdict(rule.name, "FAIL", f"it raised {describe_error(error)}")


def _is_users(filename: str) -> bool:
    return not filename.startswith(("<", _PACKAGE)) and not {"site-packages", "lib"} & set(Path(filename).parts)
