"""Names of people and cities: words that a tokenizer of English has as one token or two."""

import numpy as np

from lit_retrieval.ranges import check_between

FIRST_NAMES = """
Adam Agnes Albert Alice Amanda Amy Andrea Andrew Angela Anna Anthony Arthur Barbara Benjamin Brian Bruce Carl Carlos
Caroline Catherine Charles Charlotte Chris Christine Claire Clara Daniel David Diana Donald Dorothy Douglas Edward
Eleanor Elizabeth Emily Emma Eric Eva Frances Frank George Gordon Grace Hannah Harold Harry Helen Henry Howard Hugo
Irene Isabel Jack Jacob James Jane Jason Jennifer Jessica Joan John Joseph Julia Karen Karl Kate Keith Kenneth Kevin
Laura Lawrence Leo Lewis Linda Lisa Louis Lucy Margaret Maria Mark Martha Martin Mary Matthew Michael Michelle Nancy
Nicole Nora Oliver Oscar Patricia Patrick Paul Peter Philip Rachel Ralph Rebecca Richard Robert Roger Rose Ruth Samuel
Sandra Sarah Simon Sofia Stephen Susan Theresa Thomas Timothy Victor Victoria Vincent Walter William
""".split()  # noqa: SIM905 (a list of one word a line is long)
SURNAMES = """
Abbott Adams Allen Anderson Bailey Baker Barnes Bell Bennett Berg Bishop Black Brooks Brown Burke Burns Butler Campbell
Carter Chapman Clark Cohen Cole Collins Cook Cooper Cox Craig Crawford Cruz Davies Davis Dean Dixon Duncan Edwards
Elliott Ellis Evans Ferguson Fisher Fleming Ford Foster Fox Fraser Freeman Garcia Gibson Gomez Graham Grant Gray Green
Griffin Hall Hamilton Harris Harrison Hart Harvey Hayes Hill Holmes Howard Hughes Hunt Jackson Jenkins Jensen Johnson
Jones Kelly Kennedy King Knight Lane Larson Lee Lewis Lopez Marshall Martin Mason Meyer Miller Mitchell Moore Morgan
Morris Murphy Murray Nelson Olson Palmer Parker Perry Phillips Porter Powell Price Reed Reid Reynolds Rice Richards
Roberts Robinson Rogers Ross Russell Ryan Sanders Schmidt Scott Shaw Simpson Smith Stewart Stone Sullivan Taylor
Thompson Turner Walker Wallace Ward Watson Webb Wells West White Wilson Wood Wright Young
""".split()  # noqa: SIM905 (a list of one word a line is long)
CITIES = """
Athens Austin Baltimore Berlin Boston Cairo Chicago Copenhagen Dallas Delhi Denver Detroit Dublin Helsinki Houston
Istanbul Kyoto Lisbon London Madrid Melbourne Miami Montreal Moscow Mumbai Oslo Paris Prague Rome Seattle Sydney Tokyo
""".split()  # noqa: SIM905 (a list of one word a line is long)
MOST_PEOPLE = len(FIRST_NAMES) * len(SURNAMES)


def draw_people(rng: np.random.Generator, count: int) -> list[str]:
    """The names of `count` different people, a first name and a surname each."""
    drawn = rng.choice(MOST_PEOPLE, count, replace=False, shuffle=True).tolist()
    pairs = (divmod(one, len(SURNAMES)) for one in drawn)
    return [f"{FIRST_NAMES[first]} {SURNAMES[last]}" for first, last in pairs]


def check_people(size: int, fewest: int) -> None:
    """Raise `UserError` unless there are names for this many people."""
    check_between("size", size, fewest, MOST_PEOPLE, "data.sizes")
