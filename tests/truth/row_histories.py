"""Random lives of rows, by seed: what is written to the tables, and when.

A life is a list of versions of one row. A history puts the lives' changes into shards, in the order
of their times, as stream records; `truth` is what the rows come to in the end.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from testbench import oracle, rows, streams

ACCOUNTS = ("acct-a", "acct-b", "acct-c")
MODELS = ("Item", "ScoreResult", "Task", "Evaluation")
SPAN = timedelta(hours=20)
_BURSTS = 12
_MAKERS = {
    "Item": rows.item,
    "ScoreResult": rows.score_result,
    "Task": rows.task,
    "Evaluation": rows.evaluation,
}
_FORMS = (
    lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.") + f"{t.microsecond // 1000:03}Z",
    lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ"),
    lambda t: t.strftime("%Y-%m-%dT%H:%MZ"),
    lambda t: t.isoformat(),
    lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.") + f"{t.microsecond:06}789Z",
    lambda t: (t + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%dT%H:%M:%S+05:30"),
    lambda t: (t - timedelta(hours=11)).strftime("%Y-%m-%dT%H:%M:%S-11:00"),
)
_UNREADABLE = ("yesterday", "2026-11-22", "2026-11-22T10:00:00", "2026-02-30T10:00:00Z", "")


class Change(NamedTuple):
    """One write to a table. `new` is None for a removal."""

    at: datetime
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    expired: bool = False


class Life(NamedTuple):
    """One row's changes, in order."""

    model: str
    changes: tuple[Change, ...]

    @property
    def counted(self) -> Mapping[str, Any] | None:
        """The image that counts in the end: an expired row's last one; None if it was removed."""
        last = self.changes[-1]
        return last.old if last.expired else last.new

    def in_a_table(self, lifetime: timedelta | None) -> "Life":
        """The same in a table whose rows live so long: those of None are removed, none expires.

        With a lifetime, a row expires when the hour that it counts into is older than that.
        """
        *before, last = self.changes
        if not last.expired:
            return self
        if lifetime is None:
            return Life(self.model, (*before, last._replace(expired=False)))
        counted = oracle.when(last.old or {}) if countable(last.old) else None
        over = last.at if counted is None else counted + lifetime + timedelta(hours=1)
        return Life(self.model, (*before, last._replace(at=max(last.at, over))))


@dataclass
class Shard:
    """One shard of one table's stream; `named` tells whether its events carry a shardId."""

    model: str
    number: int
    named: bool
    changes: list[Change] = field(default_factory=list)
    records: list[streams.Record] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"shardId-{self.number:020}-{self.model.lower()}"


@dataclass
class History:
    """Everything that is going to happen to the tables."""

    lives: list[Life]
    shards: list[Shard]

    def truth(self) -> dict[oracle.Key, tuple[int, ...]]:
        """Every bucket that must exist in the end."""
        return oracle.buckets_of(
            (life.model, life.counted)
            for life in self.lives
            if life.counted is not None and countable(life.counted)
        )

    def uncountable(self) -> set[str]:
        """The eventIDs of the records that must be in quarantine."""
        return {
            record["eventID"]
            for shard in self.shards
            for change, record in zip(shard.changes, shard.records, strict=True)
            if change.new is not None and not countable(change.new)
        }


def countable(row: Mapping[str, Any] | None) -> bool:
    """Whether a row counts; `uncountable` marks those of these lives whose time is too far off."""
    return row is not None and oracle.when(row) is not None and not row.get("tooFarAhead")


def lives(seed: int, count: int, start: datetime) -> list[Life]:
    """Random lives that begin within SPAN after `start`."""
    draw = random.Random(f"lives/{seed}")
    return [_life(draw, f"row-{i}", start) for i in range(count)]


def standing(seed: int, count: int, start: datetime) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """So many rows that are there when their lives are over: model and row."""
    draw = random.Random(f"standing/{seed}")
    numbers = iter(range(2**63))
    while count:
        life = _life(draw, f"row-{next(numbers)}", start)
        row = life.changes[-1].new
        if row is not None:
            count -= 1
            yield life.model, row


def history(lives_: list[Life], seed: int, shards_per_table: int) -> History:
    """Put lives into shards. A row's changes are all in one shard, as DynamoDB keeps them."""
    draw = random.Random(f"shards/{seed}")
    shards = [
        Shard(model, number, named=draw.random() < 0.75)
        for model in MODELS
        for number in range(shards_per_table)
    ]
    by_model = {model: [shard for shard in shards if shard.model == model] for model in MODELS}
    for life in lives_:
        row = life.changes[0].new or {}
        shard = random.Random(f"place/{seed}/{row['id']}").choice(by_model[life.model])
        shard.changes.extend(life.changes)
    for shard in shards:
        # Changes of one row have rising times, so sorting by time keeps their order.
        shard.changes.sort(key=lambda change: change.at)
        stream = streams.Stream(shard.model, first=10**20 * (shard.number + 9) - 40)
        for change in shard.changes:
            shard.records.append(_record(stream, change))
            shard.times.append(change.at)
    return History(lives_, shards)


def _record(stream: streams.Stream, change: Change) -> streams.Record:
    if change.new is None:
        remove = stream.expire if change.expired else stream.remove
        return remove(change.old or {}, created=change.at)
    if change.old is None:
        return stream.insert(change.new, created=change.at)
    return stream.modify(change.old, change.new, created=change.at)


def _life(draw: random.Random, identity: str, start: datetime) -> Life:
    model = draw.choice(("Item", "ScoreResult", "ScoreResult", "Task", "Evaluation"))
    at = start + _begins(draw)
    row = _row(draw, model, identity, at)
    changes = [Change(at, None, row)]
    while draw.random() < 0.45:
        at += timedelta(seconds=draw.expovariate(1 / 900))
        new = _updated(draw, model, row, at)
        changes.append(Change(at, row, new))
        row = new
    ending = draw.random()
    if ending < 0.22:
        at += timedelta(seconds=draw.expovariate(1 / 1800))
        changes.append(Change(at, row, None, expired=ending < 0.07))
    return Life(model, tuple(changes))


def _begins(draw: random.Random) -> timedelta:
    """When a row is created: half of them in bursts, so that shards meet in the same minutes."""
    if draw.random() < 0.5:
        return draw.random() * SPAN
    return draw.randrange(_BURSTS) / _BURSTS * SPAN + timedelta(seconds=draw.expovariate(1 / 20))


def _row(draw: random.Random, model: str, identity: str, at: datetime) -> dict[str, Any]:
    row = _MAKERS[model](identity, accountId=draw.choice(ACCOUNTS))
    row["updatedAt"] = at.isoformat()
    _set_time(draw, row, at)
    _set_split(draw, model, row)
    _set_measures(draw, model, row)
    if draw.random() < 0.03:
        _spoil(draw, row, at)
    return row


def _updated(
    draw: random.Random, model: str, row: Mapping[str, Any], at: datetime
) -> dict[str, Any]:
    new = {**row, "updatedAt": at.isoformat()}
    if not countable(row) and draw.random() < 0.7:
        new.pop("tooFarAhead", None)
        new["accountId"] = draw.choice(ACCOUNTS)
        _set_time(draw, new, at)
        return new
    kind = draw.random()
    if kind < 0.25:
        _set_measures(draw, model, new)
    elif kind < 0.40:
        _set_split(draw, model, new)
    elif kind < 0.50 and countable(row):
        _set_time(draw, new, at)
    elif kind < 0.58 and row.get("accountId"):
        new["accountId"] = draw.choice(ACCOUNTS)
    elif kind < 0.64:
        _spoil(draw, new, at)
    else:
        new["metadata"] = {"attempts": draw.randrange(9)}
    return new


def _set_time(draw: random.Random, row: dict[str, Any], at: datetime) -> None:
    late = draw.random()
    if late < 0.05:
        at -= timedelta(days=draw.uniform(1, 9))
    elif late < 0.2:
        at -= timedelta(hours=draw.uniform(0, 3))
    row["createdAt"] = draw.choice(_FORMS)(at.astimezone(UTC))


def _set_split(draw: random.Random, model: str, row: dict[str, Any]) -> None:
    value = draw.choice(("prediction", "evaluation", "test", None))
    name = {"Item": "createdByType", "ScoreResult": "type"}.get(model)
    if name:
        row[name] = value


def _set_measures(draw: random.Random, model: str, row: dict[str, Any]) -> None:
    if model == "ScoreResult":
        row["value"] = draw.choice(("Yes", "No", "error", "ERROR", ""))
        row["code"] = draw.choice(("200", "404", "500", None, "n/a"))
        row["cost"] = _cost(draw)
    elif model == "Evaluation":
        row["cost"] = draw.choice((None, 0.0000005, 0.0000015, round(draw.random() * 9, 7)))
    if model in ("Task", "Evaluation"):
        row["status"] = draw.choice(("RUNNING", "COMPLETED", "FAILED", "ERROR"))


def _cost(draw: random.Random) -> Any:
    dollars = round(draw.random() / 50, draw.choice((3, 5, 7, 9)))
    calls, cached = draw.randrange(5), draw.randrange(3)
    return draw.choice(
        (
            None,
            {"total_cost": dollars, "api_calls": calls, "cached_api_calls": cached},
            {"total_usd": dollars, "llm_calls": calls, "cached_llm_calls": cached},
            f'{{"total_cost": {dollars:.9f}, "llm_calls": {calls}}}',
            {"prompt_tokens": 12},
        )
    )


def _spoil(draw: random.Random, row: dict[str, Any], at: datetime) -> None:
    kind = draw.randrange(3)
    if kind == 0:
        row.pop("accountId", None)
    elif kind == 1:
        row["createdAt"] = draw.choice(_UNREADABLE)
    else:
        row["createdAt"] = (at + timedelta(days=draw.uniform(3, 30))).isoformat()
        row["tooFarAhead"] = True


def size(lives_: Iterable[Life]) -> int:
    """Changes in all."""
    return sum(len(life.changes) for life in lives_)
