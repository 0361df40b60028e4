"""Delivers one shard's records as badly as Lambda may.

Records of a shard come in order, in batches that end anywhere; a batch that failed comes again from
the same first record, and so may one that succeeded, or it is given up. A mapping may be off, begin
at LATEST, not know its table, or be made again.
"""

import math
import random
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tests.truth import seams
from tests.truth.shards import Shard
from tests.truth.source_tables import Minute, Written

if TYPE_CHECKING:
    from tests.truth.run import Run

_ATTEMPTS = 60
_MORTAL = 12
_REDELIVER = 0.15
_REMEMBERED = timedelta(hours=23, minutes=30)


class Cursor:
    """How far one shard has been written and delivered."""

    def __init__(self, run: "Run", shard: Shard) -> None:
        self.run = run
        self.shard = shard
        self.trouble = run.troubles[shard.model]
        self.written: list[Written] = []
        self.position = 0
        self._times = shard.times
        self._elsewhere: dict[int, float] = {}
        self.skipped = range(0)
        self._draw = random.Random(f"deliver/{run.plan.seed}/{shard.model}/{shard.number}")

    def outstanding(self) -> set[Minute]:
        """The minutes that written records change which are not delivered."""
        return {minute for written in self.waiting() for minute in written.minutes}

    def waiting(self) -> list[Written]:
        """What was written and is not delivered."""
        return self.written[self.position :]

    def hidden(self, since: float) -> set[Minute]:
        """The minutes with a row whose place in the index is not known, then or later.

        Only its record tells. It may be written and delivered while a check is under way.
        """
        numbers = [number for number, at in [*self._elsewhere.items()] if at >= since]
        return {minute for number in numbers for minute in self.written[number].minutes}

    def epoch(self, number: int, until: datetime) -> None:
        """Let an epoch pass, a batch at a time."""
        end = bisect_right(self._times, until)
        if number in self.trouble.skipped:
            self._skip(end)
        elif number in self.trouble.off:
            self.write(end)
        else:
            if number in self.trouble.replays:
                self._make_again(number)
            misnamed = number in self.trouble.misnamed
            while self.position < end:
                self._deliver_one(end, misnamed=misnamed)

    def _skip(self, end: int) -> None:
        first = min(self.position, len(self.written))
        self.skipped = range(self.skipped.start if self.skipped else first, end)
        self.write(end)
        self._lose(first, end)
        self.come_to(end)

    def _make_again(self, number: int) -> None:
        """The mapping is deleted and made again: it begins with the oldest record there is."""
        if self.trouble.renamed and number > self.trouble.ended:
            for first in range(self.skipped.start, self.skipped.stop, self.run.plan.batch):
                end = min(self.skipped.stop, first + self.run.plan.batch)
                self.run.surely(self._call(first, end, f"again-{self.shard.number}"))
        oldest = (self.run.deployment.clock.now() - _REMEMBERED).timestamp()
        self.position = next(
            (i for i, written in enumerate(self.written) if _created(written) >= oldest),
            len(self.written),
        )

    def _deliver_one(self, end: int, *, misnamed: bool) -> None:
        first = self.position
        size = self._size(end - first)
        # The table is ahead of its stream: sometimes by more than the batch that comes.
        self.write(min(end, first + size * self._draw.choice((1, 1, 3))))
        for attempt in range(_ATTEMPTS):
            self.write(first + size)
            mortal = attempt < _MORTAL
            error = self._invoke(first, size, mortal=mortal, misnamed=misnamed)
            if error is None:
                if misnamed:
                    self._lose(first, first + size)
                    self.run.refuse(self.written[first : first + size])
                if self._draw.random() >= _REDELIVER:
                    break
            elif not misnamed and self._draw.random() < self.trouble.ages_out:
                self._lose(first, first + size)
                _, event = self._call(first, first + size, self._name(first))
                self.run.give_up(event, self.written[first : first + size])
                break
            size = self._again(first, size, end - first)
        else:
            raise RuntimeError(f"{self.shard.name(first)} does not get on: {error}")
        self.come_to(first + size)

    def write(self, until: int) -> None:
        """Let the table have its writes up to a record's number."""
        for change in self.shard.changes[len(self.written) : until]:
            written = self.run.tables.write(self.shard.model, change, self.shard.stream)
            self.written.append(written)
            if written.elsewhere:
                self._elsewhere[len(self.written) - 1] = math.inf

    def come_to(self, end: int) -> None:
        """Take note that the records up to a number have come, or never will."""
        now = self.run.deployment.clock.now().timestamp()
        for number in range(self.position, end):
            if self._elsewhere.get(number) == math.inf:
                self._elsewhere[number] = now
        self.position = end

    def _lose(self, first: int, end: int) -> None:
        for written in self.written[first:end]:
            self.run.lost |= written.minutes

    def _size(self, most: int) -> int:
        batch = self.run.plan.batch
        return min(most, self._left(self.position), self._draw.choice((1, 3, 10, batch, batch)))

    def _left(self, first: int) -> int:
        """How many records come under the same name from here."""
        return self.shard.per_name - first % self.shard.per_name

    def _again(self, first: int, size: int, most: int) -> int:
        """The size of a redelivery: any, if its events name the shard; else never shorter."""
        least = 1 if self.shard.named else size
        if self._draw.random() < 0.5:
            return size
        return self._draw.randint(least, max(least, min(most, self._left(first), size * 2)))

    def _name(self, first: int) -> str | None:
        return self.shard.name(first) if self.shard.named else None

    def _call(self, first: int, end: int, name: str | None) -> seams.Call:
        return seams.aggregate((each.record for each in self.written[first:end]), name)

    def _invoke(self, first: int, size: int, *, mortal: bool, misnamed: bool) -> str | None:
        call = self._call(first, first + size, self._name(first))
        if self._draw.random() < 0.05 and not misnamed:
            self._twice_at_once(call)
        return self.run.invoke(*call, self._draw, mortal=mortal, misnamed=misnamed)[0]

    def _twice_at_once(self, call: seams.Call) -> None:
        """The same batch in a second invocation, as after a time-out that Lambda has not seen."""
        draw = random.Random(self._draw.random())
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(self.run.invoke, *call, draw)
            self.run.invoke(*call, draw)
            other.result()


def _created(written: Written) -> float:
    created: float = written.record["dynamodb"]["ApproximateCreationDateTime"]
    return created
