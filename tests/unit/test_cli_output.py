"""The way out to the terminal: text from elsewhere is text, in any encoding."""

import io
import re
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from aggregated_metrics_cli.output import Output, printable, styled, survive
from aggregated_metrics_cli.tables import bar, difference, table

PACKAGE = Path(__file__).parents[2] / "aggregated_metrics_cli"
MARKUP = ("QA [internal]", "[/sales] 2026", "[link=https://evil.example]x[/link]", ":smile:", "[1m")
CONTROL = ("card\x1b[2K\x1b[1A", "\x1b]0;all is well\x07", "a\rb", "a\x9bb", "\u202egnp.exe")


def drawn(*given: object) -> str:
    out = io.StringIO()
    Output(as_json=False, out=out, err=out).draw(*given)  # type: ignore[arg-type]
    return out.getvalue()


def everywhere(text: str) -> Table:
    made = table(text, text)
    made.add_row(text)
    return made


@pytest.mark.parametrize("text", MARKUP)
def test_what_looks_like_markup_is_shown_unchanged(text: str) -> None:
    assert drawn(text).strip() == text
    assert drawn(everywhere(text)).count(text) == 3


@pytest.mark.parametrize("text", CONTROL)
def test_a_control_character_is_shown_escaped(text: str) -> None:
    shown = drawn(text, everywhere(text), styled(text, "bold"), Text(text))
    assert shown.replace("\n", "").isprintable()
    assert printable(text) in shown


def test_an_id_begins_no_line_and_is_ascii_for_machines() -> None:
    out = io.StringIO()
    Output(as_json=False, out=out, err=out).say("a\nb")
    Output(as_json=True, out=out, err=out).show({"id": "\x1b[2K…"}, "not drawn")
    assert out.getvalue() == 'a\\nb\n{"id": "\\u001b[2K\\u2026"}\n'


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_encoding_is_survived(encoding: str) -> None:
    raw = io.BytesIO()
    out = survive(io.TextIOWrapper(raw, encoding=encoding))
    output = Output(as_json=False, out=out, err=out)
    output.draw("Größe … ✓", everywhere("日本 → ██▌"))
    output.say("日本")
    out.flush()
    written = raw.getvalue().decode(encoding)
    assert "\\u65e5" in written or encoding == "utf-8"
    assert "###" in written or encoding != "ascii", "bars are signs where no blocks can be written"


def test_nothing_else_writes_to_the_terminal() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name not in {"output.py", "__main__.py"}:
            assert not re.search(r"\bprint\(|Console\(|\bText\(|from_markup", path.read_text()), (
                path
            )


@pytest.mark.parametrize("width", [40, 80])
def test_a_table_fits_the_terminal_and_cuts_nothing_off(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    made = table("totals", "of", "count", "other measures")
    made.add_row("x" * 200, "7", ", ".join(f"measure {n}: {n * 111_111:,}" for n in range(9)))
    text = drawn(made)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("x") == 200
    assert "888,888" in text


def test_a_bar_is_as_long_as_its_share() -> None:
    assert [bar(value, 10, 4) for value in (0, 5, 9, 10)] == ["", "██", "███▋", "████"]
    assert (bar(1, 1000, 4), bar(0, 0, 4)) == ("▏", "")


def test_only_measures_that_differ_are_named() -> None:
    stored, counted = {"count": 1, "errorCount": 2, "cost": 0}, {"count": 1, "errorCount": 0}
    assert difference(stored, counted | {"cost": 2_500_000}) == (
        "errorCount 2 → 0, cost 0.000000 → 2.500000"
    )
