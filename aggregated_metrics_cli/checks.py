"""verify, repair and backfill: each starts an execution of the state machine and follows it."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.executions import Machine, follow
from aggregated_metrics_cli.exit_codes import DONE, FAILED, LEFT
from aggregated_metrics_cli.output import Output, styled
from aggregated_metrics_cli.overview import must_be_stored
from aggregated_metrics_cli.plan import lines, plan_of
from aggregated_metrics_cli.tables import difference, table

_SUMMARY = "hours: {hours:,}, rows read: {rows:,}, drifting: {driftCount:,}, repaired: {repaired:,}"
_HINTS = {
    "inFlux": "minutes in flux: {}. They changed while they were compared. Run this again in a "
    "few minutes.",
    "unverified": "minutes that could not be compared: {}. The API cannot give one of their rows. "
    "See the reconciler's log.",
    "deferred": "deferred hours: {}. Only a scan of the table may settle them: "
    "aggregated-metrics backfill --models …",
    "stillUncountable": "records in quarantine that still cannot be counted: {}. Correct their "
    "rows, and delete their messages. Each has its reason (docs/operations.md, QuarantinedAlarm).",
}
"""What a report counts besides drift that may be wrong."""


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Start and follow, follow, or stop an execution; returns the exit code."""
    machine = Machine(deployment.aws("stepfunctions"), deployment.needs("BackfillStateMachine"))
    if options.stop:
        machine.stop(options.stop)
        output.say(f"{options.stop} is stopped; what it has repaired stays so")
        return DONE
    name = options.follow
    if name is None:
        asked = _asked(options)
        if "tables" in asked:
            plan = plan_of(deployment, options.models or ())
            if options.plan:
                output.show({"plan": plan}, *lines(plan))
                return DONE
            if not options.yes:
                _confirm(plan, output)
        name = machine.start(options.command, asked)
        output.say(f"{name} is started; it goes on if this command ends")
    report = follow(machine, name, options, output)
    output.show(report, *_drawn(report))
    code = exit_code(report)
    account = getattr(options, "account", None)
    if account and code == DONE and not report["minutes"]:
        must_be_stored(deployment.client, account)
    return code


def _asked(options: Namespace) -> dict[str, Any]:
    """The execution's input: a queue, a range, or whole tables."""
    given = vars(options)
    repair = {"repair": options.command != "verify"}
    names_range = any(map(given.get, ("account", "start", "end", "record_types")))
    if queue := given.get("queue"):
        if names_range:
            raise CommandError("name either a range, or --quarantine or --failed-batches")
        return {queue: repair}
    if options.command == "repair" or names_range:
        return {"range": _range(options) | repair}
    return {"tables": ({"models": options.models} if options.models else {}) | repair}


def _range(options: Namespace) -> dict[str, Any]:
    if not (options.account and options.start and options.end):
        raise CommandError("a range needs --account, --start and --end")
    if options.end <= options.start:
        raise CommandError("--end must be later than --start")
    named = {"recordTypes": options.record_types} if options.record_types else {}
    return {"accountId": options.account, "start": options.start, "end": options.end, **named}


def _confirm(plan: Mapping[str, Any], output: Output) -> None:
    for line in lines(plan):
        output.say(line)
    if not output.ask("Start? [y/N] ").lower().startswith("y"):
        raise CommandError("not started; --yes starts without asking")


def exit_code(report: Mapping[str, Any]) -> int:
    """0 if everything is right, 1 if something is or may be wrong, 2 if it was not all compared."""
    if report["notReachedCount"] or report["failed"]:
        return FAILED
    wrong = report["driftCount"] > report["repaired"]
    return LEFT if wrong or any(report[name] for name in _HINTS) else DONE


def _drawn(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A report for people: what differs, then what the numbers mean."""
    if drift := report["drift"]:
        yield _drift(drift)
    if hidden := report["driftCount"] - len(drift):
        yield styled(f"… and {hidden:,} more")
    for name, title in (("notReached", "not reached"), ("failed", "could not be checked")):
        yield from (styled(f"{title}: {each}") for each in report[name])
    for reason, number in report.get("uncountable", {}).items():
        yield styled(f"rows that are not counted: {number:,}: {reason}")
    yield styled(_SUMMARY.format(**report), "bold red" if exit_code(report) else "bold green")
    for name, hint in _HINTS.items():
        if number := report[name]:
            yield styled(hint.format(f"{number:,}"))


def _drift(found: Sequence[Mapping[str, Any]]) -> Table:
    made = table("", "where (UTC)", "stored → counted")
    for each in found:
        place = (str(each[name]) for name in each if name not in {"stored", "counted"})
        made.add_row(styled(" ".join(place)), difference(each["stored"], each["counted"]))
    return made
