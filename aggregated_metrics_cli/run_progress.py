"""How far a backfill of whole tables has come: looked up in its files, shown while it goes on."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.core.errors import RunError
from aggregated_metrics.core.runs import LOOKS, Part, Run


@dataclass(frozen=True, slots=True)
class Read:
    """How far one look has come: rows, segments read to their end, and the seconds it took."""

    rows: int = 0
    segments: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Watched:
    """How far a run has come.

    Attributes:
        items: about how many rows each look reads.
        segments, partitions: how many there are.
        looks: how far each has come.
        reduced: partitions that are set right.
        seconds: how long partitions have been reduced.
    """

    items: int = 0
    segments: int = 0
    partitions: int = 0
    looks: Mapping[int, Read] = field(default_factory=lambda: dict.fromkeys(LOOKS, Read()))
    reduced: int = 0
    seconds: float = 0.0

    def left(self, look: int) -> float | None:
        """Seconds that a look will still take; None while nothing tells how fast it is."""
        read = self.looks[look]
        if self.segments and read.segments == self.segments:
            return 0.0
        return max(0, self.items - read.rows) / read.rate if read.rate else None

    @property
    def reducing_left(self) -> float | None:
        """Seconds that setting right will still take; None while nothing tells how fast it is."""
        if not self.reduced:
            return None
        return (self.partitions - self.reduced) * self.seconds / self.reduced


def watched(
    files: RunFiles, name: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Watched]:
    """How far the run has come, each time that it is asked for."""
    heads: dict[str, Part] = {}
    reduced: dict[str, bool] = {}
    while True:
        try:
            run: Run = files.run(name)
        except RunError:
            yield Watched()
            continue
        looks, ended = {}, 0.0
        for look in LOOKS:
            segments: dict[str, list[str]] = {}
            for _, key in files.parts(name, look):
                segments.setdefault(key.rpartition("/")[0], []).append(key)
            ends = [key for keys in segments.values() for key in (keys[0], keys[-1])]
            heads |= {key: files.head(key) for key in ends if key not in heads}
            last = [heads[keys[-1]] for keys in segments.values()]
            ended = max((part.ended for part in last), default=0.0)
            began = min((heads[keys[0]].began for keys in segments.values()), default=ended)
            rows, done = sum(part.rows for part in last), sum(part.done for part in last)
            looks[look] = Read(rows, done, ended - began)
        reduced |= {key: bool(each["done"]) for key, each in files.reduced(name, reduced)}
        yield Watched(
            sum(run.items.values()),
            sum(run.segments.values()),
            run.partitions,
            looks,
            sum(reduced.values()),
            clock().timestamp() - ended,
        )


class Progress:
    """Shows progress: bars for people, a line of JSON for machines."""

    def __init__(self, name: str, *, as_json: bool) -> None:
        self._bars: Any = None
        self._tasks: list[Any] = []
        self._name = name
        if not as_json:
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - only where it is needed
            from rich.progress import Progress as Bars  # noqa: PLC0415 - as above

            columns = (
                TextColumn("{task.description:<14}"),
                BarColumn(),
                TextColumn("{task.fields[said]}"),
            )
            self._bars = Bars(*columns, TimeElapsedColumn(), transient=True)

    def __enter__(self) -> Callable[[Watched], None]:
        if self._bars is not None:
            self._bars.start()
            names = ("first look", "second look", "set right")
            self._tasks = [self._bars.add_task(name, total=None, said="") for name in names]
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def _show(self, seen: Watched) -> None:
        if self._bars is None:
            sys.stderr.write(json.dumps({"run": self._name} | _as_json(seen)) + "\n")
            return
        for task, (look, read) in zip(self._tasks, seen.looks.items(), strict=False):
            said = (
                f"{read.rows:,} rows, {read.rate:,.0f} rows/s, "
                f"{read.segments} of {seen.segments} segments{_time_left(seen.left(look))}"
            )
            self._bars.update(task, total=seen.items or None, completed=read.rows, said=said)
        said = f"{seen.reduced} of {seen.partitions} partitions{_time_left(seen.reducing_left)}"
        self._bars.update(
            self._tasks[-1], total=seen.partitions or None, completed=seen.reduced, said=said
        )


def _as_json(seen: Watched) -> dict[str, Any]:
    looks = {
        str(look): {
            "rows": read.rows,
            "rowsPerSecond": round(read.rate),
            "segments": read.segments,
            "secondsLeft": seen.left(look),
        }
        for look, read in seen.looks.items()
    }
    return {
        "looks": looks,
        "segments": seen.segments,
        "partitions": seen.partitions,
        "reduced": seen.reduced,
        "secondsLeft": seen.reducing_left,
    }


def _time_left(seconds: float | None) -> str:
    return f", {seconds:,.0f} s left" if seconds else ""
