"""What backfiller does with its event: the steps of a run over whole tables.

    {"prepare": {"run", "repair"?, "models"?, "segments"?, "partitions"?}}   plans; gives the units
    {"scan": {"run", "look", "model", "segment"}}                   reads a segment on
    {"gather": {"run"}}                                             checks that both looks are whole
    {"reduce": {"run", "partition", "after"?, "number"?}}           compares and sets right
    {"report": {"run"}}                                             adds everything up

statemachines/backfill.asl.json calls them. Each can be sent again: what was done stays done.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.adapters.table_rows import TableRows
from aggregated_metrics.core.errors import EventError, RunError
from aggregated_metrics.core.record_types import model_of
from aggregated_metrics.core.row_sums import GroupKey
from aggregated_metrics.core.runs import (
    LOOKS,
    Part,
    Reading,
    Run,
    add_uncountable,
    fence_of,
    plan_run,
    segment_of,
)
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.reducer import LISTED, Reducer
from aggregated_metrics.jobs.scanner import Scanner

_COUNTED = ("drift", "repaired", "moving", "undecided")
_TOTALS = ("hours", "minutes", "completed", "written")


class Step(NamedTuple):
    """What a step came to: `result` goes to the state machine, `report` into the line."""

    result: dict[str, Any]
    report: Report


@dataclass(frozen=True, slots=True)
class Backfiller:
    """Carries out the steps of runs; every port is an argument.

    `read_units` is what all scanners of a table may use a second, `concurrency` how many there are.
    """

    rows: TableRows
    files: RunFiles
    checker: Checker
    clock: Callable[[], datetime]
    time_left: Callable[[], float]
    read_units: float
    concurrency: int
    breakdowns: Collection[str] = frozenset()

    def run(self, event: Any) -> Step:
        """Do what the event asks for.

        Raises:
            EventError: the event is none of the shapes above.
            RunError: a step was called before the one that it needs.
            AggregatedMetricsError: something could not be done; what was repaired is valid.
        """
        steps: dict[str, Callable[[Any], Step]] = {
            "prepare": self._prepare,
            "scan": self._scan,
            "gather": self._gather,
            "reduce": self._reduce,
            "report": self._report,
        }
        if isinstance(event, Mapping) and len(event) == 1:
            ((name, asked),) = event.items()
            if name in steps and isinstance(asked, Mapping):
                return steps[name](asked)
        raise EventError(
            f"the event is not one of {', '.join(steps)}: only the state machine calls this "
            "function, so start that (docs/operations.md, Backfill)"
        )

    def _prepare(self, asked: Any) -> Step:
        run = self.files.begin(
            plan_run(
                asked,
                self.rows.describe(),
                began=self.clock().timestamp(),
                read_units=self.read_units,
                concurrency=self.concurrency,
                breakdowns=self.breakdowns,
            )
        )
        units = {
            "first": run.units(LOOKS[0]),
            "second": run.units(LOOKS[1]),
            "partitions": [{"run": run.name, "partition": i} for i in range(run.partitions)],
        }
        return Step(units, {"run": run.name, "items": sum(run.items.values())})

    def _scan(self, asked: Any) -> Step:
        segment = segment_of(asked)
        scanner = Scanner(self.rows, self.files, self.clock, self.time_left)
        part = scanner.scan(self.files.run(segment.run), segment)
        report: Report = {"run": segment.run, "model": segment.model, "scanned": part.rows}
        return Step({"done": part.done, "rows": part.rows, "units": part.units}, report)

    def _gather(self, asked: Any) -> Step:
        run = self.files.run(_name(asked))
        heads = {look: self._heads(run, look) for look in LOOKS}
        readings = {
            (model, look): Reading(
                min(part.began for part in parts), max(part.ended for part in parts)
            )
            for look, by_model in heads.items()
            for model, parts in by_model.items()
        }
        fences = {
            model: fence_of(run, readings[model, 1], readings[model, 2], self.checker.settle)
            for model in run.segments
        }
        parts = {str(look): [key for _, key in self.files.parts(run.name, look)] for look in LOOKS}
        moments = {model: list(fence[:3]) for model, fence in fences.items()}
        self.files.put(run.name, "gathered.json", {"fences": moments, "parts": parts})
        found = {"run": run.name, "parts": sum(len(keys) for keys in parts.values())}
        return Step(found, {"run": run.name})

    def _heads(self, run: Run, look: int) -> dict[str, list[Part]]:
        """A look's parts by model.

        Raises:
            RunError: a segment has not been read to its end.
        """
        found: dict[str, list[Part]] = {model: [] for model in run.segments}
        ended: Counter[str] = Counter()
        for model, key in self.files.parts(run.name, look):
            part = self.files.head(key)
            found[model].append(part)
            ended[model] += part.done
        for model, number in run.segments.items():
            if ended[model] != number:
                raise RunError(
                    f"look {look} has read {ended[model]} of {number} segments of {model} to "
                    "their end: redrive the execution"
                )
        return found

    def _reduce(self, asked: Any) -> Step:
        run = self.files.run(_name(asked))
        partition, number = _index(asked, "partition"), _index(asked, "number", 0)
        after = asked.get("after")
        reducer = Reducer(self.checker, self.files, self.time_left)
        reduced = reducer.reduce(run, partition, GroupKey(*after) if after else None)
        content = reduced.as_json()
        self.files.put(run.name, f"reduced/{partition:04}-{number:04}.json", content)
        report: Report = {"run": run.name, "hours": reduced.hours, "minutes": reduced.minutes}
        report |= {f"run{name.title()}": sum(content[name].values()) for name in _COUNTED}
        next_event = dict(asked) | {"after": reduced.after, "number": number + 1}
        is_done = reduced.is_done
        return Step({"done": is_done, "next": None if is_done else next_event}, report)

    def _report(self, asked: Any) -> Step:
        run = self.files.run(_name(asked))
        counted: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}
        summary: dict[str, Any] = {"run": run.name, "repair": run.repair}
        samples: list[Any] = []
        totals: Counter[str] = Counter()
        for _, each in self.files.reduced(run.name):
            for name in _COUNTED:
                counted[name].update(each.get(name, {}))  # a former version wrote fewer
            totals.update({name: each[name] for name in _TOTALS})
            samples += each["samples"][: LISTED - len(samples)]
        uncountable: dict[str, tuple[int, Sequence[str]]] = {}
        rows: Counter[str] = Counter()
        units = 0.0
        for look in LOOKS:
            for model, parts in self._heads(run, look).items():
                last = [part for part in parts if part.done]
                units += sum(part.units for part in last)
                if look == LOOKS[-1]:
                    rows[model] = sum(part.rows for part in last)
                    for part in parts:
                        add_uncountable(uncountable, part.uncountable)
        summary |= {
            "rows": dict(rows),
            "readUnits": round(units, 1),
            "seconds": round(self.clock().timestamp() - run.began, 1),
            **{name: totals[name] for name in _TOTALS},
            **{name: dict(counter) for name, counter in counted.items()},
            "uncountable": {reason: number for reason, (number, _) in uncountable.items()},
        }
        summary["setAsideDone"] = self._forget_set_aside(run, summary)
        self.files.put(run.name, "uncountable.json", uncountable)
        self.files.put(run.name, "report.json", summary | {"samples": samples})
        report: Report = {"run": run.name, "scanned": rows.total()}
        report |= {f"run{name.title()}": counter.total() for name, counter in counted.items()}
        if not run.repair:
            report["deepDrift"] = counted["drift"].total()
        return Step(summary, report)

    def _forget_set_aside(self, run: Run, summary: Mapping[str, Any]) -> int:
        """Hours that were set aside before the run have been checked by it.

        What it found wrong and has not repaired stays: so it does in a record type that has any.
        What was moving stays too, unless the run repairs: then it has marked such hours anew.
        """
        done = 0
        pending = self.checker.pending
        for mark in pending.aside():
            name = mark.hour.series.record_type
            left = summary["drift"].get(name, 0) - summary["repaired"].get(name, 0)
            left += 0 if run.repair else summary["moving"].get(name, 0)
            left += summary["undecided"].get(name, 0)
            # Not by when it was closed: set aside since, it may not have been there to be compared.
            if mark.due <= run.began and not left and _is_read(name, run):
                done += pending.remove(mark)
        return done


def _is_read(record_type: str, run: Run) -> bool:
    try:
        model_of(record_type)
    except KeyError:
        return True  # nobody counts it any more
    return run.counts(record_type)


def _name(asked: Mapping[str, Any]) -> str:
    name = asked.get("run")
    if not isinstance(name, str) or not name:
        raise EventError(f"run is {name!r}, not the name of a run")
    return name


def _index(asked: Mapping[str, Any], name: str, otherwise: int | None = None) -> int:
    value = asked.get(name, otherwise)
    if type(value) is not int or value < 0:
        raise EventError(f"{name} is {value!r}, not a number from 0")
    return value
