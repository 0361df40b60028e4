"""Counts one segment of a source table, and puts down what it has counted part by part.

A part is put down when enough is held, or the time is nearly over. Whoever comes next, in this
invocation or another one, goes on from the last part's key: nothing is lost with a scanner that
dies but what it had not put down, and nothing is counted twice.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.adapters.table_rows import TableRows
from aggregated_metrics.core.buckets import DAY
from aggregated_metrics.core.errors import RunError, UncountableError
from aggregated_metrics.core.images import part_of_image
from aggregated_metrics.core.row_sums import GroupKey, Since, Sums, written
from aggregated_metrics.core.runs import Part, Run, Segment, add_uncountable, encode, reason_of
from aggregated_metrics.core.source_models import Model

HELD = 100_000
"""So many minutes' sums are held at most."""
ROWS = 100_000
"""After so many rows a part is put down however few minutes they come to: so many are read again at
most if a scanner dies."""
_SPARE_SECONDS = 30.0
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Scanner:
    """Reads segments of source tables; every port is an argument."""

    rows: TableRows
    files: RunFiles
    clock: Callable[[], datetime]
    time_left: Callable[[], float]

    def scan(self, run: Run, segment: Segment) -> Part:
        """Read a segment on, to its end or until the time is nearly over; the last part."""
        part = self.files.last_part(segment)
        while part is None or not part.done:
            counted = self._count(run, segment, part)
            content = encode(counted.part, counted.groups, run.partitions)
            first = self.files.put_part(segment, counted.part.number, content)
            part = counted.part if first else self.files.last_part(segment)
            if self.time_left() < 2 * _SPARE_SECONDS:
                break
        if part is None:
            raise RunError("the parts of the run are gone: begin another one")
        return part

    def _count(self, run: Run, segment: Segment, last: Part | None) -> "_Counted":
        model = run.model(segment.model)
        counted = _Counted(model, datetime.fromtimestamp(run.began, UTC))
        number, start, rows, units = 0, None, 0, 0.0
        if last is not None:
            number, start, rows, units = last.number + 1, last.next, last.rows, last.units
        began = self.clock()
        next_key: Mapping[str, Any] | None = start
        of, rate = run.segments[segment.model], run.read_units[segment.model]
        for page in self.rows.pages(model, segment.number, of, start, rate):
            counted.add(page.rows, self.clock())
            rows, units, next_key = rows + len(page.rows), units + page.units, page.next
            if counted.is_full() or self.time_left() < _SPARE_SECONDS:
                break
        counted.part = Part(
            number,
            next_key,
            rows,
            round(units, 1),
            began.timestamp(),
            self.clock().timestamp(),
            counted.uncountable,
        )
        return counted


@dataclass(slots=True)
class _Counted:
    """What the rows of a part come to by now."""

    model: Model
    began: datetime
    groups: dict[GroupKey, Sums] = field(default_factory=lambda: defaultdict(Sums))
    uncountable: dict[str, tuple[int, Any]] = field(default_factory=dict)
    rows: int = 0
    held: int = 0
    part: Part = field(init=False)

    def is_full(self) -> bool:
        return self.held >= HELD or self.rows >= ROWS

    def add(self, images: list[dict[str, Any]], now: datetime) -> None:
        since = Since.of(self.began, now)
        self.rows += len(images)
        for image in images:
            try:
                part, where = part_of_image(self.model, image)
            except UncountableError as error:
                row_id = str(image.get("id", _NOTHING).get("S"))
                add_uncountable(self.uncountable, {reason_of(error): (1, [row_id])})
                continue
            account_id = part.series[0].account_id
            sums = self.groups[GroupKey(part.minute // DAY, account_id, self.model.name)]
            before = len(sums.minutes)
            at = written(image.get("updatedAt", _NOTHING).get("S"))
            sums.add(part, at, since, where)
            self.held += len(sums.minutes) - before
