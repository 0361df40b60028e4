"""One run of the truth test: a history, delivered as badly as Lambda may, and then compared.

Shards go side by side, sweeps and repairs in between. Time goes on in epochs: between two of them
nothing is in flight, and every minute whose streams have caught up must be exact.
"""

import json
import queue
import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aggregated_metrics_cli.model_file import as_variable
from tests import reviews
from tests.truth import corruption, repairing, seams
from tests.truth.deliveries import Cursor
from tests.truth.deployment import FakeDeployment, Worker
from tests.truth.judging import Judge
from tests.truth.plans import EPOCH, Plan, lives_of
from tests.truth.shards import LIFETIME, no_troubles, shards_of, source_tables, troubles
from tests.truth.source_tables import Minute, SourceTables, Written
from tests.truth.worker import Job

SKEW_SECONDS = 2.5
"""Of each clock against the stream's: those of writers and functions are up to 5 s apart."""
SETTLE_SECONDS = 20
_SECONDS = {"reconciler": 600.0, "backfiller": 600.0}
_ATTEMPTS = 60
_DIE = 0.06
_INVOCATION_SECONDS = 25.0
_SPARE_WORKERS = 3
_EPOCHS_WITH_TROUBLES = 12
_SCANNED = (3, 8)
"""In these epochs whole tables are counted while everything else goes on."""


class Run:
    """Delivers one history to workers.

    Attributes:
        wrong: what is not exact, in sentences.
        counts: how often what happened.
        odd: the models whose rows no check may take for absent.
        lost: minutes that the streams alone do not make right any more, until they are repaired.
        corrupted: hours with a corrupted bucket.
        forgotten: hours that only a Scan settles, which was lost with the pending-hours table.
        given_up: the events of batches that have aged out and are not repaired yet.
        refused: the records that were quarantined although their rows can be counted.
        waiting: lost minutes of hours that were not over, which the next check or range sets.
        late: those that have waited since an earlier epoch.
    """

    def __init__(self, plan: Plan, progress: Callable[[int, int], None] = lambda *_: None) -> None:
        self.plan, self._progress = plan, progress
        self.troubles = troubles(plan.seed) if plan.repairs else no_troubles()
        self.odd = [model for model, trouble in self.troubles.items() if trouble.odd]
        self._shards = shards_of(lives_of(plan), plan.seed, plan.shards, self.troubles)
        self.wrong: list[str] = []
        self.counts = Counter(records=sum(len(shard.changes) for shard in self._shards))
        self.judge = Judge(self)
        self.cursors: list[Cursor] = []
        self.lost: set[Minute] = set()
        self.corrupted: set[corruption.Hour] = set()
        self.forgotten: set[corruption.Hour] = set()
        self.given_up: list[seams.Event] = []
        self.refused: list[Written] = []
        self.late: set[Minute] = set()
        self.waiting: dict[str, set[Minute]] = {"check": set(), "range": set()}
        self._lock = threading.Lock()
        self._idle: queue.Queue[Worker] = queue.Queue()
        self.draw = random.Random(f"run/{plan.seed}")
        self._sweep_draw = random.Random(f"sweeps/{plan.seed}")
        self._scan_began = 0.0

    def go(self) -> list[str]:
        """Deliver everything, sweep, compare; gives what is wrong."""
        plan = self.plan
        settings = {
            "SETTLE_SECONDS": str(SETTLE_SECONDS),
            "SOURCE_TABLES": source_tables(self.troubles),
        }
        if plan.repairs:
            days = dict.fromkeys(self.odd, LIFETIME.days)
            settings["SOURCE_LIFETIME_DAYS"] = json.dumps(days)
        arns = {shard.stream.arn for shard in self._shards}
        settings["STREAM_ARNS"] = ",".join(sorted("/".join(arn.split("/")[1::2]) for arn in arns))
        settings["MODELS"] = as_variable(reviews.document())
        with FakeDeployment(plan.seed, settings) as deployment:
            self.deployment = deployment
            deployment.clock.ahead.value = (plan.start - datetime.now(UTC)).total_seconds()
            skew = SKEW_SECONDS if plan.repairs else 0.0
            self.tables = SourceTables(deployment.api, deployment.clock, skew)
            self.workers = [
                Worker(deployment, plan, skew * (i % 3 - 1))
                for i in range(plan.workers + _SPARE_WORKERS)
            ]
            for worker in self.workers:
                self._idle.put(worker)
            try:
                self._live()
                if not self.wrong:
                    repairing.finish(self)
                    self.judge.judge_everything()
                    self.judge.judge_quarantine(
                        self.cursors, {written.record["eventID"] for written in self.refused}
                    )
                self.judge.judge_requests()
            finally:
                self.counts["deaths"] = sum(worker.deaths for worker in self.workers)
                self.counts["requests"] = len(deployment.server.log)
                self.counts += deployment.faults.counts
                for worker in self.workers:
                    worker.end()
        return self.wrong

    def _live(self) -> None:
        """Let the epochs pass: in each, every shard delivers what has happened by then."""
        plan = self.plan
        times = {int((at - plan.start) / EPOCH) for shard in self._shards for at in shard.times}
        epochs = times | set(range(_EPOCHS_WITH_TROUBLES if plan.repairs else 0))
        self.cursors = [Cursor(self, shard) for shard in self._shards]
        if plan.repairs:
            repairing.prepare(self)
        for done, number in enumerate(sorted(epochs)):
            self._progress(done, len(epochs))
            until = plan.start + (number + 1) * EPOCH
            self.deployment.clock.reach(until)
            if plan.repairs:
                repairing.disturb(self, number)
            self._switch_mappings(number)
            deliver = partial(Cursor.epoch, number=number, until=until)
            with self._meanwhile(number), ThreadPoolExecutor(plan.workers) as shards:
                list(shards.map(deliver, self.cursors))
            if plan.repairs:
                repairing.repair_troubles(self, number)
            outstanding = {m for cursor in self.cursors for m in cursor.outstanding()}
            self.judge.judge_at_once(outstanding)
            self.judge.judge_complete()
            if self.wrong:
                return  # what follows from it would only hide it

    def _switch_mappings(self, number: int) -> None:
        """Switch mappings off and on."""
        mappings, now = self.deployment.ports.mappings.mappings, self.deployment.clock.now()
        for cursor in self.cursors:
            stream = "/".join(cursor.shard.stream.arn.split("/")[1::2])
            is_off = number in self.troubles[cursor.shard.model].off
            if is_off == (mappings[stream][0] == "Enabled"):
                mappings[stream] = ("Disabled" if is_off else "Enabled", "OK", now)

    @contextmanager
    def _meanwhile(self, number: int) -> Iterator[None]:
        """Meanwhile sweep and check, again and again, and count whole tables, each in a thread."""
        calls = [seams.SWEEP, seams.CHECK] if self.plan.repairs else [seams.SWEEP]
        over = threading.Event()

        def again_and_again(call: seams.Call) -> None:
            self.invoke(*call, self._sweep_draw)
            while not over.wait(0.2):
                self.invoke(*call, self._sweep_draw)

        with ThreadPoolExecutor(len(calls) + 1) as pool:
            futures = [pool.submit(again_and_again, call) for call in calls]
            if self.plan.repairs and number in _SCANNED:
                futures.append(pool.submit(self.scan))
            try:
                yield
            finally:
                over.set()
            for future in futures:
                future.result()

    def invoke(
        self,
        function: str,
        event: Mapping[str, Any],
        draw: random.Random,
        *,
        mortal: bool = True,
        misnamed: bool = False,
    ) -> tuple[str | None, Any]:
        """One invocation on a worker that is free; it may die at any of its first requests."""
        die_at = None
        if mortal and draw.random() < _DIE:
            die_at = (draw.randint(1, 5), draw.random() < 0.5)
        seconds = _SECONDS.get(function, _INVOCATION_SECONDS)
        worker = self._idle.get()
        checks = function in _SECONDS
        began = self.deployment.clock.now().timestamp()
        if function == "backfiller":
            began = self._scan_began
        try:
            error, result = worker.do(Job(function, event, seconds, die_at, misnamed))
        finally:
            self._idle.put(worker)
        with self._lock:
            self.counts[function] += 1
            if error:
                self.counts[error.split(":")[0][:60]] += 1
            if checks:
                ended = self.deployment.clock.now().timestamp()
                hidden = {minute for cursor in self.cursors for minute in cursor.hidden(began)}
                self.judge.checked(began, ended, result, hidden)
        return error, result

    def scan(self, models: Collection[str] = ()) -> None:
        """Count whole tables, and set what differs: these models', or all."""
        self._scan_began = self.deployment.clock.now().timestamp()
        self.counts["scans"] += 1
        asked = {"run": f"scan-{self.counts['scans']}", "segments": 2, "partitions": 3}
        wait = partial(self.deployment.clock.pass_by, SETTLE_SECONDS + 2 * SKEW_SECONDS + 1)
        seams.walk_backfill(
            self.surely, wait, **asked, **({"models": sorted(models)} if models else {})
        )

    def surely(self, call: seams.Call) -> Any:
        """Invoke a function until it succeeds; it may die now and then, but not for ever."""
        for attempt in range(_ATTEMPTS):
            error, result = self.invoke(*call, self.draw, mortal=attempt < _ATTEMPTS // 5)
            if error is None:
                return result
        raise RuntimeError(f"{call[0]} does not succeed: {error}")

    def give_up(self, event: seams.Event, written: Sequence[Written]) -> None:
        """A batch has aged out."""
        with self._lock:
            self.given_up.append(event)
            self.waiting["check"] |= {minute for each in written for minute in each.minutes}
            self.counts["given up"] += 1

    def refuse(self, written: Sequence[Written]) -> None:
        """Records have gone to quarantine because their table was not known."""
        with self._lock:
            self.refused += written
