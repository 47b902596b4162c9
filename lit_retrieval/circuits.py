"""RNNs whose step is a Boolean circuit, as tables of gates; Theorem 4.8's model writes their gates."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jsonargparse.typing import register_type

from lit_retrieval.errors import UserError
from lit_retrieval.machines import read_yaml
from lit_retrieval.vocabulary import read_word

_SHOWN = "{reads: [x0, x1], writes: [], answers: [NO, YES], gates: {a: input number 0, ...}, says: {YES: a, ...}}"


class Gate(NamedTuple):
    """A gate of a circuit.

    Args:
        kind: `one`, the constant 1; `input`, a bit of a coordinate of the word's embedding; `state`, what a gate was
            one step before, at first 0; `and` and `xor`, of two gates before it.
        left, right: Indices of gates; for `input`, left is the bit.
        coordinate: For `input`: `number`, the number in the word, or `is KIND`, one bit.
    """

    kind: str
    left: int = 0
    right: int = 0
    coordinate: str = ""


class Output(NamedTuple):
    """A bit of what a step says: of `say KIND`, the kind of the next word, or of `say number`, the number in it."""

    coordinate: str
    bit: int
    gate: int


class Table(dict[str, Any]):
    """An RNN as `Circuit.from_table` reads it; in a configuration, it may be the path of a YAML file."""

    __slots__ = ()  # jsonargparse would copy a `__dict__`, and not the items


class Circuit:
    """An RNN whose step is a circuit: from a word and the gates of the step before to the gates of this one.

    It reads a text from its first word on; once it has read the prompt, it writes the word that each step says, up to
    an answer. Of words, it knows the kind and the number: x and 1 for x1.

    Args:
        reads: Words of a problem.
        writes: Words that it may write before its answer.
        answers: Its answers.
        gates: The gates, in the order in which they are computed.
        outputs: What a step says.
    """

    def __init__(
        self,
        reads: Sequence[str],
        writes: Sequence[str],
        answers: Sequence[str],
        gates: Sequence[Gate],
        outputs: Sequence[Output],
    ) -> None:
        self.reads, self.writes, self.answers = list(reads), list(writes), list(answers)
        self.gates, self.outputs = list(gates), list(outputs)
        bits = [gate.left for gate in gates if gate.coordinate == "number"]
        self.num_bits = len(bits)
        if bits != list(range(len(bits)))[::-1]:
            raise UserError(f"the bits of number must be read once each, from the highest to 0, got {bits}")
        for word in self.words:
            if read_word(word)[0] == "g":
                raise UserError(f"words such as {word} are the gates; rename it in reads, writes and answers")
            if bits and not 0 <= read_word(word)[1] < 2**self.num_bits:
                raise UserError(f"the number in {word} must have {len(bits)} bits; read another, `input number BIT`")

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> "Circuit":
        """The RNN of a table.

        `gates` has by name `one`, `input number BIT`, `input is KIND`, `state GATE`, `and GATE GATE` or `xor GATE
        GATE`; `says` has the gates of what a step says, by KIND or by `number BIT`.
        """
        names = list(table["gates"])
        gates = [_parse(name, str(written), names) for name, written in table["gates"].items()]
        return cls(
            table["reads"], table["writes"], table["answers"], gates,
            [_parse_output(said, str(gate), names) for said, gate in table["says"].items()],
        )  # fmt: skip

    def to_table(self) -> Table:
        """The table of the RNN; gates are named by their indices."""
        says = {f"{output.coordinate.removeprefix('say ')} {output.bit}": str(output.gate) for output in self.outputs}
        gates = {str(index): _write(gate) for index, gate in enumerate(self.gates)}
        return Table(reads=self.reads, writes=self.writes, answers=self.answers, gates=gates, says=says)

    @property
    def words(self) -> list[str]:
        """All words that it reads or writes, besides `<s>` and `?`."""
        return [*self.reads, *self.writes, *self.answers]

    def step(self, word: str, before: Sequence[int]) -> list[int]:
        """The gates after a word, from those of the step before; none before the first."""
        kind, number = read_word(word)
        values: list[int] = []
        for gate in self.gates:
            if gate.kind in ("and", "xor"):
                left, right = values[gate.left], values[gate.right]
                values.append(left & right if gate.kind == "and" else left ^ right)
            elif gate.kind == "state":
                values.append(before[gate.left] if before else 0)
            elif gate.coordinate == "number":
                values.append(number >> gate.left & 1)
            else:
                values.append(int(gate.kind == "one" or gate.coordinate == f"is {kind}"))
        return values

    def say(self, values: Sequence[int]) -> str:
        """The word that a step says; raises `UserError` if it does not say one word."""
        said: dict[str, int] = {}
        for coordinate, bit, gate in self.outputs:
            said[coordinate] = said.get(coordinate, 0) + (values[gate] << bit)
        number = said.pop("say number", 0)
        kinds = [coordinate.removeprefix("say ") for coordinate, value in said.items() if value]
        words = [word for word in [*self.writes, *self.answers] if kinds == [read_word(word)[0]]]
        if len(words) > 1 or (words and words[0][-1:].isdecimal()):
            words = [word for word in words if read_word(word)[1] == number]
        if not words:
            raise UserError(f"a step must say one word of writes and answers, got {' or '.join(kinds)} {number}")
        return words[0]

    def run(self, prompt: Sequence[str], max_steps: int) -> Iterator[tuple[list[int], str]]:
        """For each step the gates and the word after it: that of the prompt, or the one that the step says.

        It ends with an answer, or after `max_steps` words of its own.
        """
        values: list[int] = []
        word = prompt[0]
        for following in [*prompt[1:], *([None] * max_steps)]:
            values = self.step(word, values)
            word = self.say(values) if following is None else following
            yield values, word
            if following is None and word in self.answers:
                return


def _parse(name: str, written: str, names: list[str]) -> Gate:
    kind, *parts = written.split()
    here = names.index(name)
    if kind == "one" and not parts:
        return Gate("one")
    if kind == "input" and len(parts) == 2 and parts[0] == "is":
        return Gate("input", coordinate=f"is {parts[1]}")
    if kind == "input" and len(parts) == 2 and parts[0] == "number" and parts[1].isdecimal():
        return Gate("input", int(parts[1]), coordinate="number")
    if kind == "state" and len(parts) == 1 and parts[0] in names:
        return Gate("state", names.index(parts[0]))
    if kind in ("and", "xor") and len(parts) == 2 and all(part in names[:here] for part in parts):
        return Gate(kind, names.index(parts[0]), names.index(parts[1]))
    raise UserError(
        f"gate {name} must be one, input number BIT, input is KIND, state GATE, or and or xor of two gates before it, "
        f"got {written!r}"
    )


def _parse_output(said: str, gate: str, names: list[str]) -> Output:
    kind, _, bit = said.partition(" ")
    if gate not in names or not (bit or "0").isdecimal():
        raise UserError(f"says must have a gate for a kind of words, or for number and a bit, got {said}: {gate}")
    return Output(f"say {kind}", int(bit or 0), names.index(gate))


def _write(gate: Gate) -> str:
    if gate.kind == "input":
        return f"input number {gate.left}" if gate.coordinate == "number" else f"input {gate.coordinate}"
    operands = {"one": [], "state": [gate.left]}.get(gate.kind, [gate.left, gate.right])
    return " ".join([gate.kind, *map(str, operands)])


def read_circuit(given: Any) -> Table:
    """The table of a circuit, given as such or as the path of its YAML file; raises `UserError` if it is neither."""
    table = read_yaml(given, "a circuit's table") if isinstance(given, str) else given
    where = f" in {given}" if isinstance(given, str) else ""
    try:
        for name in ("reads", "writes", "answers"):
            if not isinstance(words := table[name], list) or not all(isinstance(word, str | bool) for word in words):
                raise UserError(f"{name} of a circuit's table must be a list of words, got {words!r}{where}")
        return Table({
            **{name: [str(word) for word in table[name]] for name in ("reads", "writes", "answers")},
            **{name: {str(key): str(table[name][key]) for key in table[name]} for name in ("gates", "says")},
        })  # fmt: skip
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"a circuit's table must be like {_SHOWN}, got {table!r:.80}{where}") from None


register_type(Table, serializer=dict, deserializer=read_circuit)
