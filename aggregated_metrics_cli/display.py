"""Tables, charts and progress for people: the only module that needs rich. No I/O but the console.

Everything but `Bars` turns what was found into something that rich can draw.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Self

from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.ranges import Range
from aggregated_metrics.core.record_types import MODELS, extra_of
from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from aggregated_metrics_cli.bucket_tables import chart, difference, explanation, time_text
from aggregated_metrics_cli.check import left
from aggregated_metrics_cli.overview_tables import overview
from aggregated_metrics_cli.queue_repair import Job
from aggregated_metrics_cli.redrive import as_json

__all__ = ["Bars", "batches", "chart", "explanation", "findings", "overview", "redriven"]

MOST_UNDECIDED = 20
MOST_DRIFTS = 200
_UUID = 36
"""Characters of a row's id, which is there to be copied: only longer ones are broken up."""


class Bars:
    """Bars for parts and pages, on the error output: a check.Progress.

    With `each_part` a line stays for each step that is done.
    """

    def __init__(self, console: Console, *, each_part: bool = False) -> None:
        self._console = console
        self._each_part = each_part
        self._rows = self._pages = 0
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[read]}"),
            console=console,
            transient=True,
        )
        self._task = self._bars.add_task("parts", total=None, read="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, parts: int) -> None:
        """So many parts are going to be checked."""
        self._bars.update(self._task, total=parts)

    def page(self, counted: Counted) -> None:
        """A page of source rows was read."""
        self._pages += 1
        read = f"{self._pages:,} pages, {counted.rows:,} rows in this reading"
        self._bars.update(self._task, read=read)

    def part(self, part: Range, rest: Range, found: Findings) -> None:
        """A step is done; `rest` is what is left."""
        self._bars.advance(self._task)
        if self._each_part:
            self._console.print(
                f"{buckets.iso(part.start)[:10]} {part.record_types[0]}…: {found.rows:,} rows, "
                f"{found.drifted:,} wrong, {found.set_right:,} repaired; "
                f"go on with --end {buckets.iso(rest.end)} "
                f"--record-types {','.join(rest.record_types)}"
            )


def findings(found: Findings, *, repair: bool) -> RenderableType:
    """What a check found: wrong and moving buckets, and a line that sums it up."""
    lines = [
        Text(_summary(found, repair=repair), style="bold red" if left(found) else "bold green")
    ]
    if found.moving:
        lines.append(Text("What is moving may be right or wrong: run this again in a few minutes."))
    if found.unreadable:
        lines.append(
            Text(
                f"{found.unreadable:,} rows are unreadable (the API cannot give them): their "
                "minutes are left alone."
            )
        )
    if found.undecided:
        lines.append(
            Text(
                f"{len(found.undecided):,} hours differ from those of their rows that can be read: "
                "correct the others (updatedAt, required fields), or run a backfill:"
            )
        )
        lines += [
            Text("  " + " ".join(hour.values())) for hour in found.undecided_as_json(MOST_UNDECIDED)
        ]
    if found.completed:
        lines.append(Text(f"{found.completed:,} elapsed buckets were not complete, and are now."))
    parts: list[RenderableType] = []
    if found.drift or found.moving:
        parts += _drifts(found)
    hidden = len(found.drift) + len(found.moving) - MOST_DRIFTS
    if hidden > 0:
        parts.append(Text(f"… and {hidden:,} more: see --json"))
    return Group(*parts, *lines)


def _summary(found: Findings, *, repair: bool) -> str:
    text = (
        f"{found.hours:,} hours, {found.minutes:,} minutes, {found.rows:,} rows: "
        f"{found.drifted:,} wrong, {len(found.moving):,} moving"
    )
    return f"{text}, {found.set_right:,} repaired" if repair else text


def _drifts(found: Findings) -> Iterator[Table]:
    """A table for each account: what waits to be checked is of many, and their ids are long."""
    repaired = {drift.bucket for drift in found.repaired}
    moving = {drift.bucket for drift in found.moving}
    every = {drift.bucket: drift for drift in (*found.drift, *found.moving)}
    ordered = sorted(every.values(), key=lambda drift: (drift.hour.series, drift.start, drift.size))
    listed = islice(ordered, MOST_DRIFTS)
    for account_id, drifts in groupby(listed, lambda drift: drift.hour.series.account_id):
        table = Table(title=Text(f"account {account_id}"), title_justify="left", box=box.SIMPLE)
        for name in ("record type", "start (UTC)", "min"):
            table.add_column(name, no_wrap=True)
        table.add_column("stored → counted")
        table.add_column("", no_wrap=True)
        for drift in drifts:
            series = drift.hour.series
            state = "moving" if drift.bucket in moving else "wrong"
            table.add_row(
                " ".join(filter(None, (series.record_type, series.scope))),
                time_text(drift.start),
                str(drift.size),
                difference(drift.stored, drift.expected, extra_of(series.record_type)),
                "repaired" if drift.bucket in repaired else state,
            )
        yield table


def redriven(jobs: Sequence[Job], *, dry: bool) -> RenderableType:
    """What becomes of each record: of which row it is, why it was refused, and what is so now."""
    table = Table(box=box.SIMPLE, show_lines=True)
    table.add_column("at (UTC)", no_wrap=True)
    table.add_column("row", no_wrap=True)
    table.add_column("reason → now")
    for job in jobs:
        entry = as_json(job)
        name = str(entry["table"] or "-")
        model = name.partition("-")[0]
        keys = " ".join(map(str, entry["keys"].values())) or "-"
        why = str(entry["reason"] or "-")
        now = job.left or _done(job, dry=dry)
        table.add_row(
            str(entry["at"] or "-")[5:16].replace("T", " "),
            Text(f"{_folded(model if model in MODELS else name)}\n{_folded(keys)}"),
            Text(why if now == why else f"{why}\n→ {now}"),
        )
    kept = sum(job.left is not None for job in jobs)
    would = "would be " if dry else ""
    return Group(
        table,
        Text(f"{len(jobs) - kept} {would}done and deleted, {kept} {would}left in the queue"),
    )


def _done(job: Job, *, dry: bool) -> str:
    if not job.hours:
        return "it counts nowhere"
    hours = f"{len(job.hours)} hours"
    return f"{hours} would be checked" if dry else f"{hours} are right"


def batches(jobs: Sequence[Job], found: Findings) -> RenderableType:
    """What became of each batch that aged out."""
    lines = []
    for job in jobs:
        done = f"{len(job.hours)} hours are right"
        if job.rejects:
            done += f", {len(job.rejects)} records are in quarantine"
        lines.append(Text(f"{job.name}: {job.left or done}"))
    kept = sum(job.left is not None for job in jobs)
    left_over = f"{kept} left" if kept else "none left"
    lines.append(
        Text(
            f"{len(found.drift):,} wrong buckets, {found.set_right:,} repaired; "
            f"{len(jobs) - kept} batches done, {left_over}"
        )
    )
    return Group(*lines)


def _folded(text: str) -> str:
    return "\n".join(text[first : first + _UUID] for first in range(0, len(text), _UUID))
