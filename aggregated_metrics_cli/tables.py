"""Tables and numbers for people."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

from aggregated_metrics_cli.output import styled

DOLLAR = 1_000_000
"""`cost` is in millionths of one."""


def table(title: str, *heads: str) -> Table:
    """A table that fits the terminal: what is too long is folded, never cut off."""
    made = Table(
        title=styled(title, "italic") if title else None, title_justify="left", box=box.SIMPLE_HEAD
    )
    for head in heads:
        made.add_column(head, overflow="fold")
    return made


def bar(value: int, most: int, width: int) -> str:
    """A bar as long as `value` is to `most`, in eighths of a character; never none for some.

    >>> bar(3, 4, 8)
    '██████'
    """
    eighths = 0 if most <= 0 else round(value * width * 8 / most)
    eighths = max(eighths, 1) if value > 0 else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def number(name: str, value: int) -> str:
    """A measure with thousands apart; `cost` in dollars, with as many digits as say something.

    >>> number("count", 12345), number("cost", 1230), number("cost", 123456789)
    ('12,345', '$0.0012', '$123.46')
    """
    if name != "cost" or not value:
        return f"{value:,}"
    return f"${value / DOLLAR:,.2f}" if value >= 100 * DOLLAR else f"${value / DOLLAR:,.4f}"


def exact(name: str, value: int) -> str:
    """A measure with every digit; `cost` in dollars.

    >>> exact("count", 12345), exact("cost", 1230)
    ('12,345', '0.001230')
    """
    return f"{value / DOLLAR:,.6f}" if name == "cost" else f"{value:,}"


def difference(stored: Mapping[str, int], counted: Mapping[str, int]) -> str:
    """The measures that differ, by name: `count 7 → 1, errorCount 0 → 2`."""
    return ", ".join(
        f"{name} {exact(name, stored[name])} → {exact(name, counted[name])}"
        for name in stored
        if stored[name] != counted[name]
    )
