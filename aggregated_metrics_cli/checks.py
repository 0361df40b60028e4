"""verify, repair and backfill: each starts an execution of the state machine and follows it."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table

from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.executions import Machine, follow
from aggregated_metrics_cli.exit_codes import DONE, FAILED, LEFT
from aggregated_metrics_cli.output import Output, styled
from aggregated_metrics_cli.plan import Plan, plan_of
from aggregated_metrics_cli.tables import difference

_LEFT = ("inFlux", "unverified", "deferred")
"""What a report counts besides drift that may be wrong."""
_MOST_SHOWN = 200
_HINTS = {
    "inFlux": "{} minutes are in flux: they changed while they were compared. Run this again in a "
    "few minutes.",
    "unverified": "{} hours could not be compared: see the reconciler's log.",
    "deferred": "{} hours are deferred: only a scan of the table may settle them: "
    "aggregated-metrics backfill --models …",
    "notReachedCount": "{} hours were not reached: for older hours run aggregated-metrics "
    "backfill --models …",
}


def verify(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Compare a range, or whole tables; returns the exit code."""
    if _names_range(options):
        return _execute(options, deployment, output, lambda: _range(options, repair=False))
    return _execute(options, deployment, output, lambda: _tables(options, repair=False))


def repair(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Repair a range, or the hours of quarantined records or lost batches; returns the exit code.

    Raises:
        CommandError: not exactly one of them is named.
    """
    queues = {"quarantine": options.quarantine, "failedBatches": options.failed_batches}
    asked = [name for name, wanted in queues.items() if wanted]
    if len(asked) + _names_range(options) > 1:
        raise CommandError("name one of a range, --quarantine and --failed-batches")
    if asked:
        return _execute(options, deployment, output, lambda: {asked[0]: {"repair": True}})
    return _execute(options, deployment, output, lambda: _range(options, repair=True))


def backfill(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Count whole tables; returns the exit code."""
    return _execute(options, deployment, output, lambda: _tables(options, repair=True))


def _names_range(options: Namespace) -> bool:
    return any((options.account, options.start, options.end, options.record_types))


def _range(options: Namespace, *, repair: bool) -> dict[str, Any]:
    if not (options.account and options.start and options.end):
        raise CommandError("a range needs --account, --start and --end")
    if options.end <= options.start:
        raise CommandError("--end must be later than --start")
    asked = {"accountId": options.account, "start": options.start, "end": options.end}
    named = {"recordTypes": options.record_types} if options.record_types else {}
    return {"range": {**asked, **named, "repair": repair}}


def _tables(options: Namespace, *, repair: bool) -> dict[str, Any]:
    names = ("models", "since", "until", "segments")
    given = {name: value for name in names if (value := getattr(options, name))}
    return {"tables": {**given, "repair": repair}}


def _execute(
    options: Namespace,
    deployment: Deployment,
    output: Output,
    asked: Callable[[], Mapping[str, Any]],
) -> int:
    """Start and follow, follow, or stop an execution; whole tables are confirmed first."""
    machine = Machine(deployment.aws("stepfunctions"), deployment.needs("BackfillStateMachine"))
    if options.stop:
        machine.stop(options.stop)
        output.say(f"{options.stop} is stopped; what it has repaired stays so")
        return DONE
    name = options.follow
    if name is None:
        document = asked()
        if "tables" in document:
            plan = plan_of(deployment, options.models or (), options.segments)
            if options.plan:
                output.show({"plan": plan._asdict()}, *plan.lines())
                return DONE
            if not options.yes:
                _confirm(plan, output)
        name = machine.start(options.command, document)
        output.say(f"{name} is started; it goes on if this command ends")
    report = follow(machine, name, options, output)
    output.show(report, *_drawn(report))
    return exit_code(report)


def _confirm(plan: Plan, output: Output) -> None:
    for line in plan.lines():
        output.say(line)
    if not output.ask("Start? [y/N] ").lower().startswith("y"):
        raise CommandError("not started; --yes starts without asking")


def exit_code(report: Mapping[str, Any]) -> int:
    """0 if everything is right, 1 if something is or may be wrong, 2 if it was not all compared."""
    if report.get("notReachedCount"):
        return FAILED
    wrong = report.get("driftCount", 0) - report.get("repaired", 0)
    return LEFT if wrong or any(report.get(name) for name in _LEFT) else DONE


def _drawn(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A report for people: what differs, then what the numbers mean."""
    drift = report.get("drift", ())
    if drift:
        yield _drift(drift[:_MOST_SHOWN])
    if (hidden := report.get("driftCount", 0) - len(drift[:_MOST_SHOWN])) > 0:
        yield styled(f"… and {hidden:,} more")
    for each in report.get("notReached", ())[:_MOST_SHOWN]:
        yield styled(f"not reached: {_place(each)}")
    yield styled(_summary(report), "bold red" if exit_code(report) else "bold green")
    for name, hint in _HINTS.items():
        if number := report.get(name):
            yield styled(hint.format(f"{number:,}"))


def _summary(report: Mapping[str, Any]) -> str:
    numbers = {
        name: report.get(key, 0)
        for key, name in (("hours", "hours"), ("rows", "rows"), ("driftCount", "drifting"))
    }
    text = "{hours:,} hours, {rows:,} rows, {drifting:,} drifting".format(**numbers)
    return f"{text}, {report.get('repaired', 0):,} repaired"


def _drift(found: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("where (UTC)", overflow="fold")
    table.add_column("stored → counted")
    for each in found:
        place = {name: each[name] for name in each if name not in {"stored", "counted"}}
        table.add_row(_place(place), difference(each.get("stored"), each.get("counted")))
    return table


def _place(given: Any) -> str:
    """A place as the machine reports it: a text, or its parts by name."""
    parts = given.values() if isinstance(given, Mapping) else (given,)
    return " ".join(_place(each) if isinstance(each, Mapping) else str(each) for each in parts)
