"""Writes the page of a comparison: one HTML file without external resources."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template

from sweeps import files

from comparisons import frontier, submitted
from comparisons.layers import read_known
from comparisons.protocol import TOLERANCE, Protocol
from comparisons.significance import LEVEL
from comparisons.summary import Row, Summary, shown
from lit_retrieval.parsing import OneLineErrors

_HERE = Path(__file__).parent


def main(words: Sequence[str]) -> None:
    """Write the page of some rows."""
    parser = OneLineErrors(description="Make a page of rows of one protocol; the rows of the first file count.")
    parser.add_argument(
        "rows", type=Path, nargs="+", help="CSV files that tools/compare.py has written, and submitted ones"
    )
    parser.add_argument("--protocol", help="the protocol's file; if absent, the one in configs/compare")
    parser.add_argument("-o", "--output", type=Path, required=True, help="HTML file to write")
    arguments = parser.parse_args(words)
    files.write_text(html(*submitted.read(arguments.rows, arguments.protocol)), arguments.output)
    print(arguments.output)


def html(found: Sequence[Row], samples: Sequence[Row], protocol: Protocol) -> str:
    """The page."""
    summary, shape = Summary(found, samples), protocol.shape
    names, failed = summary.ordered(), sum(not row["accuracy"] for row in found)
    scored, known = [name for name in names if summary.mean(name) is not None], read_known().keys()
    waiting = sorted(known - set(names)) if known & set(names) else []
    minutes = {(row["recurrence"], row["suite"], row["state_budget"]): float(row["minutes"] or 0) for row in found}
    parts = {
        "protocol": protocol.name, "identity": protocol.identity, "width": shape.hidden_size,
        "blocks": "one block" if shape.repeat == 1 else f"{shape.repeat} blocks", "kernel": shape.conv_kernel,
        "parameters": f"{shape.parameters:,}", "tolerance": f"{TOLERANCE:.0%}", "bits": f"{shape.state_bits:,}",
        "rates": ", ".join(f"{rate:g}" for rate in protocol.learning_rates), "seeds": len(protocol.seeds),
        "level": f"{LEVEL:g}", "example": f"{names[0]} {summary.cells[0][0]}",
        "pair": f"{names[0]} {(scored or names)[-1]} --suite {summary.cells[0][0]}",
        "commits": ", ".join(sorted({row["commit"] for row in found if row["commit"]})),
        "devices": ", ".join(sorted({row["device"] for row in found if row["device"]})),
        "minutes": f"{sum(minutes.values()):,.0f}", "date": max(row["finished"] for row in found)[:10],
    }  # fmt: skip
    return Template((_HERE / "page.html").read_text()).substitute(
        {name: escape(str(text)) for name, text in parts.items()},
        failed=f'<p class="note">{failed} rows have no accuracy: point at them for the reason.</p>' if failed else "",
        waiting=f'<p class="note">Not run: {", ".join(waiting)}.</p>' if waiting else "",
        table="\n".join(_table(summary, names)), frontier=_frontier(found, protocol), style=_style(),
        script=(_HERE / "page.js").read_text(), data=_data(summary, names),
    )  # fmt: skip


def _style() -> str:
    text = Template((_HERE / "page.css").read_text())
    return text.substitute(light=frontier.palette("light"), dark=frontier.palette("dark")) + frontier.STYLE


def _data(summary: Summary, names: Sequence[str]) -> str:
    """Data for the script: the layers, and for each cell whether pairs differ (1), do not (0) or lack a test (-)."""
    tested = summary.right_answers()
    different = {
        cell: [
            "".join(
                "-" if not {one, other} <= tested[cell].keys() else str(int((one, other) in pairs)) for other in names
            )
            for one in names
        ]
        for cell, pairs in summary.differences().items()
    }
    return f"const NAMES = {json.dumps(names)}, DIFFERENT = {json.dumps(different)};".replace("</", "<\\/")


def _table(summary: Summary, names: Sequence[str]) -> Iterator[str]:
    yield '<table id="table"><thead><tr>'
    cells = [(f"{suite} {size}", f"{suite}\n{size}") for suite, size in summary.cells]
    heads = [("layer", "layer"), ("mean", "mean"), *cells,
             ("bits", "bits of\nstate"), ("parameters", "para-\nmeters"), ("training", "training\nspeed"),
             ("decoding", "decoding\nspeed")]  # fmt: skip
    for key, text in heads:
        yield f'<th scope="col" data-key="{escape(key)}"><button type="button">{escape(text)}</button></th>'
    yield "</tr></thead><tbody>"
    for name in names:
        yield f'<tr id="{escape(name)}">{"".join(_line(summary, name))}</tr>'
    yield "</tbody></table>"


def _line(summary: Summary, name: str) -> Iterator[str]:
    own = summary.layers[name]
    first, average = next(iter(own.values())), summary.mean(name)
    about = f"{first['class_path']} {first['init_args']}" + (
        " and one attention layer" if first["with_attention"] == "1" else ""
    )
    yield (
        f'<th scope="row" data-value="{escape(name)}"><a href="#layer={escape(name)}" title="{escape(about)}">'
        f"{escape(name)}</a></th>"
    )
    yield _cell("" if average is None else f"{average:.4f}", "" if average is None else f"{average:.3f}", "")
    for cell in summary.cells:
        row = own.get(cell)
        kind = "" if row and row["accuracy"] else ' class="failed"'
        yield _cell((row or {}).get("accuracy", ""), shown(row), _told(row), f'{kind} data-cell="{cell[0]} {cell[1]}"')
    bits = max((int(row["state_bits"]) for row in own.values() if row["state_bits"]), default=None)
    grows = "" if first["within_state"] == "1" else ' class="over"'
    yield _cell("" if bits is None else str(bits), "" if bits is None else f"{bits:,}", _growth(first), grows)
    yield _cell(first["parameters"], f"{int(first['parameters']):,}" if first["parameters"] else "", "")
    for kind in ("training", "decoding"):
        yield _cell(first[kind], first[kind] and f"{float(first[kind]):.2f}", "times as fast as attention")


def _cell(value: str, text: str, title: str, attributes: str = "") -> str:
    return f'<td data-value="{escape(value)}" title="{escape(title)}"{attributes}>{escape(text)}</td>'


def _growth(row: Row) -> str:
    return (
        f"at the longest test; grows by {int(row['growth']):,} bits a token" if row["growth"] not in ("", "0") else ""
    )


def _told(row: Row | None) -> str:
    if row is None:
        return "not run"
    if not row["accuracy"]:
        return row["reason"]
    parts = [
        f"95% interval {row['low']} to {row['high']}", f"seeds {row['lowest_seed']} to {row['highest_seed']}",
        f"learning rate {row['learning_rate']}{' (at the end of the range)' * (row['rate_is_at_end'] == '1')}",
        f"{int(row['state_bits']):,} bits", f"a guess: {row['chance']}",
        *([f"ceiling {row['ceiling']}"] if row["ceiling"] else []), *([row["reason"]] if row["reason"] else []),
    ]  # fmt: skip
    return ", ".join(parts)


def plots(found: Sequence[Row], protocol: Protocol) -> list[frontier.Panel]:
    """The plots of accuracy against bits of state; empty without several budgets."""
    codes: dict[tuple[str, int], int | None] = {}
    for name in protocol.frontier.suites:
        suite = protocol.suite(name)
        codes |= {(name, size): suite.random_bits(size) for size in suite.sizes}
    return frontier.panels(found, protocol.frontier.suites, protocol.frontier.repairs, codes)


def _frontier(found: Sequence[Row], protocol: Protocol) -> str:
    """The part of the page with the plots; empty without them."""
    if not (panels := plots(found, protocol)):
        return ""
    colors = frontier.legend(panels)
    items = (f'<li class="curve c{color}"><span></span>{escape(name)}</li>' for name, color in colors.items())
    drawn = map(frontier.draw, panels)
    template = Template((_HERE / "frontier.html").read_text())
    return template.substitute(legend="\n".join(items), panels="\n".join(drawn))
