"""What the demonstration shows in the terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from testbench.emulated.check import Buckets, Difference, Quarantined, Verdict
from testbench.emulated.corruption import Checked, Damage
from testbench.emulated.display import show_line
from testbench.traffic import ACCOUNTS

RECORD_TYPES = {
    "items": ("predictionItems", "evaluationItems"),
    "scoreResults": ("predictionScoreResults", "evaluationScoreResults"),
    "tasks": (),
    "evaluations": (),
    "feedbackItems": (),
    "procedures": (),
    "chatSessions": (),
    "chatMessages": (),
}
_COLUMNS = ("count", "cost", "decisions", "AI calls", "errors")
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_CHART_ROWS = 4
_BAR = 2
_STEP = timedelta(minutes=5)
_LISTED = 10


def show_counts(console: Console, buckets: Buckets, start: datetime, end: datetime) -> None:
    """A table of all record types and accounts, and a chart for each of the models."""
    console.print(_counts(buckets))
    for name in RECORD_TYPES:
        console.print(
            Panel(
                _chart(buckets, name, start, end),
                title=f"{name}, all accounts, per 5 minutes",
                title_align="left",
                expand=False,
                box=box.SIMPLE,
                padding=(0, 1),
            )
        )


def _counts(buckets: Buckets) -> Table:
    table = _table("record type", "account", *_COLUMNS, right=_COLUMNS)
    for name, splits in RECORD_TYPES.items():
        for each in (name, *splits):
            for account in ACCOUNTS:
                shown = each if account == ACCOUNTS[0] else ""
                table.add_row(shown, account, *_sums(buckets, each, account))
            table.add_section()
    return table


def _sums(buckets: Buckets, record_type: str, account: str) -> list[str]:
    records = [
        record
        for (owner, name, _, minutes), record in buckets.items()
        if (owner, name, minutes) == (account, record_type, 60)
    ]
    cost = sum(record.cost or 0 for record in records)
    calls = sum((r.externalAiApiCount or 0) + (r.cachedAiApiCount or 0) for r in records)
    return [
        f"{sum(record.count for record in records):,}",
        f"${cost / 1_000_000:,.4f}" if cost else "-",
        _number(sum(record.decisionCount or 0 for record in records)),
        _number(calls),
        _number(sum(record.errorCount or 0 for record in records)),
    ]


def _number(value: int) -> str:
    return f"{value:,}" if value else "-"


def _chart(buckets: Buckets, record_type: str, start: datetime, end: datetime) -> Group:
    first = start.replace(minute=start.minute - start.minute % 5)
    counts: Counter[datetime] = Counter()
    for (_, name, _, minutes), record in buckets.items():
        if (name, minutes) == (record_type, 5):
            counts[record.timeRangeStart.astimezone(UTC)] += record.count
    starts = [first + _STEP * i for i in range(-((first - end) // _STEP))]
    lines = bars([counts[moment] for moment in starts])
    axis = "".join(
        f"{moment:%H:%M}".ljust(3 * _BAR) if i % 3 == 0 else "" for i, moment in enumerate(starts)
    )
    return Group(*(Text(line, style="cyan") for line in lines), Text(f"{'':>6}{axis}", style="dim"))


def bars(values: Sequence[int], rows: int = _CHART_ROWS) -> list[str]:
    """Vertical bars as lines of text, the highest value at the top left."""
    top = max(values, default=0) or 1
    heights = [round(value * rows * 8 / top) for value in values]
    lines = []
    for row in reversed(range(rows)):
        cells = "".join(_EIGHTHS[min(max(h - row * 8, 0), 8)] * _BAR for h in heights)
        label = f"{top:>5} " if row == rows - 1 else f"{0 if row == 0 else '':>5} "
        lines.append(label + cells)
    return lines


def show_quarantine(console: Console, messages: Iterable[Quarantined]) -> None:
    """Reasons, tables and numbers."""
    table = _table("in quarantine because", "table", "rows", right=("rows",))
    for (reason, model), number in sorted(Counter((m.reason, m.model) for m in messages).items()):
        table.add_row(reason, model, str(number))
    console.print(table)


def show_differences(console: Console, differences: Sequence[Difference]) -> None:
    """The first buckets that are wrong."""
    table = _table("account", "record type", "start", "minutes", "stored", "counted")
    for (account, name, start, minutes), held, expected in differences[:_LISTED]:
        table.add_row(account, name, start, str(minutes), str(held), str(expected))
    console.print(table)


def show_verdict(console: Console, verdict: Verdict, *, quarantine_is_exact: bool | None) -> None:
    """The verdict, line by line; None where nobody has looked into the quarantine."""
    if verdict.differences:
        show_differences(console, verdict.differences)
    show_line(
        console,
        f"{verdict.compared:,} buckets compared with a group-by of the tables' rows, "
        f"{len(verdict.differences)} differences",
        good=bool(verdict.compared) and not verdict.differences,
    )
    wrong = [f"{key} is not" for key in verdict.incomplete]
    wrong += [f"{key} is too early" for key in verdict.premature]
    show_line(
        console,
        f"every elapsed bucket is complete ({verdict.complete:,}), and no other"
        + (f": not so for {len(wrong)}, such as {wrong[0]}" if wrong else ""),
        good=not wrong,
    )
    if quarantine_is_exact is not None:
        show_line(
            console,
            "the rows that cannot be counted are in quarantine, and only they",
            good=quarantine_is_exact,
        )


def show_damage(console: Console, damages: Iterable[Damage], found: Checked) -> None:
    """What was corrupted, and what the reconciler says about it."""
    table = _table(
        *("damage", "account", "record type", "start", "min", "off by"),
        right=("min", "off by"),
    )
    for damage in damages:
        account, name, start, minutes = damage.key
        said = _off_by(found.drift.get(damage.key))
        table.add_row(damage.what, account, name, start[11:16], str(minutes), said)
    console.print(table)


def _off_by(drift: dict[str, Any] | None) -> str:
    if drift is None:
        return "not reported"
    stored, counted = drift["stored"], drift["counted"]
    if stored["count"] != counted["count"]:
        return f"{stored['count'] - counted['count']:+}"
    return f"{(stored['cost'] - counted['cost']) / 1_000_000:+.4f} $"


def show_times(console: Console, seconds: dict[str, float]) -> None:
    """How long each stage took."""
    table = _table("stage", "seconds", right=("seconds",))
    for stage, value in seconds.items():
        table.add_row(stage, f"{value:.1f}")
    console.print(table)


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table
