"""Rows that are updated whenever a page of their model is read, and so move in its index.

What they add stays the same. A reading from the newest row on does not meet them at their old place
any more, and has passed their new one.
"""

import random
from typing import TYPE_CHECKING

from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from tests.truth import seams
from tests.truth.meddling import Source
from tests.truth.plans import EPOCH
from tests.truth.row_histories import ACCOUNTS, MODELS, Change, new_row
from tests.truth.shards import meddled

if TYPE_CHECKING:
    from tests.truth.run import Run

_FIRST_SHARD, _OK = 800, 200
_KEPT = 3
"""So many rows of each model are touched at a time."""


class Toucher:
    """Touches rows while `watch` sees what the API is asked for."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._draw = random.Random(f"touch/{run.plan.seed}")
        self._rows: dict[str, list[tuple[str, str]]] = {model: [] for model in MODELS}
        self._sources = {
            model: Source(run, meddled(model, run.troubles, _FIRST_SHARD + number))
            for number, model in enumerate(MODELS)
        }

    def begin(self, epoch: int) -> None:
        """Write new rows in the hours of an epoch; their stream counts them."""
        now = self._run.deployment.clock.now()
        for model, source in self._sources.items():
            account, identity = self._draw.choice(ACCOUNTS), f"touched-{epoch}-{model}"
            at = now - self._draw.random() * EPOCH
            text = at.strftime("%Y-%m-%dT%H:%M:%SZ")
            source.write(Change(now, None, new_row(model, identity, account, text)))
            self._rows[model] = [*self._rows[model], (account, identity)][-_KEPT:]
        self.deliver()

    def watch(self, request: Request, answer: Answer) -> None:
        """Touch the rows of which a page is about to be given."""
        if answer.status != _OK or answer.error_types or b"AggregatedMetrics" in request.body:
            return
        for question in seams.asked(request.body):
            for model, rows in self._rows.items():
                for account, identity in rows:
                    if question.reads(model, account):
                        self._touch(model, identity)

    def deliver(self) -> None:
        """Let the streams catch up."""
        for source in self._sources.values():
            source.deliver()

    def _touch(self, model: str, identity: str) -> None:
        old = self._run.tables.rows[identity]
        new = {**old, "metadata": {"attempts": self._draw.randrange(10**6)}}
        self._sources[model].write(Change(self._run.deployment.clock.now(), old, new))
