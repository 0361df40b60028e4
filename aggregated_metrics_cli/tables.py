"""Tables in the terminal: they fit its width with every label, and never cut a text off."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from aggregated_metrics_cli.output import printable, styled

DOLLAR = 1_000_000
"""`cost` is in millionths of one."""
_THOUSAND = 1000
_POWERS = ("", "k", "M", "G", "T")
_GAP = 2
"""Characters between columns: a space of padding, and the box's."""


class Row(NamedTuple):
    """A line: its label, a cell for each column, and the style of the label."""

    label: str
    cells: Sequence[str]
    style: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """A table with any number of columns; those that do not fit go into a further one below it.

    Attributes:
        title: above it.
        first: the head of the labels.
        names: the heads of the columns.
        rows: the lines.
        left: whether cells begin at the left, as bars do.
    """

    title: str
    first: str
    names: Sequence[str]
    rows: Sequence[Row]
    left: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        blocks = any(cell.strip("▏▎▍▌▋▊▉█") != cell for row in self.rows for cell in row.cells)
        if blocks and options.ascii_only:
            yield from self._tables(options.max_width, lambda cell: cell.translate(_ASCII))
        else:
            yield from self._tables(options.max_width, lambda cell: cell)

    def _tables(self, width: int, drawn: Any) -> Iterator[Table | str]:
        labels = max(cell_len(printable(text)) for text in (self.first, *self._labels()))
        labels = min(labels, width // 2)
        start = 0
        while start == 0 or start < len(self.names):
            end = self._end(start, width - labels)
            yield ""
            yield self._table(slice(start, end), labels, drawn, self.title if not start else "")
            start = end
            if not self.names:
                return

    def _labels(self) -> Iterable[str]:
        return (row.label for row in self.rows)

    def _end(self, start: int, room: int) -> int:
        """The first column that has no room after those from `start` on; at least one has."""
        for number in range(start, len(self.names)):
            room -= _GAP + self._width(number)
            if room < 0 and number > start:
                return number
        return len(self.names)

    def _width(self, number: int) -> int:
        texts = (self.names[number], *(row.cells[number] for row in self.rows))
        return max(cell_len(printable(text)) for text in texts)

    def _table(self, part: slice, labels: int, drawn: Any, title: str) -> Table:
        table = Table(
            title=styled(title, "italic") if title else None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 0, 0, 1),
            pad_edge=False,
            show_edge=False,
        )
        table.add_column(self.first, overflow="fold", min_width=labels)
        for name in self.names[part]:
            table.add_column(name, justify="left" if self.left else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(styled(row.label, row.style), *map(drawn, row.cells[part]))
        return table


_ASCII = dict.fromkeys(map(ord, "▏▎▍▌▋▊▉█"), "#")


def bar(value: int, most: int, width: int) -> str:
    """A bar as long as `value` is to `most`, in eighths of a character; never none for some.

    >>> bar(3, 4, 8)
    '██████'
    """
    eighths = 0 if most <= 0 else round(value * width * 8 / most)
    eighths = max(eighths, 1) if value > 0 else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def rounded(name: str, value: int) -> str:
    """A measure in at most six characters; `cost` in dollars.

    >>> rounded("count", 12345), rounded("cost", 1230), rounded("cost", 12345678)
    ('12.3k', '0.0012', '12.35')
    """
    if name != "cost" or not value:
        return _short(value)
    dollars = value / DOLLAR
    if round(dollars) < _THOUSAND:
        return f"{dollars:.4f}" if dollars < 1 else f"{dollars:.2f}"
    return _short(dollars)


def _short(value: float) -> str:
    if value < 10 * _THOUSAND:
        return f"{value:,.0f}"
    power = 0
    while round(value) >= _THOUSAND:
        value, power = value / _THOUSAND, power + 1
    return f"{value:.3g}{_POWERS[power]}"


def exact(name: str, value: int) -> str:
    """A measure with every digit; `cost` in dollars.

    >>> exact("count", 12345), exact("cost", 1230)
    ('12,345', '0.001230')
    """
    return f"{value / DOLLAR:,.6f}" if name == "cost" else f"{value:,}"


def difference(stored: Mapping[str, int] | None, counted: Mapping[str, int] | None) -> str:
    """The measures that differ, by name: `count 7 → 1, errorCount 0 → 2`."""
    was, rows = stored or {}, counted or {}
    return ", ".join(
        f"{name} {exact(name, was.get(name, 0))} → {exact(name, rows.get(name, 0))}"
        for name in dict.fromkeys([*was, *rows])
        if was.get(name, 0) != rows.get(name, 0)
    )
