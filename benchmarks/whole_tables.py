"""A million rows through the deployed state machine, once (`make bench-backfill`).

The rows are imported into tables of the emulator as DynamoDB imports them, from compressed objects
in a bucket: history that no stream carries. Then the operators' command backfills them, every
bucket is compared with a group-by of the rows, and a deep verify has to find nothing wrong.
"""

import argparse
import gzip
import io
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeDeserializer
from rich.console import Console

from aggregated_metrics_cli import whole_tables
from benchmarks.__main__ import machine, show, write_json
from benchmarks.measuring import Line
from testbench import oracle
from testbench.emulated.stack import APP_STACK, LOCAL, EmulatedStack
from testbench.streams import image

MODELS = ("Item", "ScoreResult")
ACCOUNTS = ("acct-1", "acct-2", "acct-3")
DAYS = 31
MINUTES_A_DAY = 20
_UNCOUNTABLE = 10_000
"""One row of so many names no account."""
_PARAMETERS = {
    "SettleSeconds": "10",
    "GraceSeconds": "20",
    "BackfillConcurrency": "2",
    "MaxRequestBytes": "2000",  # two cores take longer for a large request than a client waits
}
_ROWS_AN_OBJECT = 50_000
_LOOK_SECONDS = 2.0
_BUCKET = "history"
_BILLING = {"BillingMode": "PAY_PER_REQUEST"}
_STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
_deserialize = TypeDeserializer().deserialize

type Row = dict[str, Any]


def row(number: int, midnight: datetime) -> tuple[str, Row]:
    """A row by its number: model, and attributes. Nights of work on the days before `midnight`."""
    place, model = divmod(number, len(MODELS))
    place, account = divmod(place, len(ACCOUNTS))
    place, day = divmod(place, DAYS)
    minute = place % MINUTES_A_DAY
    at = midnight - timedelta(days=day + 1) + timedelta(hours=2, minutes=minute, seconds=place % 60)
    text = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    made: Row = {"id": f"row-{number:08}", "createdAt": text, "updatedAt": text}
    if number % _UNCOUNTABLE:
        made["accountId"] = ACCOUNTS[account]
    kind = "prediction" if number % 3 else "trial"
    if MODELS[model] == "Item":
        return "Item", made | {"createdByType": kind, "externalId": f"call-{number}"}
    failed = not number % 50
    cost = {"total_cost": Decimal("0.00123"), "llm_calls": 1 + place % 4}
    return "ScoreResult", made | {
        "type": kind,
        "value": "ERROR" if failed else "Yes",
        "code": "500" if failed else "200",
        "scorecardId": "scorecard-1",
        "scoreId": f"score-{place % 4}",
        "cost": cost,
    }


@dataclass
class Measured:
    """One run on a running stack."""

    stack: EmulatedStack
    rows: int
    console: Console
    midnight: datetime
    seconds: dict[str, float] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    peak: int = 0

    def run(self) -> list[Line]:
        """Every step; what it measured."""
        with self._timed("import of the rows"):
            self._import()
            expected = oracle.buckets_of(row(i, self.midnight) for i in range(self.rows))
            self._await_imports()
        with self._timed("deployment over these tables"):
            self.stack.app = self._deploy()
        with self._timed("backfill"), self._memory():
            plan, filled = self._backfill()
        wrong = self._wrong(expected)
        with self._timed("deep verify"):
            _, verified = self._backfill("--verify")
        return self._lines(plan, filled, verified, len(expected), wrong)

    def _import(self) -> None:
        s3, dynamodb = self.stack.client("s3"), self.stack.client("dynamodb")
        s3.create_bucket(Bucket=_BUCKET)
        for first in range(0, self.rows, _ROWS_AN_OBJECT):
            lines: dict[str, list[str]] = {model: [] for model in MODELS}
            for number in range(first, min(self.rows, first + _ROWS_AN_OBJECT)):
                model, made = row(number, self.midnight)
                lines[model].append(json.dumps({"Item": image(made)}))
            for model, each in lines.items():
                body = gzip.compress("\n".join(each).encode(), 1)
                s3.put_object(Bucket=_BUCKET, Key=f"{model}/{first:08}.json.gz", Body=body)
        for model in MODELS:
            self.tables[model] = f"{model}-history-local"
            dynamodb.import_table(
                S3BucketSource={"S3Bucket": _BUCKET, "S3KeyPrefix": f"{model}/"},
                InputFormat="DYNAMODB_JSON",
                InputCompressionType="GZIP",
                TableCreationParameters={
                    "TableName": self.tables[model],
                    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                    **_BILLING,
                },
            )

    def _await_imports(self) -> None:
        dynamodb = self.stack.client("dynamodb")
        for summary in dynamodb.list_imports()["ImportSummaryList"]:
            asked = {"ImportArn": summary["ImportArn"]}
            while True:
                found = dynamodb.describe_import(**asked)["ImportTableDescription"]
                if found["ImportStatus"] != "IN_PROGRESS":
                    break
                time.sleep(_LOOK_SECONDS)
            if found["ImportStatus"] != "COMPLETED":
                raise RuntimeError(f"import: {found.get('FailureCode')}: {found['FailureMessage']}")

    def _deploy(self) -> dict[str, str]:
        dynamodb, streams = self.stack.client("dynamodb"), []
        for table in self.tables.values():
            dynamodb.update_table(TableName=table, StreamSpecification=_STREAM)
            described = dynamodb.describe_table(TableName=table)["Table"]
            streams.append(described["LatestStreamArn"])
        parameters = self.stack.app_parameters() | self.stack.attached(*streams)
        return self.stack.deploy(APP_STACK, self.stack.build_app(), parameters)

    def _backfill(self, *more: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """As an operator does it; gives the plan and the report."""
        out = io.StringIO()
        given = ("--stack", APP_STACK, "--yes", "--json", *more)
        code = whole_tables.main(given, aws=self.stack.client, out=out)
        if code:
            raise RuntimeError(f"backfill: exit code {code}: {out.getvalue()[-2000:]}")
        plan, report = map(json.loads, out.getvalue().splitlines())
        return plan["plan"], report

    def _wrong(self, expected: Mapping[oracle.Key, tuple[int, ...]]) -> int:
        stored = {}
        scan = self.stack.client("dynamodb").get_paginator("scan")
        for page in scan.paginate(TableName=self.stack.tables["AggregatedMetrics"]):
            for item in page["Items"]:
                bucket = {name: _deserialize(value) for name, value in item.items()}
                stored[oracle.key_of(bucket)] = oracle.held(bucket)
        keys = expected.keys() | stored.keys()
        wrong = sorted(key for key in keys if expected.get(key) != stored.get(key))
        for key in wrong[:10]:
            self.console.print(f"{key}: {stored.get(key)} stored, {expected.get(key)} expected")
        return len(wrong)

    def _lines(
        self,
        plan: Mapping[str, Any],
        filled: Mapping[str, Any],
        verified: Mapping[str, Any],
        buckets: int,
        wrong: int,
    ) -> list[Line]:
        title = "whole tables on the emulator"
        rows = sum(filled["rows"].values())
        steps = self._steps(filled["run"])
        looks = steps["FirstLook"] + steps["SecondLook"]
        drift = sum(verified["drift"].values())
        return [
            Line(title, "rows in the tables", self.rows, ""),
            Line(title, "rows scanned in each look", rows, ""),
            Line(title, "uncountable rows, reported", sum(filled["uncountable"].values()), ""),
            Line(title, "read units, both looks", filled["readUnits"], ""),
            Line(title, "read units planned", plan["read_units"], ""),
            Line(title, "minutes compared", filled["minutes"], ""),
            Line(title, "buckets set right", sum(filled["repaired"].values()), ""),
            Line(title, "buckets compared with a group-by of the rows", buckets, ""),
            Line(title, "of these wrong", wrong, "", bar=0),
            Line(title, "wrong as a deep verify says", drift, "", bar=0),
            *(Line(title, f"time: {name}", value, "s") for name, value in self.seconds.items()),
            *(Line(title, f"time: state {name}", value, "s") for name, value in steps.items()),
            Line(title, "rows scanned a second, two at once", 2 * rows / looks, ""),
            Line(title, "a backfiller's process: peak memory", self.peak / 1e6, "MB"),
        ]

    def _steps(self, run: str) -> dict[str, float]:
        """Seconds that each map of the execution took."""
        machine = self.stack.app["BackfillStateMachine"]
        arn = f"{machine.replace(':stateMachine:', ':execution:')}:{run}"
        pages = self.stack.client("stepfunctions").get_paginator("get_execution_history")
        began: dict[str, datetime] = {}
        taken: dict[str, float] = {}
        for page in pages.paginate(executionArn=arn):
            for event in page["events"]:
                if event["type"] == "MapStateEntered":
                    began[event["stateEnteredEventDetails"]["name"]] = event["timestamp"]
                elif event["type"] == "MapStateExited":
                    name = event["stateExitedEventDetails"]["name"]
                    taken[name] = (event["timestamp"] - began[name]).total_seconds()
        return taken

    @contextmanager
    def _memory(self) -> Iterator[None]:
        """Keep the most that one of backfiller's processes has held."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(_LOOK_SECONDS):
                for status in Path("/proc").glob("[0-9]*/status"):
                    self.peak = max(self.peak, _held(status, self.stack.folder))

        watching = threading.Thread(target=look)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        self.console.print(f"{datetime.now(UTC):%H:%M:%S} {step}")
        began = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - began


def _held(status: Path, folder: Path) -> int:
    """The peak memory of a process, if it is one of backfiller's in this stack."""
    try:
        command = (status.parent / "cmdline").read_text()
        if str(folder) not in command or "-BackfillerFunction-" not in command:
            return 0
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0
    return int(peak.split()[1]) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-backfill", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the numbers here")
    options = parser.parse_args()
    console = Console()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with EmulatedStack(LOCAL / "whole-tables", _PARAMETERS) as stack:
        measured = Measured(stack, options.rows, console, midnight)
        lines = measured.run()
    show(console, lines)
    if options.json:
        write_json(options.json, lines, machine())
    return int(any(line.reached is False for line in lines))


if __name__ == "__main__":
    sys.exit(main())
