"""The way out to the terminal: text from elsewhere is text, in any encoding."""

import io
import re
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from aggregated_metrics_cli.output import Output, printable, styled, survive
from aggregated_metrics_cli.tables import Columns, Row

PACKAGE = Path(__file__).parents[2] / "aggregated_metrics_cli"
MARKUP = ("QA [internal]", "[/sales] 2026", "[link=https://evil.example]x[/link]", ":smile:", "[1m")
CONTROL = ("card\x1b[2K\x1b[1A", "\x1b]0;all is well\x07", "a\rb", "a\x9bb", "\u202egnp.exe")


def drawn(*given: object) -> str:
    out = io.StringIO()
    Output(as_json=False, out=out, err=out).draw(*given)  # type: ignore[arg-type]
    return out.getvalue()


def everywhere(text: str) -> Table:
    table = Table(text, title=text)
    table.add_row(text)
    return table


@pytest.mark.parametrize("text", MARKUP)
def test_what_looks_like_markup_is_shown_unchanged(text: str) -> None:
    assert drawn(text).strip() == text
    assert drawn(everywhere(text)).count(text) == 3
    assert text in drawn(Columns("", "id", [], [Row(text, [])]))


@pytest.mark.parametrize("text", CONTROL)
def test_a_control_character_is_shown_escaped(text: str) -> None:
    shown = drawn(text, everywhere(text), styled(text, "bold"), Text(text))
    shown += drawn(Columns(text, text, [text], [Row(text, [text])]))
    assert shown.replace("\n", "").isprintable()
    assert printable(text) in shown


def test_a_line_end_in_an_id_begins_no_line() -> None:
    out = io.StringIO()
    output = Output(as_json=False, out=out, err=out)
    output.say("a\nb")
    output.tell("a\nb")
    assert out.getvalue() == "a\\nb\n" * 2


def test_json_for_machines_is_ascii() -> None:
    out = io.StringIO()
    Output(as_json=True, out=out, err=out).show({"id": "\x1b[2K…"}, "not drawn")
    assert out.getvalue() == '{"id": "\\u001b[2K\\u2026"}\n'


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_encoding_is_survived(encoding: str) -> None:
    raw = io.BytesIO()
    out = survive(io.TextIOWrapper(raw, encoding=encoding))
    output = Output(as_json=False, out=out, err=out)
    output.draw("Größe … ✓", Columns("é", "日本", ["b"], [Row("→", ["██▌"])]))
    output.say("日本")
    out.flush()
    assert "\\u65e5" in raw.getvalue().decode(encoding) or encoding == "utf-8"


def test_bars_are_signs_where_blocks_cannot_be_written() -> None:
    raw = io.BytesIO()
    out = survive(io.TextIOWrapper(raw, encoding="ascii"))
    Output(as_json=False, out=out, err=out).draw(Columns("", "a", ["b"], [Row("x", ["██▌"])]))
    out.flush()
    assert b"###" in raw.getvalue()


def test_nothing_else_writes_to_the_terminal() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name not in {"output.py", "__main__.py"}:
            assert not re.search(r"\bprint\(|Console\(|\bText\(|from_markup", path.read_text()), (
                path
            )


@pytest.mark.parametrize("width", range(50, 121))
def test_a_table_fits_the_terminal_with_every_label(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = [f"measure number {n}" for n in range(9)]
    rows = [Row("predictionScoreResults", [f"{n * 111_111:,}" for n in range(9)])]
    text = drawn(Columns("totals", "record type", names, rows))
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for name in names:
        assert name in text
    assert "888,888" in text


def test_a_long_label_is_folded_and_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = drawn(Columns("", "of", ["count"], [Row("x" * 200, ["7"])]))
    assert text.count("x") == 200
    assert max(map(len, text.splitlines())) <= 80
