"""Rows that anyone may have written: what is refused of them, the page of several files, statements and the picture."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from compare import main
from comparisons import frontier, publish, rows, submitted
from comparisons.protocol import find_protocol, read_protocol

SAMPLES = {"mqar": 1000, "parity": 515, "code": 1000, "code_search": 1000}
LAYERS = {"good": 0.9, "bad": 0.3, "noisy": 0.9}


@pytest.fixture(scope="module")
def protocol():
    return read_protocol(find_protocol("laptop"))


@pytest.fixture(scope="module")
def rows_of(protocol):
    """Rows of a layer and their samples, as a comparison writes them; `noisy` has two seeds far apart."""
    suites = {name: protocol.suite(name) for name in SAMPLES}

    def make(layer, budgets=(40960,), names=("mqar", "parity", "code", "code_search"), **changes):
        found, samples = [], []
        for budget in budgets:
            for name in names:
                for size in suites[name].sizes:
                    draw = np.random.default_rng(len(layer) + budget)
                    share = 1.0 if name == "code_search" else LAYERS[layer] * budget / 40960
                    spread = (share, 0.1) if layer == "noisy" else (share, share)
                    right = [(draw.random(SAMPLES[name]) < one).astype(int) for one in spread]
                    means = [float(one.mean()) for one in right]
                    row = {
                        "protocol": protocol.identity, "recurrence": layer, "class_path": f"mine.{layer.title()}",
                        "init_args": "{}", "with_attention": "0", "suite": name, "size": size, "state_budget": budget,
                        "status": "ok", "accuracy": f"{np.mean(means):.4f}", "low": "0", "high": "1",
                        "lowest_seed": f"{min(means) - 1e-4 if min(means) else 0:.4f}",
                        "highest_seed": f"{min(1, max(means) + 1e-4):.4f}",
                        "learning_rate": "0.01", "rate_is_at_end": "0", "state_bits": budget - 8, "within_state": "1",
                        "growth": "0", "parameters": "12300", "width": "9", "training": "1.0", "decoding": "1.0",
                        "chance": "0.1", "samples": "6400", "test_samples": SAMPLES[name], "seeds": "0 1",
                        "minutes": "0.5", "suite_sha256": suites[name].sha256, "finished": "2026-01-02T03:04:05Z",
                    }  # fmt: skip
                    found.append({**row, **changes})
                    head = {key: row[key] for key in rows.OF_SAMPLES[:5]}
                    samples += [{**head, "seed": seed, "right": rows.encode(one)} for seed, one in enumerate(right)]
        return found, samples

    return make


@pytest.fixture
def write(tmp_path, rows_of, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def save(layers, name="laptop.csv", **options):
        parts = [rows_of(layer, **options) for layer in layers]
        rows.write([row for found, _ in parts for row in found], rows.COLUMNS, tmp_path / name)
        samples = [row for _, samples in parts for row in samples]
        rows.write(samples, rows.OF_SAMPLES, rows.samples_file(tmp_path / name))
        return tmp_path / name

    return save


def compare(capsys, *words):
    """The status, output and error of a command."""
    status = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["tools/compare.py", *map(str, words)])
        try:
            main()
        except SystemExit as stopped:
            status = stopped.code
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"suite": "mine"}, "suite must be mqar, overwritten, copying"),
        ({"size": "33"}, r"size must be one of \[32\], got 33"),
        ({"suite_sha256": "0" * 64}, "suite_sha256 must be"),
        ({"state_budget": "50000"}, "state_budget must be one of"),
        ({"accuracy": "1.5"}, "accuracy must be from 0 to 1, got 1.5"),
        ({"accuracy": "nan"}, "accuracy must be from 0 to 1, got nan"),
        ({"accuracy": "high"}, "could not convert string to float: 'high'"),
        ({"accuracy": "0.95", "highest_seed": "0.9"}, "accuracy must be from lowest_seed to highest_seed, got 0.95"),
        ({"accuracy": "", "status": "diverged"}, "reason must be given where there is no accuracy"),
        ({"parameters": "50000"}, "parameters must be within 5% of 12,288, got 50000"),
        ({"learning_rate": "0.5"}, "learning_rate must be one of"),
        ({"seeds": "0"}, "seeds must be 0 1, got 0"),
        ({"state_bits": "4.5"}, "invalid literal for int"),
    ],
)
def test_a_row_that_its_protocol_can_not_have_is_refused(write, capsys, changes, said):
    path = write(["good"], names=("mqar",), **changes)
    status, _, error = compare(capsys, "page", path, "-o", "page.html")
    assert status == 2 and error.count("\n") == 1 and "the row of good" in error
    with pytest.raises(Exception, match=said):
        submitted.read([path])


@pytest.mark.parametrize("right", ["no numbers", rows.encode(np.ones(7, int)), "\u00e9", ""])
def test_samples_that_are_not_those_of_a_row_are_refused(write, capsys, right):
    path = write(["good"], names=("mqar",))
    samples = rows.read([path])[1]
    rows.write([{**samples[0], "right": right}], rows.OF_SAMPLES, rows.samples_file(path))
    status, _, error = compare(capsys, "page", path, "-o", "page.html")
    assert status == 2 and "the samples of good mqar 32 must be 1000, as tools/compare.py encodes them" in error


def test_a_layer_that_was_sent_is_on_the_page_beside_the_others(write, capsys):
    ours, sent = write(["good", "bad"]), write(["noisy"], "sent.csv")
    rows.samples_file(sent).unlink()
    status, _, error = compare(capsys, "page", ours, sent, "-o", "page.html")
    text = (ours.parent / "page.html").read_text()
    assert (status, error) == (0, "") and text.count('<tr id="') == 3 and "mine.Noisy {}" in text
    pairs = text.split('DIFFERENT = {"mqar 32": [')[1].split("]")[0].replace('"', "").split(", ")
    names = text.split("const NAMES = [")[1].split("]")[0].replace('"', "").split(", ")
    of = {name: dict(zip(names, pairs[place], strict=True)) for place, name in enumerate(names)}
    assert of["good"] == {"good": "0", "bad": "1", "noisy": "-"}, "without samples there is no test"


def test_a_statement_holds_or_not_by_the_exit_status(write, capsys):
    path = write(["good", "bad", "noisy"], budgets=(40960, 20480))
    status, said, _ = compare(capsys, "differ", path, "good", "bad", "--suite", "mqar")
    assert status == 0 and said.endswith("the first is better: holds\n")
    assert "a sign test over the same samples: p = " in said and ", past Holm's correction" in said
    found = submitted.read([path])
    (good, bad) = (np.mean([rows.decode(one["right"]) for one in found.samples if one["recurrence"] == name
                            and one["suite"] == "mqar" and one["state_budget"] == "40960"], 0)
                   for name in ("good", "bad"))  # fmt: skip
    error = 1.96 * (good - bad).std(ddof=1) / 1000**0.5
    middle = (good - bad).mean()
    numbers = said.partition("difference: ")[2].replace("(", "").split(" to ")
    assert [*map(float, numbers[0].split()), float(numbers[1].split(",")[0])] == pytest.approx(
        [middle, middle - error, middle + error], abs=2e-3
    )
    for words, expected in [
        (["bad", "good", "--suite", "mqar"], 1),  # it is worse
        (["noisy", "bad", "--suite", "mqar"], 1),  # its seeds are on both sides
        (["good", "good", "--suite", "mqar"], 1),
        (["good", "bad", "--suite", "parity", "--size", "64"], 0),
        (["good", "good", "--suite", "mqar", "--state_bits", "40960", "20480"], 0),
        (["bad", "bad", "--suite", "code_search", "code"], 0),  # two suites
        (["bad", "bad", "--suite", "code", "code_search"], 1),
    ]:
        assert compare(capsys, "differ", path, *words)[0] == expected, words
    for words, error in [
        (["good", "bad", "--suite", "parity"], "good parity 40960 has the sizes 20, 64; set one in --size"),
        (["good", "worse", "--suite", "mqar"], "worse mqar 40960 is not in the rows; name another"),
    ]:
        assert error in compare(capsys, "differ", path, *words)[2]


def test_published_rows_make_the_same_page_and_pictures_again(write, tmp_path, capsys):
    path = write(["good", "bad"], budgets=(40960, 20480))
    assert compare(capsys, "publish", path, "-o", tmp_path / "one")[0] == 0
    again = publish.publish(submitted.read([tmp_path / "one/data/results/compare/laptop.csv"]), tmp_path / "two")
    assert [one.name for one in again] == [
        "laptop.csv", "laptop.samples.csv", "laptop.html", "laptop.svg", "laptop_dark.svg"
    ]  # fmt: skip
    for written in again:
        assert written.read_text() == (tmp_path / "one" / written.relative_to(tmp_path / "two")).read_text()
    for theme, end in publish.THEMES.items():
        text = (tmp_path / f"two/data/results/compare/laptop{end}.svg").read_text()
        ElementTree.fromstring(text)
        assert frontier.palette(theme) in text and text.count("<polyline points") >= 4 and ">good<" in text
    page = again[2].read_text()
    assert all(frontier.palette(theme) in page for theme in publish.THEMES) and "Last row: 2026-01-02" in page


def test_layers_of_the_published_table_do_not_vanish(write, tmp_path, capsys):
    ours, sent = write(["good", "bad"]), write(["noisy"], "sent.csv")
    checkout = tmp_path / "one"
    table = checkout / "data/results/compare/laptop.csv"
    assert compare(capsys, "publish", ours, "-o", checkout)[0] == 0
    before = table.read_text()
    status, _, error = compare(capsys, "publish", sent, "-o", checkout)
    assert (status, table.read_text()) == (2, before) and error.count("\n") == 1
    assert f"all layers of {table}, got none of bad, good; name {table} too" in error
    assert compare(capsys, "publish", sent, table, "-o", checkout)[0] == 0
    assert {row["recurrence"] for row in rows.read([table])[0]} == {"good", "bad", "noisy"}


@pytest.mark.parametrize(("name", "changes", "color"), [
    ("mamba", {}, "c1"), ("mamba_attention", {"with_attention": "1"}, "c1"), ("lightnet", {}, "pale"),
    ("Mine", {"class_path": "mine.Mine"}, "c2"), ("linear_attention", {}, "c6"),
])  # fmt: skip
def test_a_layer_has_its_color_whatever_else_is_drawn(name, changes, color):
    row = {
        "recurrence": name, "class_path": "fla.layers.X", "with_attention": "0", "accuracy": "0.5", "low": "0",
        "high": "1", "suite": "mqar", "size": "32", "state_bits": "4096", **changes,
    }  # fmt: skip
    panels = frontier.panels([row], ["mqar"], {}, {})
    assert f'<g class="curve {color}" data-layer="{name}">' in frontier.draw(panels[0])
    assert frontier.legend(panels) == ({name: int(color[1:])} if color != "pale" and not changes.get("with_attention")
                                       else {})  # fmt: skip


@pytest.mark.parametrize("name", ["laptop"])
def test_the_page_and_pictures_of_the_checkout_are_those_of_its_rows(name, tmp_path):
    table = publish.ROOT / f"data/results/compare/{name}.csv"
    for written in publish.publish(submitted.read([table]), tmp_path):
        assert written.read_text() == (publish.ROOT / written.relative_to(tmp_path)).read_text(), (
            f"{written.name} is not current; run `python tools/compare.py publish {table.relative_to(publish.ROOT)}`"
        )


def test_the_statements_of_the_page_hold(capsys):
    lines = (publish.ROOT / "docs/compare.md").read_text().splitlines()
    told = [
        line.split(" | `python tools/compare.py differ data/") for line in lines if "compare.py differ data/" in line
    ]
    assert len(told) == 3
    for statement, command in told:
        words = command.rstrip("` |").split()
        status, said, _ = compare(capsys, "differ", publish.ROOT / "data" / words[0], *words[1:])
        assert status == 0 and said.endswith("holds\n")
        difference, low, high = re.search(r"difference: \+([\d.]+) \(\+([\d.]+) to \+([\d.]+),", said).groups()
        first, second = (f"{float(one):.3f}" for one in re.findall(r": ([\d.]+) \(", said)[:2])
        assert statement.endswith(f": {first} and {second}, a difference of {difference} ({low} to {high})")
