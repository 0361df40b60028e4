"""`make demo`: writes to the tables, waits for the counts, and proves them right.

ROWS and SEED say how much and which traffic; KEEP=1 leaves the stack up afterwards.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from aggregated_metrics.model import AggregatedMetrics
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aggregated_metrics_cli.overview import collect
from aggregated_metrics_cli.overview_tables import overview
from aggregated_metrics_cli.page import render
from demo import report
from testbench.emulated import backfilling, check, corruption
from testbench.emulated.display import show_line
from testbench.emulated.functions import StepError, StreamLog
from testbench.emulated.stack import (
    APP_STACK,
    LOCAL,
    REGION,
    ROOT_CREDENTIALS,
    Credentials,
    EmulatedStack,
    StackError,
)
from testbench.emulated.writing import write
from testbench.oracle import Key
from testbench.traffic import ACCOUNTS, Traffic, traffic

GRACE = timedelta(seconds=20)
PARAMETERS = {
    "GraceSeconds": str(int(GRACE.total_seconds())),
    "SettleSeconds": "1",
    "BackfillConcurrency": "2",
    "Breakdowns": "scoreResultsByScorecard,evaluationsByScorecard,feedbackItemsByScorecard",
}
_FEWEST_ROWS = 300
_EARLIER = 40, timedelta(hours=22)
"""Of so many rows one is older than the two hours: the day before them, thinly."""
PAGE = LOCAL / "demo-report.html"


@dataclass
class Demo:
    """One run of the demonstration on a running stack."""

    console: Console
    stack: EmulatedStack
    rows: int
    seed: int
    step: str = "start of the stack"
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> bool:
        """All steps after the start of the stack; returns whether everything was right."""
        end = datetime.now(UTC).replace(second=0, microsecond=0)
        made = traffic(self.rows, self.seed, end)
        earlier = self._earlier(made.start)
        made.uncountable |= earlier.uncountable
        before, after = backfilling.split(made)
        before = replace(before, start=earlier.start, writes=[*earlier.writes, *before.writes])
        mappings = backfilling.Mappings(self.stack)
        mappings.switch(on=False)
        waiting = self._write_before(before)
        filled = self._backfill()
        self._write_and_drain(after, waiting, mappings)
        reader = self.stack.user("reader", *check.READ_FIELDS)
        verdict, buckets = self._compare(reader, "sweep and read back")
        messages = check.quarantined(self.stack)
        exact = {(m.model, m.id) for m in messages} == made.uncountable
        report.show_counts(self.console, buckets, made.start, made.end)
        report.show_quarantine(self.console, messages)
        report.show_verdict(self.console, verdict, quarantine_is_exact=exact)
        good = verdict.is_good and exact and filled
        good = self._damage_and_repair(reader, buckets) and good
        self._show_day(reader, earlier.start, made.end)
        return good

    def _earlier(self, end: datetime) -> Traffic:
        """What was there before: with it there is a day to look at."""
        share, span = _EARLIER
        rows, minutes = self.rows // share, int(span.total_seconds()) // 60
        return traffic(rows, self.seed, end, minutes=minutes, name="earlier")

    def _show_day(self, reader: Credentials, start: datetime, end: datetime) -> None:
        """What a dashboard would show of the day, here and as a page that outlives the stack."""
        with self._timed("read the day"):
            client = check.api_client(self.stack, reader)
            hour = start.replace(minute=0, second=0, microsecond=0)
            found = collect(client, ACCOUNTS[0], hour, end)
        for part in overview(found):
            self.console.print(part)
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(render(found, APP_STACK), "utf-8")
        self.console.print(f"\n  the same as a page: {PAGE}", soft_wrap=True)

    def _write_before(self, before: Traffic) -> int:
        """Write what is there before anybody counts; returns how many changes wait."""
        with self._timed("write before the mappings"):
            waiting = write(self.stack, before)
        self.console.print(f"  {waiting:,} changes before anything is delivered")
        return waiting

    def _backfill(self) -> bool:
        """Count the tables as they are, while the streams hold the same rows."""
        with self._timed("backfill"), self.console.status("backfill of whole tables"):
            found = backfilling.run(self.stack)
        counted, uncountable = sum(found["rows"].values()), sum(found["uncountable"].values())
        set_right = sum(found["repaired"].values())
        good = set_right > 0 and not found["moving"]
        show_line(
            self.console,
            f"backfill: {counted:,} rows scanned, {uncountable} of them uncountable, "
            f"{set_right:,} buckets set; the streams bring the same rows again",
            good=good,
        )
        return good

    def _write_and_drain(self, made: Traffic, waiting: int, mappings: backfilling.Mappings) -> None:
        """Write the rest and have all delivered; `waiting` changes are in the streams already."""
        total = len(made.writes) + waiting
        self.console.print(f"  {self.rows:,} rows, {total:,} changes")
        columns = (TextColumn("  {task.description:<28}"), BarColumn(36), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self.console) as progress:
            written = progress.add_task("written to the tables", total=total)
            progress.advance(written, waiting)
            taken = progress.add_task("applied from the streams", total=total)
            log = StreamLog(self.stack)
            mappings.switch(on=True)

            def wrote(number: int) -> None:
                progress.advance(written, number)
                log.look(at_most_every=1.0)
                progress.update(taken, completed=log.records)

            with self._timed("write to the tables"):
                expected = waiting + write(self.stack, made, wrote)
            with self._timed("drain the streams"):
                log.drain(expected, lambda n: progress.update(taken, completed=n))
        for failure in log.failures:
            self.console.print(f"  a batch failed and came again: {failure}")

    def _compare(
        self, reader: Credentials, step: str
    ) -> tuple[check.Verdict, dict[Key, AggregatedMetrics]]:
        with self._timed(step), self.console.status(step):
            swept, _ = check.sweep(self.stack)
            buckets = check.stored(check.api_client(self.stack, reader), ACCOUNTS)
            expected = check.counted(self.stack)
            return check.compare(expected, buckets, swept=swept, grace=GRACE), buckets

    def _damage_and_repair(
        self, reader: Credentials, buckets: dict[Key, AggregatedMetrics]
    ) -> bool:
        writer = self.stack.user("vandal", *check.WRITE_FIELDS)
        with self._timed("corrupt buckets"):
            client = check.api_client(self.stack, writer)
            damages = corruption.corrupt(client, buckets, self.seed)
        found = self._reconcile("verify", [*buckets], repair=False)
        report.show_damage(self.console, damages, found)
        # a sweep may have set a parent right before the reconciler came to see it
        missed = [d for d in damages if d.key[3] == 1 and not found.finds(d)]
        is_found = not missed and corruption.is_explained(found.drift, damages)
        show_line(
            self.console,
            f"the reconciler compared {found.minutes:,} minutes with the rows and reports "
            f"{len(found.drift)} buckets: every corrupted one, and any parents that no longer fit",
            good=is_found,
        )
        mended = self._reconcile("repair", [d.key for d in damages], repair=True)
        after = self._reconcile("verify again", [*buckets], repair=False)
        is_clean = not (after.drift or after.moving or mended.moving)
        show_line(
            self.console,
            f"repaired {mended.repaired} buckets; verified again: {len(after.drift)} reported",
            good=is_clean,
        )
        verdict, _ = self._compare(reader, "compare again")
        report.show_verdict(self.console, verdict, quarantine_is_exact=None)
        return is_found and is_clean and verdict.is_good

    def _reconcile(self, step: str, keys: list[Key], *, repair: bool) -> corruption.Checked:
        with self._timed(f"reconciler: {step}"), self.console.status(f"the reconciler: {step}"):
            return corruption.reconcile(self.stack, keys, repair=repair)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        self.step = step
        began = time.monotonic()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - began


def main() -> int:
    """Run the demonstration; 0 if every bucket was right, 130 after Ctrl-C."""
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    rows, seed = int(os.environ.get("ROWS") or 5000), int(os.environ.get("SEED") or 1)
    if rows < _FEWEST_ROWS:
        console.print(f"ROWS={rows} is too few for a demonstration: at least {_FEWEST_ROWS}")
        return 2
    demo = Demo(console, EmulatedStack(parameters=PARAMETERS), rows, seed)
    try:
        return _run(demo)
    except KeyboardInterrupt:
        console.print(f"interrupted during: {demo.step}; everything that was started is stopped")
        return 130
    except (StackError, StepError) as error:
        console.print(f"[bold red]{demo.step}:[/] {error}", soft_wrap=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, say during which step
        console.print(
            f"[bold red]{demo.step}:[/] {type(error).__name__}: {error}. "
            f"Its log: {demo.stack.emulator_log}",
            soft_wrap=True,
        )
    return 1


def _run(demo: Demo) -> int:
    began = time.monotonic()
    with ExitStack() as leaving:
        with demo.console.status("building both templates, deploying them to the emulator"):
            leaving.enter_context(demo.stack)
        demo.seconds["start of the stack"] = time.monotonic() - began
        good = demo.run()
        report.show_times(demo.console, demo.seconds)
        show_line(
            demo.console,
            f"{'all is right' if good else 'something is wrong'}, in "
            f"{time.monotonic() - began:.0f} s (ROWS={demo.rows} SEED={demo.seed})",
            good=good,
        )
        if os.environ.get("KEEP"):
            demo.stack.keep()
            _tell_how_to_look_around(demo)
    return 0 if good else 1


def _tell_how_to_look_around(demo: Demo) -> None:
    stack = demo.stack
    reader = stack.user("you", *check.READ_FIELDS)
    now = datetime.now(UTC)
    hour = f"{now - timedelta(hours=1):%Y-%m-%dT%H:00:00Z}"
    root = ROOT_CREDENTIALS
    field_name = check.READ_FIELDS[2].rpartition("/")[2]
    query = (
        f'{{{field_name}(accountId: \\"{ACCOUNTS[0]}\\", limit: 5, sortDirection: DESC) '
        "{items {recordType timeRangeStart numberOfMinutes count complete}}}"
    )
    demo.console.print(
        f"""
The stack is up. With these keys, only the counts can be read:

export AWS_ACCESS_KEY_ID={reader.access_key} AWS_SECRET_ACCESS_KEY={reader.secret_key}
export AWS_DEFAULT_REGION={REGION} AWS_ENDPOINT_URL={stack.endpoint}
export GRAPHQL_ENDPOINT={stack.graphql_endpoint}

curl -sS --aws-sigv4 aws:amz:{REGION}:appsync --user $AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY \\
  -H 'Content-Type: application/json' -d '{{"query": "{query}"}}' $GRAPHQL_ENDPOINT

.venv/bin/aggregated-metrics show \\
  --account {ACCOUNTS[0]} --record-type items --minutes 15 \\
  --start {now - timedelta(hours=3):%Y-%m-%dT%H:00:00Z} --end {now:%Y-%m-%dT%H:%M:00Z}

To practise the runbook (docs/operations.md), with root's keys:

export AWS_ACCESS_KEY_ID={root.access_key} AWS_SECRET_ACCESS_KEY={root.secret_key}
export AWS_DEFAULT_REGION={REGION} AWS_ENDPOINT_URL={stack.endpoint}
export STACK={APP_STACK} PATH="$PWD/.venv/bin:$PATH"

make attach API_ID={stack.backend["GraphQLApiId"]} ENV=practice    # adds that to samconfig.toml
aggregated-metrics verify --stack $STACK
aggregated-metrics show --stack $STACK --explain \\
  --account {ACCOUNTS[0]} --record-type items --start {hour}
aggregated-metrics repair --quarantine --stack $STACK
aggregated-metrics show --stack $STACK --account {ACCOUNTS[0]} --day {now:%Y-%m-%d}
aggregated-metrics report --stack $STACK --account {ACCOUNTS[0]} --day {now:%Y-%m-%d}

make invoke    invokes the functions in containers, if there is Docker
make stop      stops it""",
        markup=False,
        soft_wrap=True,
    )


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
