"""What backfiller does with its event: the steps of a run over whole tables.

    {"prepare": {"run", "models"?, "repair"?, "segments"?, "partitions"?}}   plans
    {"scan": {"run", "pass", "model", "segment"}}        counts a segment of a table, part by part
    {"gather": {"run"}}                                  checks that both passes are complete
    {"reduce": {"run", "partition", "after"?, "number"?}}   compares and repairs
    {"report": {"run"}}                                  adds everything up

statemachines/backfill.asl.json calls them. Each can be repeated: what was done stays done.

A reducer merges the lines of all blocks of its partition in the order of their keys (model,
account, hour), therefore the memory in use grows neither with the tables nor with the number of
parts. Hours without rows are added if they are stored, or have an open check.
"""

import heapq
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, chain, groupby
from operator import attrgetter, itemgetter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggregated_metrics.adapters.observability import Report, logger
from aggregated_metrics.adapters.pending_hours import OpenCheck, PendingHours
from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.adapters.run_files import Part, Run, RunFiles, Uncountable, segment_prefix
from aggregated_metrics.adapters.source_rows import Table, TableRows
from aggregated_metrics.core.buckets import DAY, HOUR
from aggregated_metrics.core.errors import EventError, RunError, UncountableError
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.metadata import Pass
from aggregated_metrics.core.models import Model, Models
from aggregated_metrics.core.series import HourId, Series, hour_key
from aggregated_metrics.core.totals import GroupKey, Totals, pack, partition_of, read, unpack
from aggregated_metrics.jobs.recount import Recount

PASSES = (1, 2)
LINES_AT_ONCE = 320
MINUTES_AT_ONCE = 50_000
"""A reducer compares so many hours, or minutes, together."""
MINUTES_A_PART = 100_000
ROWS_A_PART = 100_000
"""A part is written after this many minutes or rows: what a scanner that dies reads again."""
MOST_BYTES = 200_000
"""Of a result: Step Functions takes 256 KB from one state to the next."""
SAMPLES = 100
"""How many rows of each reason are named that cannot be counted."""
_UNINDEXED = "the index does not list one of its rows, and a scan began before it was over"
_ROWS_EACH = 100_000
_MOST_SEGMENTS = 64
_PARTITIONS = (4, 256)
_SCAN_SPARE, _REDUCE_SPARE = 30.0, 90.0
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")

type Step = tuple[dict[str, Any], Report]
"""The result for the state machine, and the report for the log line."""
type _Line = tuple[GroupKey, int, bytes]
"""A key, the pass (0: of an open check), and what `totals.read` takes."""
type _Span = tuple[str, int, int]
"""An account, and a range of epoch minutes `[first, end)` within one UTC day."""


@dataclass(slots=True)
class Window:
    """Some hours of one model, and what both passes have counted of them.

    Attributes:
        before: the key of the line before the first one.
        keys: of the lines that were read; at least one.
        totals: of pass 1 and of pass 2.
        following: the key of the line after the last one.
    """

    before: GroupKey | None
    keys: list[GroupKey] = field(default_factory=list)
    totals: tuple[Totals, Totals] = field(default_factory=lambda: (Totals(), Totals()))
    following: GroupKey | None = None

    def is_full(self, following: GroupKey) -> bool:
        """Whether the next line belongs to another window."""
        return (
            following.model != self.keys[-1].model
            or len(self.keys) >= LINES_AT_ONCE
            or sum(map(len, self.totals)) >= MINUTES_AT_ONCE
        )

    def add(self, key: GroupKey, lines: Iterable[_Line]) -> None:
        """Add the lines of a key."""
        self.keys.append(key)
        for _, number, content in lines:
            for target, total in read(key, content) if number else ():
                self.totals[number - 1].put(target, total)


@dataclass(frozen=True, slots=True)
class Backfiller:
    """Carries out the steps of runs.

    Attributes:
        models: those that are counted, with the breakdowns that are switched on.
        read_units: what all scanners of a table together may use a second.
        concurrency: how many scanners work at once.
    """

    rows: TableRows
    files: RunFiles
    recount: Recount
    pending: PendingHours
    models: Models
    clock: Callable[[], datetime]
    time_left: Callable[[], float]
    read_units: float
    concurrency: int

    def run(self, event: Any) -> Step:
        """Do what the event asks for.

        Raises:
            EventError: the event is none of the shapes above.
            RunError: a step was called before the one that it needs.
            AggregatedMetricsError: something could not be done; what was repaired is valid.
        """
        steps: dict[str, tuple[Callable[[Any], Step], set[str]]] = {
            "prepare": (self._prepare, {"run"}),
            "scan": (self._scan, {"run", "pass", "model", "segment"}),
            "gather": (self._gather, {"run"}),
            "reduce": (self._reduce, {"run", "partition"}),
            "report": (self._report, {"run"}),
        }
        if isinstance(event, Mapping) and len(event) == 1:
            ((name, asked),) = event.items()
            step, needed = steps.get(name, (None, set()))
            if step and isinstance(asked, Mapping) and needed <= set(asked):
                return step(asked)
        raise EventError(
            f"the event is not one of {', '.join(steps)}: only the state machine calls this "
            "function, therefore start that (docs/operations.md, Backfill)"
        )

    def _prepare(self, asked: Any) -> Step:
        planned = plan(
            asked,
            self.rows.describe(),
            self.models,
            began=self._now(),
            read_units=self.read_units,
            concurrency=self.concurrency,
        )
        partitions = [{"run": planned.name, "partition": i} for i in range(planned.partitions)]
        result = {"units": planned.units(), "partitions": partitions}
        if (size := len(json.dumps(result))) > MOST_BYTES:
            raise EventError(
                f"the plan has {size:,} bytes, and Step Functions takes {MOST_BYTES:,}: ask for "
                "fewer segments or models"
            )
        run = self.files.begin(planned)
        self._keep_checks(run)
        return result, {"run": run.name, "segments": sum(run.segments.values())}

    def _keep_checks(self, run: Run) -> None:
        """Keep the open checks, by partition: only under these tokens may a reducer delete them.

        One of a record type that nothing counts any more is deleted.
        """
        kept: dict[int, list[Any]] = defaultdict(list)
        for check in self.pending.open_checks():
            series, start = check.hour
            model = self.models.of(series.record_type)
            if self.pending.is_counted(check, self.models) and model and model.name in run.segments:
                partition = partition_of(series.account_id, start, run.partitions)
                kept[partition].append([model.name, series, start, *check[1:]])
        for partition in range(run.partitions):
            self.files.put(run.name, f"checks/{partition:04}.json", kept[partition])

    def _scan(self, asked: Any) -> Step:
        model, segment = asked["model"], asked["segment"]
        prefix = segment_prefix(asked["run"], asked["pass"], model, segment)
        run = self.files.run(asked["run"])
        part = self.files.last_part(prefix)
        while part is None or not part.done:
            part = self._scan_part(run, model, segment, prefix, part)
            if self.time_left() < 2 * _SCAN_SPARE:
                break
        report: Report = {"run": run.name, "model": model, "scanned": part.rows}
        return {"done": part.done, "rows": part.rows}, report

    def _scan_part(self, run: Run, name: str, segment: int, prefix: str, last: Part | None) -> Part:
        """Count rows from the last part's end on, until a part is full, and write it.

        Returns the newest part of the segment: another scanner's if that one was first.
        """
        model = model_of(run, self.models, name)
        totals, began = Totals(), self._now()
        uncountable: dict[str, tuple[int, Sequence[str]]] = {}
        number, key, rows = (last.number + 1, last.next, last.rows) if last else (0, None, 0)
        full, of, rate = rows + ROWS_A_PART, run.segments[name], run.read_units[name]
        for page, following in self.rows.pages(model, segment, of, key, rate):
            count(model, page, totals, uncountable)
            key, rows = following, rows + len(page)
            if rows >= full or len(totals) >= MINUTES_A_PART or self.time_left() < _SCAN_SPARE:
                break
        part = Part(number, key, rows, began, self._now(), uncountable)
        content = part.encode(pack(totals, model.name, run.partitions))
        if self.files.put_part(prefix, number, content):
            return part
        newest = self.files.last_part(prefix)
        if newest is None:
            raise RunError("the parts of the run were deleted: begin another one")
        return newest

    def _gather(self, asked: Any) -> Step:
        run = self.files.run(asked["run"])
        keys = {str(number): self.files.parts(run.name, number) for number in PASSES}
        heads = [self._heads(run, number) for number in PASSES]
        passes = {model: [_span(parts[model]) for parts in heads] for model in run.segments}
        for model, (first, second) in passes.items():
            if second.began - first.ended < self.recount.settle_seconds:
                raise RunError(
                    f"the second pass over {model} began {second.began - first.ended:.1f} s after "
                    f"the first had ended: SETTLE_SECONDS is {self.recount.settle_seconds}"
                )
        self.files.put(run.name, "gathered.json", {"passes": passes, "parts": keys})
        return {"run": run.name}, {"run": run.name, "parts": sum(map(len, keys.values()))}

    def _heads(self, run: Run, number: int) -> dict[str, list[Part]]:
        """A pass's parts by model.

        Raises:
            RunError: a segment has not been read to its end.
        """
        found: dict[str, list[Part]] = {model: [] for model in run.segments}
        for model, part in self.files.heads(self.files.parts(run.name, number)):
            found[model].append(part)
        for model, segments in run.segments.items():
            if (ended := sum(part.done for part in found[model])) != segments:
                raise RunError(
                    f"pass {number} has read {ended} of {segments} segments of {model} to their "
                    "end: redrive the execution"
                )
        return found

    def _reduce(self, asked: Any) -> Step:
        run = self.files.run(asked["run"])
        partition, number = asked["partition"], asked.get("number", 0)
        after = GroupKey(*asked["after"]) if asked.get("after") else None
        found: dict[str, Any] = {}
        last, done = self._reduced(run, partition, after, found)
        self.files.put(run.name, f"reduced/{partition:04}-{number:04}.json", found)
        following = dict(asked) | {"after": last, "number": number + 1}
        return {"done": done, "next": None if done else following}, _measured(run, found)

    def _reduced(
        self, run: Run, partition: int, after: GroupKey | None, found: dict[str, Any]
    ) -> tuple[GroupKey | None, bool]:
        """Compare and repair the hours of a partition whose keys come after one.

        Returns the last key that is done, and whether all are. A failure ends it too, if something
        was done before: the next step does the rest.

        Raises:
            RunError: the run has not been gathered.
            AggregatedMetricsError: nothing could be done.
        """
        last, checks = after, self._checks(run, partition)
        gathered = self.files.get(run.name, "gathered.json")
        try:
            for window in self._windows(gathered["parts"], partition, checks, after):
                first, second = gathered["passes"][window.keys[0].model]
                self._settle(run, window, (Pass(*first), Pass(*second)), checks, found)
                last = window.keys[-1]
                if self.time_left() < _REDUCE_SPARE:
                    return last, False
        except Exception as error:
            if last == after and not found.get("repaired"):
                raise
            logger.warning("a partition continues in another step", extra={"reason": str(error)})
            return last, False
        return last, True

    def _checks(self, run: Run, partition: int) -> dict[GroupKey, list[OpenCheck]]:
        """The open checks of a partition as they were before pass 1."""
        found: dict[GroupKey, list[OpenCheck]] = {}
        for model, series, start, *rest in self.files.get(run.name, f"checks/{partition:04}.json"):
            check = OpenCheck(HourId(Series(*series), start), *rest)
            key = GroupKey(model, check.hour.series.account_id, start)
            found.setdefault(key, []).append(check)
        return found

    def _windows(
        self,
        parts: Mapping[str, Sequence[str]],
        partition: int,
        checks: Iterable[GroupKey],
        after: GroupKey | None,
    ) -> Iterator[Window]:
        """Every line of a partition whose key comes after one, some at a time."""
        blocks = (
            _numbered(number, block)
            for number in PASSES
            for block in self.files.blocks(parts[str(number)], partition)
        )
        of_checks = ((key, 0, b"") for key in sorted(checks))
        merged = heapq.merge(*blocks, of_checks, key=itemgetter(0))
        window = Window(after)
        for key, lines in groupby(merged, key=itemgetter(0)):
            if after is not None and key <= after:
                continue
            if window.keys and window.is_full(key):
                window.following = key
                yield window
                window = Window(window.keys[-1])
            window.add(key, lines)
        if window.keys:
            yield window

    def _stored(self, model: Model, spans: Sequence[_Span]) -> Iterable[HourId]:
        """The stored hours of some accounts' days, of every record type of a model."""
        days = [
            (Series(account_id, name), first // DAY * DAY)
            for account_id, first, _ in spans
            for name in model.plain_types
        ]
        within = {(account_id, first // DAY): (first, end) for account_id, first, end in spans}
        for hour in self.recount.store.stored_hours(days):
            first, end = within[hour.series.account_id, hour.start // DAY]
            if first <= hour.start < end:
                yield hour
        asked = [(who, name, first, end) for who, first, end in spans for name in model.breakdowns]
        find = self.recount.store.breakdown_hours
        yield from chain.from_iterable(map_concurrently(lambda each: find(*each), asked))

    def _settle(
        self,
        run: Run,
        window: Window,
        passes: tuple[Pass, Pass],
        checks: Mapping[GroupKey, Sequence[OpenCheck]],
        found: dict[str, Any],
    ) -> None:
        """Compare and repair the hours of a window that were over when pass 1 began.

        Stored ones without rows are compared too.
        """
        model = model_of(run, self.models, window.keys[0].model)
        known = {check.hour: check for key in window.keys for check in checks.get(key, ())}
        hours = set(known).union(*(totals.hours() for totals in window.totals))
        hours.update(self._stored(model, _spans(window.before, window.keys, window.following)))
        over = [hour for hour in hours if (hour.start + HOUR) * 60 <= passes[0].began]
        over.sort(key=hour_key)
        if run.repair:
            self._expect(window, over)
        findings = Findings()
        try:
            if over:
                self.recount.settle(
                    over, *window.totals, passes, known, findings, repair=run.repair
                )
        except Exception:
            add_found(found, {"driftCount": findings.repaired, "repaired": findings.repaired})
            raise  # the next step finds the rest again
        add_found(found, findings.as_result())

    def _expect(self, window: Window, over: Sequence[HourId]) -> None:
        """Leave hours with rows that were not over when pass 1 began to a later check."""
        first, second = (totals.hours() for totals in window.totals)
        later = (first | second).difference(over)
        self.pending.touch(dict.fromkeys(later, int(self._now())))
        for hour in later:
            minutes = chain.from_iterable(each.hour(hour).values() for each in window.totals)
            is_listed = self.models.lists(hour.series.record_type)
            if not is_listed or any(any(total.unindexed) for total in minutes):
                self.pending.open_check(hour, _UNINDEXED, deferred=True)

    def _report(self, asked: Any) -> Step:
        run = self.files.run(asked["run"])
        whole: dict[str, Any] = {}
        for found in self.files.reduced(run.name):
            add_found(whole, found)
        uncountable: dict[str, tuple[int, Sequence[str]]] = {}
        parts = [part for parts in self._heads(run, PASSES[-1]).values() for part in parts]
        for part in parts:
            add_uncountable(uncountable, part.uncountable)
        rows = sum(part.rows for part in parts if part.done)
        numbers = Counter({reason: number for reason, (number, _) in uncountable.items()})
        result = {
            **Findings().as_result(),
            **whole,
            "run": run.name,
            "repair": run.repair,
            "rows": rows,
            "seconds": round(self._now() - run.began, 1),
            "uncountableCount": numbers.total(),
            "uncountable": {reason[:200]: n for reason, n in numbers.most_common(SAMPLES)},
        }
        self.files.put(run.name, "uncountable.json", uncountable)
        self.files.put(run.name, "report.json", result)
        return result, {"run": run.name, "scanned": rows, "uncountable": numbers.total()}

    def _now(self) -> float:
        return self.clock().timestamp()


def count(
    model: Model,
    images: Iterable[Mapping[str, Any]],
    totals: Totals,
    uncountable: dict[str, tuple[int, Sequence[str]]],
) -> None:
    """Add rows to what a part adds up to."""
    for image in images:
        row_id = model.image_id(image)
        try:
            contribution = model.of_image(image)
        except UncountableError as error:
            reason = _QUOTED.sub("…", str(error))
            add_uncountable(uncountable, {reason: (1, [row_id])})
            continue
        if contribution is not None:
            totals.add(row_id, contribution)


def add_found(found: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add numbers, and lists as far as they fit a result."""
    for name, value in more.items():
        if isinstance(value, list):
            found[name] = _cut([*found.get(name, ()), *value])
        else:
            found[name] = found.get(name, 0) + value


class _Asked(BaseModel):
    """What a run may be asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: str = Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")
    models: list[str] | None = None
    repair: bool = True
    segments: int | None = Field(default=None, ge=1, le=1000)
    partitions: int | None = Field(default=None, ge=1, le=1000)


def plan(
    asked: Mapping[str, Any],
    tables: Mapping[str, Table],
    models: Models,
    *,
    began: float,
    read_units: float,
    concurrency: int,
) -> Run:
    """The plan of a run: {"run", "models"?, "repair"?, "segments"?, "partitions"?}.

    `read_units` are a table's, all scanners together; of provisioned capacity at most a quarter is
    used.

    Raises:
        EventError: a field is missing, wrong or unknown.
    """
    given, chosen = _chosen(asked, tables)
    segments = {
        name: given.segments or _share(tables[name][0], 1, _MOST_SEGMENTS) for name in chosen
    }
    return Run(
        given.run,
        began,
        given.repair,
        segments,
        given.partitions or _share(sum(tables[name][0] for name in chosen), *_PARTITIONS),
        {
            name: _rate(tables[name], read_units) / min(concurrency, segments[name])
            for name in chosen
        },
        sorted(breakdown for name in chosen for breakdown in models[name].breakdowns),
    )


def _chosen(asked: Mapping[str, Any], tables: Mapping[str, Table]) -> tuple[_Asked, list[str]]:
    """What is asked for, and the models; all of them if none is named."""
    try:
        given = _Asked.model_validate(asked)
    except ValidationError as error:
        (first, *_) = error.errors()
        names = ", ".join(_Asked.model_fields)
        raise EventError(f"{first['loc'][0]}: {first['msg']}; a run takes {names}") from error
    chosen = dict.fromkeys(given.models or tables)
    if unknown := [name for name in chosen if name not in tables]:
        raise EventError(f"no table of {unknown[0]!r} is attached: use {', '.join(tables)}")
    return given, list(chosen)


def _share(rows: int, least: int, most: int) -> int:
    return min(most, max(least, -(-rows // _ROWS_EACH)))


def _rate(table: Table, read_units: float) -> float:
    _, provisioned = table
    return read_units if provisioned is None else min(read_units, provisioned / 4)


def _span(parts: Sequence[Part]) -> Pass:
    return Pass(min(part.began for part in parts), max(part.ended for part in parts))


def _measured(run: Run, found: Mapping[str, Any]) -> Report:
    """A reducer's line: its numbers are measured by step, therefore none waits for the report."""
    numbers = {name: value for name, value in found.items() if isinstance(value, int)}
    numbers["drift"] = numbers.get("driftCount", 0)
    return {"run": run.name, "check": "backfill" if run.repair else "deep", **numbers}


def add_uncountable(found: dict[str, tuple[int, Sequence[str]]], more: Uncountable) -> None:
    """Add rows that cannot be counted, by reason; only the first of each are named."""
    for reason, (number, ids) in more.items():
        before, named = found.get(reason, (0, []))
        found[reason] = (before + number, [*named, *ids][:SAMPLES])


def _cut(items: Sequence[Any]) -> list[Any]:
    """The first of them that fit half a result."""
    sizes = accumulate(len(json.dumps(item)) for item in items)
    return [item for item, size in zip(items, sizes, strict=True) if size <= MOST_BYTES // 2]


def model_of(run: Run, models: Models, name: str) -> Model:
    """How rows of a model are counted in a run, in both passes alike."""
    return models[name].only(run.breakdowns)


def _numbered(number: int, block: bytes) -> Iterator[_Line]:
    return ((key, number, content) for key, content in unpack(block))


def _spans(
    before: GroupKey | None, keys: Sequence[GroupKey], following: GroupKey | None
) -> list[_Span]:
    """The ranges that a window covers: whole days, where it does not share one with its neighbours.

    Args:
        before: the key of the line before the window.
        keys: of the window.
        following: the key of the line after it.
    """
    spans = []
    for day, same in groupby(keys, key=attrgetter("day")):
        _, account_id, first = day
        end = first + DAY
        if before is not None and before.day == day:
            first = before.hour + HOUR
        if following is not None and following.day == day:
            end = list(same)[-1].hour + HOUR
        spans.append((account_id, first, end))
    return spans
