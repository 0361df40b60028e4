"""How far a backfill of whole tables has come: looked up in its files, shown while it goes on."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.core.errors import RunError
from aggregated_metrics.core.runs import LOOKS, Run


@dataclass(slots=True)
class Watched:
    """How far a run has come: by look, rows read and segments done; partitions reduced."""

    items: int = 0
    segments: int = 0
    partitions: int = 0
    rows: dict[int, int] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)
    reduced: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Rows a second since the run began."""
        return sum(self.rows.values()) / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that reading will still take, at this rate."""
        if not self.rate:
            return None
        read = sum(self.rows.get(look, 0) for look in LOOKS)
        return max(0, len(LOOKS) * self.items - read) / self.rate


def watched(files: RunFiles, name: str) -> Iterator[Watched]:
    """How far the run has come, each time that it is asked for."""
    heads: dict[str, Any] = {}
    while True:
        try:
            run: Run = files.run(name)
        except RunError:
            yield Watched()
            continue
        found = Watched(sum(run.items.values()), sum(run.segments.values()), run.partitions)
        for look in LOOKS:
            last: dict[str, str] = {}
            for _, key in files.parts(name, look):
                last[key.rpartition("/")[0]] = key
            for key in last.values():
                if key not in heads:
                    heads[key] = files.head(key)
            parts = [heads[key] for key in last.values()]
            found.rows[look] = sum(part.rows for part in parts)
            found.done[look] = sum(part.done for part in parts)
        found.reduced = sum(1 for _ in files.reduced(name))
        found.seconds = datetime.now(UTC).timestamp() - run.began
        yield found


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
        left = "" if seen.left is None else f", {seen.left:,.0f} s left"
        if self._bars is None:
            line: dict[str, Any] = {"run": self._name, "rows": seen.rows, "segments": seen.done}
            line |= {"rowsPerSecond": round(seen.rate), "secondsLeft": seen.left}
            sys.stderr.write(json.dumps(line) + "\n")
            return
        for task, look in zip(self._tasks, LOOKS, strict=False):
            said = (
                f"{seen.rows.get(look, 0):,} rows, {seen.rate:,.0f} rows/s, "
                f"{seen.done.get(look, 0)} of {seen.segments} segments{left}"
            )
            self._bars.update(
                task, total=seen.items or None, completed=seen.rows.get(look, 0), said=said
            )
        said = f"{seen.reduced} of {seen.partitions} partitions"
        self._bars.update(
            self._tasks[-1], total=seen.partitions or None, completed=seen.reduced, said=said
        )
