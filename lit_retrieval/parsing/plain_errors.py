"""Rewords jsonargparse's errors about values: what the value must be, and what was given."""

import difflib
import re
import sys
from collections.abc import Mapping, Sequence

from lit_retrieval.errors import one_line

_UNION = "Does not validate against any of the Union subtypes"
_KINDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "list": "a list",
    "collections.abc.Iterable": "a list", "dict": "keys with values", "NoneType": "null",
}  # fmt: skip
_CALLED = r"Type .+? expects a function or a callable class: (.+?)\.? ?\.\s+Got value: .*"
_CLASS = ("Not a valid subclass", "Expected a dot import path", "Does not implement protocol")


def plain(message: str) -> str:
    """The message in one line; for a value it reads like `KEY must be a whole number or null, got wide`."""
    pattern = r"Parser key \"[\w.]+\":\s+Unable to load config '(.+?)'\s+- (Parser key .+)"
    if in_file := re.fullmatch(pattern, message, re.DOTALL):
        return f"{in_file[1]}: {plain(in_file[2])}"
    line = _about_value(message)
    return line + _nearest_class(line)


def _nearest_class(line: str) -> str:
    """A suggestion for a class that is not found; empty for other errors."""
    if found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'$", line):
        inside = vars(sys.modules[found[1]]) if found[1] in sys.modules else {}
        names = [name for name, value in inside.items() if isinstance(value, type)]
        return _meant(found[2], {name: f"{found[1]}.{name}" for name in names})
    if found := re.search(r"a class by its class_path\b.*, got ([A-Za-z]\w*)$", line):
        return _meant(found[1], _public_classes()) or "; write it as my_file.MyClass"
    missing = re.search(r"No module named '([\w.]+)'$", line)
    return "; install it, or start in the folder that has it" if missing else ""


def _meant(wrong: str, paths: Mapping[str, str]) -> str:
    """The path of the most similar name, ignoring case."""
    names = {name.casefold(): name for name in paths}
    nearest = difflib.get_close_matches(wrong.casefold(), names, 1)
    return f"; did you mean {paths[names[nearest[0]]]}?" if nearest else ""


def _public_classes() -> dict[str, str]:
    """The paths of the public names of our imported packages, such as lit_retrieval.tasks.IsTree."""
    return {
        name: f"{path}.{name}"
        for path, module in sorted(sys.modules.items())
        if re.fullmatch(r"lit_retrieval\.\w+", path)
        for name in getattr(module, "__all__", ())
        if name[0].isupper()
    }


def _about_value(message: str) -> str:
    found = re.fullmatch(r'Parser key "(?P<key>[\w.]+)"(?: element \d+)?:\s+(?P<fault>.+)', message, re.DOTALL)
    if found and _UNION in found["fault"]:
        return _of_union(found["key"], found["fault"])
    if found and (one := re.fullmatch(r"(Expected an? .+?)\. Got value: (.*)", found["fault"].strip(), re.DOTALL)):
        return _must_be(found["key"], [_kind(one[1])], one[2])
    if found and (one := re.fullmatch(_CALLED, found["fault"].strip(), re.DOTALL)):
        return f"{found['key']}: {one_line(one[1])}"
    if found and (one := re.search(r"Expected a dot import path string: (\S+)$", found["fault"])):
        return _must_be(found["key"], ["a class by its class_path"], one[1])
    if found and (one := re.search(r"Problem with given class_path .+", found["fault"], re.DOTALL)):
        return f"{found['key']}: {one_line(one[0])}"
    return one_line(message)


def _of_union(key: str, fault: str) -> str:
    _, _, rest = fault.partition("Errors:\n")
    errors, _, value = rest.partition("Given value type:")
    indent = " " * (len(errors) - len(errors.lstrip(" ")))
    each = [one_line(error) for error in re.split(rf"^{indent}- ", errors, flags=re.MULTILINE) if error.strip()]
    given = value.partition("Given value: ")[2]
    told = [error for error in each if not error.startswith(("Expected", *_CLASS))]
    if told:  # the problem with the class that was named
        if one := re.fullmatch(_CALLED, told[0]):
            return f"{key}: {one[1]}"
        return f"{key}: {told[0].replace('Import path does not', f'{one_line(given)} does not')}"
    return _must_be(key, [_kind(error) for error in each], given)


def _kind(error: str) -> str:
    """The required kind of a value, from an error such as `Expected a <class 'int'>`."""
    if error.startswith(_CLASS):
        return "a class by its class_path"
    name = re.sub(r"^Expected an? |\. Got value: .*", "", error)
    if name.startswith("typing.Literal["):
        return _choice(re.findall(r"'([^']*)'", name))
    return _KINDS.get(re.sub(r"^<class '(.+)'>$", r"\1", name), name)


def _must_be(key: str, kinds: Sequence[str], given: str) -> str:
    kinds = [kind for kind in dict.fromkeys(kinds) if not (kind == "a whole number" and "a number" in kinds)]
    return f"{key} must be {_choice(kinds)}, got {one_line(given)}"


def _choice(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1])] * (len(words) > 1) + [*words[-1:]])
