"""Random lives of rows, by seed: what is written to the tables, and when.

A life is a list of versions of one row. Its rows have no updatedAt: that is put upon them when they
are written (source_tables), as a change's *stamp* says.
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from testbench import oracle, rows

ACCOUNTS = ("acct-a", "acct-b", "acct-c")
MODELS = ("Item", "ScoreResult", "Task", "Evaluation")
SPAN = timedelta(hours=20)
_BURSTS = 12
MAKERS = {
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
_EMPTY = 0.05
"""How many of an odd model's ScoreResults lack a value, which AppSync must not give as null."""
_UNREADABLE = ("yesterday", "2026-11-22", "2026-11-22T10:00:00", "2026-02-30T10:00:00Z", "")


class Change(NamedTuple):
    """One write to a table. `new` is None for a removal.

    `stamp` is who sets updatedAt, and how: the API (`api`), in another zone (`offset`), a client to
    some hours before createdAt (`early`), or nobody (`none`: written past the API).
    """

    at: datetime
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    expired: bool = False
    stamp: str = "api"


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

        With a lifetime, a row expires when the hour that it counts into is older than that, and it
        may live up to three times as long.
        """
        *before, last = self.changes
        if not last.expired:
            return self
        if lifetime is None:
            return Life(self.model, (*before, last._replace(expired=False)))
        counted = oracle.when(last.old or {}) if countable(last.old) else None
        own = lifetime * (1 + last.at.microsecond % 3)
        over = last.at if counted is None else counted + own + timedelta(hours=1)
        return Life(self.model, (*before, last._replace(at=max(last.at, over))))

    def plain(self, when: Callable[[datetime], bool]) -> "Life":
        """The same, but what is written at such times is listed in its hour's own range.

        Nobody can find a row that is listed elsewhere, if no record tells where.
        """
        return Life(self.model, tuple(_plain(c) if when(c.at) else c for c in self.changes))


def _plain(change: Change) -> Change:
    moment = oracle.when(change.new) if countable(change.new) and change.new else None
    if moment is None or change.new is None:
        return change._replace(stamp="api")
    created = min(moment, change.at).astimezone(UTC)
    return change._replace(new={**change.new, "createdAt": _FORMS[0](created)}, stamp="api")


def countable(row: Mapping[str, Any] | None) -> bool:
    """Whether a row counts; `uncountable` marks those of these lives whose time is too far off."""
    return row is not None and oracle.when(row) is not None and not row.get("tooFarAhead")


def lives(seed: int, count: int, start: datetime, odd: Collection[str] = MODELS) -> list[Life]:
    """Random lives that begin within SPAN after `start`.

    Rows that an index does not list, or that the API cannot give, are of `odd` models only.
    """
    draw = random.Random(f"lives/{seed}")
    return [_life(draw, f"row-{i}", start, odd) for i in range(count)]


def standing(seed: int, count: int, start: datetime) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """So many rows that are there when their lives are over: model and row."""
    draw = random.Random(f"standing/{seed}")
    numbers = iter(range(2**63))
    while count:
        life = _life(draw, f"row-{next(numbers)}", start, ()).plain(lambda _: True)
        row = life.changes[-1].new
        if row is not None:
            count -= 1
            yield life.model, {**row, "updatedAt": life.changes[-1].at.isoformat()}


def _life(draw: random.Random, identity: str, start: datetime, odd: Collection[str]) -> Life:
    model = draw.choice(("Item", "ScoreResult", "ScoreResult", "Task", "Evaluation"))
    is_odd = model in odd
    at = start + _begins(draw)
    row = _row(draw, model, identity, at, is_odd=is_odd)
    changes = [Change(at, None, row, stamp=_stamp(draw, is_odd=is_odd))]
    while draw.random() < 0.45:
        at += timedelta(seconds=draw.expovariate(1 / 900))
        new = _updated(draw, model, row, at, is_odd=is_odd)
        changes.append(Change(at, row, new, stamp=_stamp(draw, is_odd=is_odd)))
        row = new
    ending = draw.random()
    if ending < 0.22:
        at += timedelta(seconds=draw.expovariate(1 / 1800))
        changes.append(Change(at, row, None, expired=ending < 0.07))
    return Life(model, tuple(changes))


def _stamp(draw: random.Random, *, is_odd: bool) -> str:
    kinds = ("early", "offset", "none") if is_odd else ("early", "offset")
    return draw.choice(kinds) if draw.random() < 0.1 else "api"


def _begins(draw: random.Random) -> timedelta:
    """When a row is created: half of them in bursts, so that shards meet in the same minutes."""
    if draw.random() < 0.5:
        return draw.random() * SPAN
    return draw.randrange(_BURSTS) / _BURSTS * SPAN + timedelta(seconds=draw.expovariate(1 / 20))


def _row(
    draw: random.Random, model: str, identity: str, at: datetime, *, is_odd: bool
) -> dict[str, Any]:
    row = MAKERS[model](identity, accountId=draw.choice(ACCOUNTS), updatedAt=rows.REMOVED)
    _set_time(draw, row, at)
    _set_split(draw, model, row)
    _set_measures(draw, model, row, is_odd=is_odd)
    if draw.random() < 0.03:
        _spoil(draw, row, at, is_odd=is_odd)
    return row


def _updated(
    draw: random.Random, model: str, row: Mapping[str, Any], at: datetime, *, is_odd: bool
) -> dict[str, Any]:
    new = dict(row)
    if not countable(row) and draw.random() < 0.7:
        new.pop("tooFarAhead", None)
        new["accountId"] = draw.choice(ACCOUNTS)
        _set_time(draw, new, at)
        return new
    kind = draw.random()
    if kind < 0.25:
        _set_measures(draw, model, new, is_odd=is_odd)
    elif kind < 0.40:
        _set_split(draw, model, new)
    elif kind < 0.50 and countable(row):
        _set_time(draw, new, at)
    elif kind < 0.58 and row.get("accountId"):
        new["accountId"] = draw.choice(ACCOUNTS)
    elif kind < 0.64:
        _spoil(draw, new, at, is_odd=is_odd)
    else:
        new["metadata"] = {"attempts": draw.randrange(9)}
    return new


def _set_time(draw: random.Random, row: dict[str, Any], at: datetime) -> None:
    late = draw.random()
    if late < 0.05:
        at -= timedelta(days=draw.uniform(1, 4))
    elif late < 0.2:
        at -= timedelta(hours=draw.uniform(0, 3))
    elif late < 0.23:
        at += timedelta(hours=draw.uniform(0, 20))
    row["createdAt"] = draw.choice(_FORMS)(at.astimezone(UTC))


def _set_split(draw: random.Random, model: str, row: dict[str, Any]) -> None:
    value = draw.choice(("prediction", "evaluation", "test", None))
    name = {"Item": "createdByType", "ScoreResult": "type"}.get(model)
    if name:
        row[name] = value


def _set_measures(draw: random.Random, model: str, row: dict[str, Any], *, is_odd: bool) -> None:
    if model == "ScoreResult":
        value = draw.choice(("Yes", "No", "error", "ERROR", ""))
        row["value"] = None if is_odd and draw.random() < _EMPTY else value
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


def _spoil(draw: random.Random, row: dict[str, Any], at: datetime, *, is_odd: bool) -> None:
    kind = draw.randrange(3)
    if kind == 0:
        row.pop("accountId", None)
    elif kind == 1 and is_odd:
        row["createdAt"] = draw.choice(_UNREADABLE)
    else:
        row["createdAt"] = (at + timedelta(days=draw.uniform(3, 30))).isoformat()
        row["tooFarAhead"] = True
