"""What backfiller does with its event: the steps of a run over whole tables.

    {"prepare": {"run", "models"?, "repair"?, "segments"?, "partitions"?}}   plans
    {"scan": {"run", "pass", "model", "segment"}}        counts a segment of a table, part by part
    {"reduce": {"run", "partition", "after"?, "number"?}}   compares and repairs
    {"report": {"run"}}                                  adds everything up

statemachines/backfill.asl.json calls them. Each can be repeated: what was done stays done.

A reducer merges the lines of all blocks of its partition in the order of their keys (model,
account, hour), therefore the memory in use grows neither with the tables nor with the number of
parts. Hours without rows are added if they are stored, or have an open check.
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, groupby
from math import inf
from operator import itemgetter
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError, validate_call

from aggregated_metrics.adapters.observability import Report, logger
from aggregated_metrics.adapters.pending_hours import OpenCheck
from aggregated_metrics.adapters.run_files import Part, Run, RunFiles
from aggregated_metrics.adapters.source_rows import described, table_pages
from aggregated_metrics.core.buckets import DAY, HOUR
from aggregated_metrics.core.errors import EventError, RunError, UncountableError
from aggregated_metrics.core.findings import Findings, fitting
from aggregated_metrics.core.metadata import Pass
from aggregated_metrics.core.models import Model
from aggregated_metrics.core.series import HourId, hour_key
from aggregated_metrics.core.totals import GroupKey, Totals, pack, partition_of, read, unpack
from aggregated_metrics.jobs.recount import Check, Recount
from aggregated_metrics.wiring import Process, TimeLeft

PASSES = (1, 2)
LINES_AT_ONCE = 320
MINUTES_AT_ONCE = 50_000
"""A reducer compares so many hours, or minutes, together."""
MINUTES_A_PART = 100_000
ROWS_A_PART = 100_000
"""A part is written after this many minutes or rows: what a scanner that dies reads again."""
_REASONS = 100
_UNINDEXED = "the index does not list one of its rows, and a scan began before it was over"
_ROWS_EACH = 100_000
_SCAN_SPARE, _REDUCE_SPARE = 30.0, 90.0
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")

type Step = tuple[dict[str, Any], Report]
"""The result for the state machine, and the report for the log line."""
type _Line = tuple[GroupKey, int, bytes]
"""A key, the pass (0: of an open check, or the end of a day), and what `totals.read` takes."""
type _Window = tuple[GroupKey | None, list[GroupKey], tuple[Totals, Totals]]
"""Some hours of one model: the key before the first one, their keys, both passes' totals."""
type _Checks = Mapping[GroupKey, Sequence[OpenCheck]]
type _Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
type _Number = Annotated[int, Field(ge=1, le=1000)]


class Backfiller:
    """Carries out the steps of runs."""

    def __init__(self, process: Process, time_left: TimeLeft) -> None:
        self._settings, self._models = process.settings, process.settings.models
        self._now, self._time_left = process.now, time_left
        self._tables = process.aws("dynamodb")
        self._files = RunFiles(process.aws("s3"), process.settings.BACKFILL_BUCKET)
        self._recount = Recount(process, time_left)
        self._pending = self._recount.pending

    def run(self, event: Any) -> Step:
        """Do what the event asks for.

        Raises:
            EventError: the event is none of the shapes above.
            RunError: a pass has not read a table to its end, or the two are too close.
            AggregatedMetricsError: something could not be done; what was repaired is valid.
        """
        match event:
            case {"prepare": {"run": _} as asked}:
                return self._prepare(asked)
            case {"scan": {"run": name, "pass": number, "model": model, "segment": segment}}:
                return self._scan(self._files.run(name), number, model, segment)
            case {"reduce": {"run": name, "partition": partition} as asked}:
                after, number = asked.get("after"), asked.get("number", 0)
                return self._reduce(self._files.run(name), partition, after, number)
            case {"report": {"run": name}}:
                return self._report(self._files.run(name))
        raise EventError(
            "the event is not one of prepare, scan, reduce, report: only the state machine "
            "calls this function, therefore start that (docs/operations.md, Backfill)"
        )

    def _prepare(self, asked: Mapping[str, Any]) -> Step:
        try:
            run = self._plan(**asked)
        except ValidationError as error:
            (first, *_) = error.errors()
            raise EventError(
                f"{first['loc'][0]}: {first['msg']}; "
                "a run takes run, models, repair, segments, partitions"
            ) from error
        units = [
            {"run": run.name, "model": model, "segment": segment}
            for model, number in run.segments.items()
            for segment in range(number)
        ]
        partitions = [{"run": run.name, "partition": i} for i in range(run.partitions)]
        self._files.put(run.name, "run.json", asdict(run))
        result = {"units": units, "partitions": partitions}
        return result, {"run": run.name, "segments": len(units)}

    @validate_call(config=ConfigDict(strict=True))
    def _plan(
        self,
        *,
        run: _Name,
        models: list[str] | None = None,
        repair: bool = True,
        segments: _Number | None = None,
        partitions: _Number | None = None,
    ) -> Run:
        """Plan a run by the sizes of its tables: all that are attached if no models are named.

        Of provisioned capacity at most a quarter is used.
        """
        tables = described(self._tables, self._settings.streams)
        chosen = list(dict.fromkeys(models or tables))
        if unknown := [name for name in chosen if name not in tables]:
            raise EventError(f"no table of {unknown[0]!r} is attached: use {', '.join(tables)}")
        cut = {name: segments or _share(tables[name][0], 1, 64) for name in chosen}
        most, scanners = self._settings.BACKFILL_READ_UNITS, self._settings.BACKFILL_CONCURRENCY
        units = {name: min(most, (tables[name][1] or inf) / 4) for name in chosen}
        return Run(
            run,
            self._now(),
            repair,
            cut,
            partitions or _share(sum(tables[name][0] for name in chosen), 4, 256),
            {name: units[name] / min(scanners, number) for name, number in cut.items()},
            sorted(breakdown for name in chosen for breakdown in self._models[name].breakdowns),
            [check.token for check in self._pending.open_checks()],
        )

    def _scan(self, run: Run, number: int, name: str, segment: int) -> Step:
        """Count rows from the last part's end on, until a part is full, and write it.

        If another scanner of the segment was first, the next step continues from its part.
        """
        place = f"{number}/{name}/{segment:04}"
        part = self._files.last_part(run.name, place)
        done = part is not None and part.done
        if part is None or not part.done:
            part, blocks = self._scan_part(run, name, segment, part)
            done = self._files.put_part(run.name, place, part, blocks) and part.done
        return {"done": done}, {"run": run.name, "model": name, "scanned": part.rows}

    def _scan_part(
        self, run: Run, name: str, segment: int, last: Part | None
    ) -> tuple[Part, list[bytes]]:
        model, totals, began = self._models[name].only(run.breakdowns), Totals(), self._now()
        uncountable = Counter[str]()
        number, key, rows = (last.number + 1, last.next, last.rows) if last else (0, None, 0)
        full, of, rate = rows + ROWS_A_PART, run.segments[name], run.read_units[name]
        stream = self._settings.streams[name]
        for page, following in table_pages(self._tables, stream, model, (segment, of), key, rate):
            count(model, page, totals, uncountable)
            key, rows = following, rows + len(page)
            if rows >= full or len(totals) >= MINUTES_A_PART or self._time_left() < _SCAN_SPARE:
                break
        part = Part(name, number, key, rows, began, self._now(), dict(uncountable))
        return part, pack(totals, name, run.partitions)

    def _passes(self, run: Run, parts: Sequence[Sequence[Part]]) -> dict[str, tuple[Pass, Pass]]:
        """When each model's rows were read, if both passes have read every segment to its end."""
        found = {}
        for model, segments in run.segments.items():
            both: list[Pass] = []
            for number, each in zip(PASSES, parts, strict=True):
                own = [part for part in each if part.model == model]
                if (ended := sum(part.done for part in own)) != segments:
                    raise RunError(
                        f"pass {number} has read {ended} of {segments} segments of {model} to "
                        "their end: redrive the execution"
                    )
                both.append(Pass(min(part.began for part in own), max(part.ended for part in own)))
            first, second = both
            if second.began - first.ended < self._settings.SETTLE_SECONDS:
                raise RunError(
                    f"the second pass over {model} began {second.began - first.ended:.1f} s after "
                    f"the first had ended: SETTLE_SECONDS is {self._settings.SETTLE_SECONDS}"
                )
            found[model] = first, second
        return found

    def _reduce(self, run: Run, partition: int, after: Sequence[Any] | None, number: int) -> Step:
        """Compare and repair the hours of a partition whose keys come after one.

        A failure ends the step, too, if something was done before: the next one does the rest.
        """
        found: dict[str, Any] = {"driftCount": 0}
        begin = last = GroupKey(*after) if after else None
        parts = [self._files.parts(run.name, each) for each in PASSES]
        passes = self._passes(run, parts)
        checks, done = self._checks(run, partition), True
        try:
            for window in _windows(self._lines(run, partition, parts, checks), begin):
                self._settle(run, window, passes, checks, found)
                _, (*_, last), _ = window
                if self._time_left() < _REDUCE_SPARE:
                    done = False
                    break
        except Exception as error:
            if last == begin and not found.get("repaired"):
                raise
            logger.warning("a partition continues in another step", extra={"reason": str(error)})
            done = False
        self._files.put(run.name, f"reduced/{partition:04}-{number:04}.json", found)
        following = {"run": run.name, "partition": partition, "after": last, "number": number + 1}
        # Its numbers are measured by step, therefore none waits for the report.
        numbers = {name: value for name, value in found.items() if isinstance(value, int)}
        report: Report = {"run": run.name, "check": "backfill" if run.repair else "deep", **numbers}
        return {"done": done, "next": None if done else following}, report

    def _checks(self, run: Run, partition: int) -> _Checks:
        """The open checks of a partition that are as they were before pass 1."""
        tokens = frozenset(run.checks)
        found: dict[GroupKey, list[OpenCheck]] = defaultdict(list)
        for check in self._pending.open_checks():
            (account_id, record_type, *_), start = check.hour
            model = self._models.of(record_type)
            is_ours = partition_of(account_id, start, run.partitions) == partition
            if model and model.name in run.segments and is_ours and check.token in tokens:
                found[GroupKey(model.name, account_id, start)].append(check)
        return found

    def _lines(
        self, run: Run, partition: int, parts: Sequence[Sequence[Part]], checks: _Checks
    ) -> Iterable[_Line]:
        """The lines of a partition in the order of their keys, those of both passes and checks."""
        blocks = (
            _numbered(number, block)
            for number, each in zip(PASSES, parts, strict=True)
            for block in self._files.blocks(run.name, each, partition)
        )
        of_checks = ((key, 0, b"") for key in sorted(checks))
        return heapq.merge(*blocks, of_checks, key=itemgetter(0))

    def _stored(
        self, model: Model, before: GroupKey | None, keys: Sequence[GroupKey]
    ) -> Iterable[HourId]:
        """The stored hours, with rows or without, behind the key before a window to its last one.

        Only of days that have a key; those of every record type of the model.
        """
        spans: dict[tuple[str, int], list[int]] = {}
        for key in keys:
            _, account_id, day = key.day
            first = before.hour + HOUR if before is not None and before.day == key.day else day
            spans.setdefault((account_id, day), [first, 0])[1] = key.hour + HOUR
        return self._recount.store.stored_hours(
            (account_id, name, first, end)
            for (account_id, _), (first, end) in spans.items()
            for name in model.counts_into
        )

    def _settle(
        self,
        run: Run,
        window: _Window,
        passes: Mapping[str, tuple[Pass, Pass]],
        checks: _Checks,
        found: dict[str, Any],
    ) -> None:
        """Compare and repair the hours of a window that were over when pass 1 began.

        Stored ones without rows are compared too.
        """
        before, keys, totals = window
        model = self._models[keys[0].model].only(run.breakdowns)  # in both passes alike
        known = {check.hour: check for key in keys for check in checks.get(key, ())}
        counted = totals[0].hours() | totals[1].hours()
        hours = counted.union(known, self._stored(model, before, keys))
        over = [hour for hour in hours if (hour.start + HOUR) * 60 <= passes[model.name][0].began]
        if run.repair:
            self._expect(counted.difference(over), totals)
        check = Check(run.repair, checks=known)
        try:
            if over:
                over.sort(key=hour_key)
                self._recount.settle(over, totals, passes[model.name], check)
        except Exception:
            repaired = check.findings.repaired
            add_found(found, {"driftCount": repaired, "repaired": repaired})
            raise  # the next step finds the rest again
        add_found(found, check.findings.as_result())

    def _expect(self, hours: Iterable[HourId], totals: Iterable[Totals]) -> None:
        """Leave hours with rows that were not over when pass 1 began to a later check."""
        due = dict.fromkeys(hours, int(self._now()))
        self._pending.touch(due)
        for hour in due:
            minutes = chain.from_iterable(each.hour(hour).values() for each in totals)
            is_listed = self._models.lists(hour.series.record_type)
            if not is_listed or any(any(total.unindexed) for total in minutes):
                self._pending.open_check(hour, _UNINDEXED, deferred=True)

    def _report(self, run: Run) -> Step:
        whole = Findings().as_result()
        for found in self._files.reduced(run.name):
            add_found(whole, found)
        parts = self._files.parts(run.name, PASSES[-1])
        uncountable = Counter[str]()
        for part in parts:
            uncountable.update(part.uncountable)
        whole |= {
            "run": run.name,
            "repair": run.repair,
            "rows": sum(part.rows for part in parts if part.done),
            "seconds": round(self._now() - run.began, 1),
            "uncountableCount": uncountable.total(),
            "uncountable": {reason[:200]: n for reason, n in uncountable.most_common(_REASONS)},
        }
        self._files.put(run.name, "report.json", whole)
        return whole, {"run": run.name, "uncountable": uncountable.total()}


def count(
    model: Model, images: Iterable[Mapping[str, Any]], totals: Totals, uncountable: Counter[str]
) -> None:
    """Add rows to what a part adds up to; count by reason those that cannot be counted."""
    for image in images:
        try:
            part = model.part_of(image)
        except UncountableError as error:
            uncountable[_QUOTED.sub("…", str(error))] += 1
            continue
        if part is not None:
            (minute, who, _), sums, indexed = part
            totals.add(model.image_id(image), model.series(who), minute, sums, indexed=indexed)


def add_found(found: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add numbers, and lists as far as they fit half a result."""
    for name, value in more.items():
        if isinstance(value, list):
            found[name] = fitting([*found.get(name, ()), *value])
        else:
            found[name] = found.get(name, 0) + value


def _share(rows: int, least: int, most: int) -> int:
    return min(most, max(least, -(-rows // _ROWS_EACH)))


def _numbered(number: int, block: bytes) -> Iterator[_Line]:
    return ((key, number, content) for key, content in unpack(block))


def _windows(lines: Iterable[_Line], after: GroupKey | None) -> Iterator[_Window]:
    """Every line whose key comes after one, some at a time."""
    keys: list[GroupKey] = []
    totals = Totals(), Totals()
    for key, same in groupby(_with_ends(lines), key=itemgetter(0)):
        if after is not None and key <= after:
            continue
        is_full = len(keys) >= LINES_AT_ONCE or sum(map(len, totals)) >= MINUTES_AT_ONCE
        if keys and (is_full or key.model != keys[0].model):
            yield after, keys, totals
            after, keys, totals = keys[-1], [], (Totals(), Totals())
        keys.append(key)
        for _, number, content in same:
            for total in read(key, content) if number else ():
                totals[number - 1].put(*total)
    if keys:
        yield after, keys, totals


def _with_ends(lines: Iterable[_Line]) -> Iterator[_Line]:
    """The lines, and one for the last hour of each account's day that has any."""
    for (model, account_id, day), same in groupby(lines, key=lambda line: line[0].day):
        yield from same
        yield GroupKey(model, account_id, day + DAY - HOUR), 0, b""
