"""Lemmas of the paper's appendix C that no theorem's model needs: hidden units and attention heads, for their tests."""

from collections.abc import Sequence
from itertools import product as every_combination

from lit_retrieval.constructions.attend import SHARPNESS, Head, _prefer, match
from lit_retrieval.constructions.feed_forward import Unit, choose, exceed, indicate
from lit_retrieval.constructions.registers import Form


def look_up(keys: Sequence[str], base: int, table: dict[tuple[int, ...], float], target: str) -> list[Unit]:
    """The entry of a table, for keys that are integers from 0 to `base - 1` (Lemma C.4)."""
    code = {key: float(base**place) for place, key in enumerate(keys)}
    units: list[Unit] = []
    for entry in every_combination(range(base), repeat=len(keys)):
        value = table.get(entry, 0.0)
        number = sum(digit * base**place for place, digit in enumerate(entry))
        units.extend(indicate(code, number, {target: value}) if value else [])
    return units


def recite(sequence: dict[int, float], target: str) -> list[Unit]:
    """A fixed number at each of some positions, 0 at all others (Lemma C.23).

    Args:
        sequence: The number for each position; 0 is `<s>`.
        target: The register that gets it.
    """
    return [
        unit for place, value in sequence.items() for unit in indicate({"position": 1.0}, place, {target: float(value)})
    ]


def lie_between(source: Form, low: float, high: float, margin: float, target: str) -> list[Unit]:
    """1 from `low` to `high`, 0 beyond them by at least `margin` (Lemma C.6)."""
    below = [unit._replace(down={target: -unit.down[target]}) for unit in exceed(source, high + margin, margin, target)]
    return exceed(source, low, margin, target) + below


def match_nearest(
    wanted: Sequence[str],
    offered: Sequence[str],
    place: Form,
    copies: Sequence[tuple[Form, str]],
    longest: int,
    never: Form,
) -> Head:
    """Copies from the matching token nearest to a position, else from `<s>` (Lemma C.17).

    Of two at the same distance it takes the later, since a quarter is added to the position; as printed, the two are
    averaged.
    It needs 400 (longest x)^2 below 2^53, for numbers x in `wanted` and `offered`.

    Args:
        wanted, offered, copies, longest, never: As for `match_first`.
        place: A position, from 0 to `longest - 1`.
    """
    preference: list[tuple[Form, Form]] = [
        ({**{name: 2 * weight for name, weight in place.items()}, "one": 2 * place.get("one", 0.0) + 0.5},
         {"position": SHARPNESS}),
        ({"one": -1.0}, {"square of position": SHARPNESS}),
    ]  # fmt: skip
    return _prefer(preference, 4.0 * longest**2, wanted, match(wanted, offered, copies, never))


def match_next(
    wanted: Sequence[str],
    offered: Sequence[str],
    index: str,
    copies: Sequence[tuple[Form, str]],
    highest: int,
    never: Form,
) -> Head:
    """Copies from the matching token with the next index, 1 / (m + 1) after 1 / m (Lemma C.18).

    If none has the next index, the one with the nearest index is taken; `<s>` if none matches. The register `square of
    INDEX` must be filled in too. For x here and x' there the score is -(x' (1 + x) - x)^2, 0 where x' = x / (1 + x).
    The paper approximates that by x - x^2 + x^3, so the next index is right to 1 / m^4 only; its definition has `<s>`
    among the tokens that match, where its proof ranks `<s>` below them, as here; and at n = 64 its n^7 for a mismatch,
    times squares of numbers up to n, is 2^54. This one needs 1000 highest^4 x^2 below 2^53, for numbers x.

    Args:
        wanted, offered, copies, never: As for `match_first`.
        index: A register with 1 / m here and there; 0 at `<s>`.
        highest: A number above every m.
    """
    scale = float(highest) ** 4  # the scores of 1 / (m + 1) and 1 / (m + 2) differ by more than 1 / (m + 1)^4
    preference: list[tuple[Form, Form]] = [
        ({"one": -scale, index: -2 * scale, f"square of {index}": -scale}, {f"square of {index}": SHARPNESS}),
        ({index: 2 * scale, f"square of {index}": 2 * scale}, {index: SHARPNESS}),
    ]
    return _prefer(preference, 10 * scale, wanted, match(wanted, offered, copies, never))


def at_place(source: str, place: int) -> str:
    """The register that has the value of `source` at one position and 0 at all others; its sum is what is held."""
    return f"{source} at {place}"


def held(sources: Sequence[str], places: Sequence[int]) -> list[str]:
    """The registers that `hold` and the linear unit behind it need, besides `position`."""
    names = [at_place(source, place) for source in sources for place in places]
    return names + [f"sum of {name}" for name in names]


def hold(sources: Sequence[str], places: Sequence[int]) -> list[Unit]:
    """Hidden units that pass registers on at some positions only (Lemma C.22).

    After them, a linear unit that sums the registers of `at_place` holds the value of each position for all later
    tokens: `remember(registers, [], 0, sums=[at_place(source, place), ...])`.

    Args:
        sources: The registers that are held.
        places: The positions whose values are held; 0 is `<s>`.
    """
    return [
        unit
        for source in sources
        for place in places
        for unit in choose({"position": 1.0}, place, {source: 1.0}, at_place(source, place))
    ]
