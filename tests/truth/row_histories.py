"""Random lives of rows, by seed: what is written to the tables, and when.

A life is a list of versions of one row. Its rows have no updatedAt: that is put upon them when they
are written (source_tables), as a change's *stamp* says.
"""

import random
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from testbench import oracle, rows
from tests import reviews

ACCOUNTS = ("acct-a", "acct-b", "acct-c")
MODELS = ("Item", "ScoreResult", "Task", "Evaluation", "FeedbackItem", "Review")
"""Review is declared: this project has never heard of it (tests.reviews)."""
SPAN = timedelta(hours=20)
_TOO_FAR = (20.0, 30.0)
"""So many days ahead no row can be counted; no run lasts so long that its time comes."""
_BURSTS = 12
_SPLITS = {
    "Item": ("createdByType", ("prediction", "evaluation", "test", None)),
    "ScoreResult": ("type", ("prediction", "evaluation", "test", None)),
    "Review": ("channel", ("phone", "mail", "chat", None)),
}
_SCOPES = (("card-1", "score-1"), ("card-1", "score-2"), ("card-2", "score-3"))
_PARTIAL = (("card-2", None), (None, None))
"""What the API's schema lets some models' rows have."""
_SCOPED = {"ScoreResult": _SCOPES + _PARTIAL[:1], "FeedbackItem": _SCOPES} | dict.fromkeys(
    ("Evaluation", "Review"), _SCOPES + _PARTIAL
)
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
"""How many of an odd model's ScoreResults have no value, which AppSync must not give as null."""
_UNREADABLE = ("yesterday", "2026-11-22", "2026-11-22T10:00:00", "2026-02-30T10:00:00Z", "")


class Change(NamedTuple):
    """One write to a table. `new` is None for a removal.

    `stamp` is who sets updatedAt, and how: the API (`api`), in another zone (`offset`), a client to
    some hours before createdAt (`early`), or not at all (`none`: written past the API).
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
        counted = moment_of(self.model, last.old)
        if self.model == "FeedbackItem":  # counted when it was updated, if it was never edited
            counted = max(counted, before[-1].at) if counted else None
        own = lifetime * (1 + last.at.microsecond % 3)
        over = last.at if counted is None else counted + own + timedelta(hours=1)
        return Life(self.model, (*before, last._replace(at=max(last.at, over))))

    def plain(self, when: Callable[[datetime], bool]) -> "Life":
        """The same, but what is written at such times is listed in its hour's own range.

        No check can find a row that is listed elsewhere, if no record says where.
        """
        changes = (_plain(self.model, c) if when(c.at) else c for c in self.changes)
        return Life(self.model, tuple(changes))


def _plain(model: str, change: Change) -> Change:
    moment = moment_of(model, change.new)
    if moment is None or change.new is None:
        return change._replace(stamp="api")
    text = _FORMS[0](min(moment, change.at).astimezone(UTC))
    name = next(name for name in _times(model) if change.new.get(name) is not None)
    return change._replace(new={**change.new, name: text}, stamp="api")


def moment_of(model: str, row: Mapping[str, Any] | None) -> datetime | None:
    """When a row counts; None if it does not: `tooFarAhead` says by how many days it is too early.

    As long as a row is not written, its updatedAt is not there to count by.
    """
    if row is None or row.get("tooFarAhead") or row.get("_deleted"):
        return None
    return oracle.when(model, row)


def new_row(model: str, identity: str, account: str, at: str) -> dict[str, Any]:
    """A row as it is before it is written, which counts into this account at this time."""
    if model == "Review":
        return reviews.review(identity, tenantId=account, reviewedAt=at, updatedAt=rows.REMOVED)
    times = dict.fromkeys(_times(model), at)
    return rows.MAKERS[model](identity, accountId=account, **times, updatedAt=rows.REMOVED)


def _times(model: str) -> list[str]:
    """The attributes that may tell a row's time before it is written."""
    names = oracle.TIMES.get(model, ("createdAt",))
    return [name for name in names if name != "updatedAt"]


def lives(seed: int, count: int, start: datetime, odd: Collection[str] = MODELS) -> list[Life]:
    """Random lives that begin within SPAN after `start`.

    Rows that an index does not list, or that the API cannot give, are of `odd` models only.
    """
    draw = random.Random(f"lives/{seed}")
    return [_life(draw, f"row-{i}", start, odd) for i in range(count)]


def _life(draw: random.Random, identity: str, start: datetime, odd: Collection[str]) -> Life:
    model = draw.choice((*MODELS, "ScoreResult"))
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
    row = new_row(model, identity, draw.choice(ACCOUNTS), "")
    _set_time(draw, model, row, at)
    _set_split(draw, model, row)
    _set_scope(draw, model, row)
    _set_measures(draw, model, row, is_odd=is_odd)
    if draw.random() < 0.03:
        _spoil(draw, model, row, at, is_odd=is_odd)
    return row


def _updated(
    draw: random.Random, model: str, row: Mapping[str, Any], at: datetime, *, is_odd: bool
) -> dict[str, Any]:
    new, counts = dict(row), moment_of(model, row) is not None
    account = oracle.account_of(model)
    if not counts and draw.random() < 0.7:
        new.pop("tooFarAhead", None)
        new[account] = draw.choice(ACCOUNTS)
        _set_time(draw, model, new, at)
        return new
    kind = draw.random()
    if kind < 0.25:
        _set_measures(draw, model, new, is_odd=is_odd)
    elif kind < 0.33:
        _set_split(draw, model, new)
    elif kind < 0.40:
        _set_scope(draw, model, new)
    elif kind < 0.50 and counts:
        _set_time(draw, model, new, at)
    elif kind < 0.58 and row.get(account):
        new[account] = draw.choice(ACCOUNTS)
    elif kind < 0.64:
        _spoil(draw, model, new, at, is_odd=is_odd)
    else:
        new["metadata"] = {"attempts": draw.randrange(9)}
    return new


def _set_time(draw: random.Random, model: str, row: dict[str, Any], at: datetime) -> None:
    written, late = at, draw.random()
    if late < 0.05:
        at -= timedelta(days=draw.uniform(1, 4))
    elif late < 0.2:
        at -= timedelta(hours=draw.uniform(0, 3))
    elif late < 0.23:
        at += timedelta(hours=draw.uniform(0, 20))
    text = draw.choice(_FORMS)(at.astimezone(UTC))
    if len(_times(model)) == 1:
        row["createdAt"] = text
        return
    row["createdAt"] = _FORMS[0](written.astimezone(UTC))
    first = _times(model)[0]
    row[first] = text if draw.random() < 0.7 else None


def _set_split(draw: random.Random, model: str, row: dict[str, Any]) -> None:
    if model in _SPLITS:
        name, values = _SPLITS[model]
        row[name] = draw.choice(values)


def _set_scope(draw: random.Random, model: str, row: dict[str, Any]) -> None:
    if model in _SCOPED:
        row["scorecardId"], row["scoreId"] = draw.choice(_SCOPED[model])


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
    elif model == "FeedbackItem":
        row["initialAnswerValue"] = draw.choice(("Yes", "No", "No", None))
        row["finalAnswerValue"] = draw.choice(("Yes", "No", "Yes", None))
        row["isInvalid"] = draw.choice((None, False, False, True))
    elif model == "Review":
        row["state"] = draw.choice(("OK", "BROKEN", None))
        dollars, words = round(draw.random(), 7), draw.randrange(500)
        row["usage"] = draw.choice(
            (None, {"total": dollars, "detail": {"words": words}}, {"detail": {"words": words}})
        )


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


def _spoil(
    draw: random.Random, model: str, row: dict[str, Any], at: datetime, *, is_odd: bool
) -> None:
    kind, time = draw.randrange(3), _times(model)[0]
    if kind == 0:
        row.pop(oracle.account_of(model), None)
    elif kind == 1 and is_odd:
        row[time] = draw.choice(_UNREADABLE)
    else:
        row["tooFarAhead"] = draw.uniform(*_TOO_FAR)
        row[time] = (at + timedelta(days=row["tooFarAhead"])).isoformat()
