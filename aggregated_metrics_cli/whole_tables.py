"""backfill without an account: every row of every attached table, by the stack's state machine.

It says what it would cost and asks, starts an execution, and follows it. Ctrl-C only stops
following: the execution goes on, unless --stop ends it.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import boto3
from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.core.errors import RunError, SettingsError
from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics_cli.exit_codes import DONE, FAILED, LEFT, STOPPED
from aggregated_metrics_cli.run_cost import Cost, Stack, cost_of, stack_of
from aggregated_metrics_cli.run_progress import Progress, watched

_LOOK_SECONDS = 2.0
_OF_A_RANGE = ("--account", "--start", "--end", "--record-types")
"""What only the other form of the command takes."""
_MOVING = {
    True: "What is moving may be right or wrong: their hours are marked, and the hourly check "
    "looks again.",
    False: "What is moving may be right or wrong: run this again in a few minutes.",
}
"""By whether the run repairs; one that does not marks nothing either."""

type Aws = Callable[[str], Any]


def is_asked(given: Sequence[str]) -> bool:
    """Whether the arguments mean whole tables: a backfill that names no account and no range."""
    names = {argument.partition("=")[0] for argument in given}
    return list(given[:1]) == ["backfill"] and names.isdisjoint(_OF_A_RANGE)


def main(
    given: Sequence[str],
    *,
    aws: Aws | None = None,
    out: TextIO | None = None,
    ask: Callable[[str], str] = input,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Run the command; returns the exit code."""
    options = _parse(given)
    out = out or sys.stdout
    try:
        aws = aws or _session(options)
        stack = stack_of(aws("cloudformation"), options.stack)
        if options.stop:
            aws("stepfunctions").stop_execution(executionArn=_arn(stack, options.stop))
            out.write(f"{options.stop} is stopped; what it has set right stays so\n")
            return DONE
        name = options.follow
        if name is None:
            cost = cost_of(aws("dynamodb"), stack, options.models)
            _tell_cost(cost, options, out)
            if options.plan or not (options.yes or ask("Start? [y/N] ").lower().startswith("y")):
                return DONE
            name = _start(aws("stepfunctions"), stack, options)
        return _follow(aws, stack, name, options, out, sleep)
    except (BotoCoreError, ClientError, SettingsError, RunError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return FAILED


def _parse(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="aggregated-metrics backfill",
        description="Count every row of every attached table again, and set the counts right.",
        epilog="With --account, --start and --end: one account's range, from this machine. "
        "Its options: backfill --account ID --help.",
    )
    parser.add_argument("--stack", required=True, help="the CloudFormation stack")
    parser.add_argument("--models", type=lambda text: text.split(","), default=[], metavar="NAME,…")
    parser.add_argument("--verify", action="store_true", help="compare only; write nothing")
    parser.add_argument("--plan", action="store_true", help="say what it would cost, and stop")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--follow", metavar="RUN", help="look at a run that goes on")
    parser.add_argument("--stop", metavar="RUN", help="stop a run")
    parser.add_argument("--segments", type=int, help="of each table; by its size if not given")
    parser.add_argument("--region", help="AWS region; else the credentials' own")
    parser.add_argument("--profile", help="AWS profile")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report here")
    parser.add_argument("--json", action="store_true", help="JSON for machines on stdout")
    return parser.parse_args(given)


def _session(options: argparse.Namespace) -> Aws:
    session = boto3.Session(profile_name=options.profile, region_name=options.region)
    return session.client


def _tell_cost(cost: Cost, options: argparse.Namespace, out: TextIO) -> None:
    if options.json:
        plan = {name: getattr(cost, name) for name in Cost.__slots__}
        out.write(json.dumps({"plan": plan}) + "\n")
        return
    out.write(
        "".join(f"{model:<14}{number:>14,} rows\n" for model, number in cost.rows.items())
        + f"{cost.read_units:,} read units in {cost.scans:,} scans (two looks)\n"
        f"at most {cost.requests:,} requests to the API, ${cost.dollars:,.2f} and "
        f"{cost.minutes:,.0f} minutes: less where rows share their minutes\n"
    )


def _start(stepfunctions: Any, stack: Stack, options: argparse.Namespace) -> str:
    name = f"backfill-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    asked: dict[str, Any] = {"repair": not options.verify}
    if options.models:
        asked["models"] = options.models
    if options.segments:
        asked["segments"] = options.segments
    stepfunctions.start_execution(stateMachineArn=stack.machine, name=name, input=json.dumps(asked))
    return name


def _arn(stack: Stack, name: str) -> str:
    return f"{stack.machine.replace(':stateMachine:', ':execution:')}:{name}"


def _follow(
    aws: Aws,
    stack: Stack,
    name: str,
    options: argparse.Namespace,
    out: TextIO,
    sleep: Callable[[float], None],
) -> int:
    files = RunFiles(aws("s3"), stack.bucket)
    stepfunctions = aws("stepfunctions")
    try:
        with Progress(name, as_json=options.json) as show:
            watch = watched(files, name)
            while True:
                execution = stepfunctions.describe_execution(executionArn=_arn(stack, name))
                if execution["status"] != "RUNNING":
                    break
                show(next(watch))
                sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        command = f"aggregated-metrics backfill --stack {options.stack}"
        out.write(
            f"{name} goes on without you. To look at it: {command} --follow {name}\n"
            f"To stop it: {command} --stop {name}\n"
        )
        return STOPPED
    if execution["status"] != "SUCCEEDED":
        out.write(
            f"{name}: {execution['status']} {execution.get('error', '')} "
            f"{execution.get('cause', '')}\nWhat was done stays so; go on where it stopped: "
            f"aws stepfunctions redrive-execution --execution-arn {_arn(stack, name)}\n"
        )
        return FAILED
    return _tell_report(files, name, options, out)


def _tell_report(files: RunFiles, name: str, options: argparse.Namespace, out: TextIO) -> int:
    report = files.get(name, "report.json")
    undecided = report.get("undecided", {})  # a former version's report has none
    uncountable = files.get(name, "uncountable.json")
    if options.report:
        whole = report | {"uncountableRows": uncountable}
        options.report.write_text(json.dumps(whole, indent=2) + "\n")
    if options.json:
        out.write(json.dumps(report) + "\n")
    else:
        out.write(
            f"{name}: {sum(report['rows'].values()):,} rows in {report['seconds']:,.0f} s, "
            f"{report['readUnits']:,.0f} read units, {report['minutes']:,} minutes compared, "
            f"{report['written']:,} buckets written\n"
        )
        names = sorted({*report["drift"], *report["moving"]})
        for each in names:
            drift, repaired, moving = (
                report[kind].get(each, 0) for kind in ("drift", "repaired", "moving")
            )
            out.write(
                f"  {each:<26}{drift:>8,} wrong {repaired:>8,} set right {moving:>6,} moving\n"
            )
        out.writelines(
            f"  not counted: {number:,} rows: {reason}\n"
            for reason, number in report["uncountable"].items()
        )
        out.write(
            f"  which rows: s3://…/runs/{name}/uncountable.json, or --report FILE\n"
            if uncountable
            else ""
        )
        out.write(f"{_MOVING[report['repair']]}\n" if report["moving"] else "")
        out.writelines(
            f"  {number:,} hours of {name} differ, and their rows do not tell what is right\n"
            for name, number in undecided.items()
        )
    drift, repaired, moving = (
        sum(report[kind].values()) for kind in ("drift", "repaired", "moving")
    )
    return LEFT if drift - repaired + moving or undecided else DONE
