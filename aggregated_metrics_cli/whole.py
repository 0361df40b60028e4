"""backfill without an account: every row of every attached table, by the stack's state machine.

It says what it would cost and asks, starts an execution, and follows it. Ctrl-C only stops
following: the execution goes on, unless --stop ends it.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import boto3
from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.core.errors import RunError, SettingsError
from aggregated_metrics.core.record_types import MODELS, own_models
from aggregated_metrics.core.runs import LOOKS, Run
from botocore.exceptions import BotoCoreError, ClientError

DONE, DRIFT, FAILED, STOPPED = 0, 1, 2, 130
_BYTES_A_UNIT = 8192
"""An eventually consistent read unit reads two times 4 KB."""
_BYTES_A_PAGE = 1_000_000
_DOLLARS_A_MILLION_UNITS = 0.125
_DOLLARS_A_MILLION_REQUESTS = 4.0
"""us-east-1, on demand: DynamoDB's reads and AppSync's requests."""
_ROWS_A_REQUEST = 10
"""A minute and its parents are a load and some aliases of a save, for each of two record types."""
_REQUESTS_A_SECOND = 20
_LOOK_SECONDS = 2.0

type Aws = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Stack:
    """What a deployed stack says of itself."""

    machine: str
    bucket: str
    streams: Mapping[str, str]
    read_units: float
    concurrency: int
    settle: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run would take; `requests` and `dollars` are at most so many."""

    rows: Mapping[str, int]
    read_units: int
    scans: int
    requests: int
    dollars: float
    minutes: float


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


def is_asked(given: Sequence[str]) -> bool:
    """Whether the arguments mean whole tables: a backfill that names no account."""
    names = {argument.partition("=")[0] for argument in given}
    return list(given[:1]) == ["backfill"] and "--account" not in names and "--stack" in names


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
        epilog="With --account, --start and --end: one account's range, from this machine.",
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


def stack_of(cloudformation: Any, name: str) -> Stack:
    """What the stack's outputs and parameters say.

    Raises:
        SettingsError: it is no stack of this application, or an older one.
    """
    described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())}
    given = {
        each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", ())
    }
    try:
        return Stack(
            outputs["BackfillStateMachine"],
            outputs["BackfillBucket"],
            {
                model: arn
                for model, name in _parameters().items()
                if (arn := given.get(f"{name}StreamArn"))
            },
            float(given["BackfillReadUnits"]),
            int(given["BackfillConcurrency"]),
            int(given["SettleSeconds"]),
        )
    except KeyError as error:
        raise SettingsError(
            f"the stack {name} has no {error}: deploy this version first"
        ) from error


def _parameters() -> dict[str, str]:
    """What the parameters call each model: those of own_models are numbered."""
    own = {model: f"Own{number}" for number, model in enumerate(own_models(), 1)}
    return {model: own.get(model, model) for model in MODELS}


def cost_of(dynamodb: Any, stack: Stack, models: Sequence[str]) -> Cost:
    """What a run over these models' tables would take; DynamoDB counts rows every six hours."""
    rows: dict[str, int] = {}
    size = 0
    for model, arn in stack.streams.items():
        if not models or model in models:
            table = dynamodb.describe_table(TableName=arn.split("/")[1])["Table"]
            rows[model] = table.get("ItemCount", 0)
            size += table.get("TableSizeBytes", 0)
    units = len(LOOKS) * -(-size // _BYTES_A_UNIT)
    requests = -(-sum(rows.values()) // _ROWS_A_REQUEST)
    dollars = (units * _DOLLARS_A_MILLION_UNITS + requests * _DOLLARS_A_MILLION_REQUESTS) / 1e6
    seconds = units / stack.read_units + requests / (_REQUESTS_A_SECOND * stack.concurrency)
    return Cost(
        rows,
        units,
        len(LOOKS) * -(-size // _BYTES_A_PAGE),
        requests,
        dollars,
        (seconds + stack.settle) / 60,
    )


def _tell_cost(cost: Cost, options: argparse.Namespace, out: TextIO) -> None:
    if options.json:
        plan = {name: getattr(cost, name) for name in Cost.__slots__}
        out.write(json.dumps({"plan": plan}) + "\n")
        return
    out.write(
        "".join(f"{model:<14}{number:>14,} rows\n" for model, number in cost.rows.items())
        + f"{cost.read_units:,} read units in {cost.scans:,} scans (two looks), at most "
        f"{cost.requests:,} requests to the API: about ${cost.dollars:,.2f} and "
        f"{cost.minutes:,.0f} minutes\n"
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
        with _shown(options, name) as show:
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


class _shown:  # noqa: N801 - used as a function
    """Shows progress: bars for people, a line of JSON for machines."""

    def __init__(self, options: argparse.Namespace, name: str) -> None:
        self._bars: Any = None
        self._tasks: list[Any] = []
        self._name = name
        if not options.json:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - only where it is needed

            columns = (
                TextColumn("{task.description:<14}"),
                BarColumn(),
                TextColumn("{task.fields[said]}"),
            )
            self._bars = Progress(*columns, TimeElapsedColumn(), transient=True)

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


def _tell_report(files: RunFiles, name: str, options: argparse.Namespace, out: TextIO) -> int:
    report = files.get(name, "report.json")
    uncountable = files.get(name, "uncountable.json")
    if options.report:
        whole = report | {"uncountableRows": uncountable}
        options.report.write_text(json.dumps(whole, indent=2) + "\n")
    if options.json:
        out.write(json.dumps(report) + "\n")
    else:
        out.write(
            f"{name}: {sum(report['rows'].values()):,} rows in {report['seconds']:,.0f} s, "
            f"{report['readUnits']:,.0f} read units, {report['minutes']:,} minutes compared\n"
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
    left = sum(report["drift"].values()) - sum(report["repaired"].values())
    return DRIFT if left else DONE
