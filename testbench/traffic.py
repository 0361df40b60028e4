"""A scoring application's writes, by seed. Pure: nothing is sent from here.

Rows get later versions: results are corrected, tasks fail, calls are moved to the account that they
belong to, some rows are deleted. Two accounts' sites were offline and deliver calls days late; and
some rows cannot be counted at all.
"""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from testbench.rows import MAKERS

type Row = dict[str, Any]

ACCOUNTS = ("acme", "bravo", "corner")
_MINUTE = timedelta(minutes=1)
_MODELS = {
    "Item": 28,
    "ScoreResult": 46,
    "Task": 10,
    "Evaluation": 4,
    "FeedbackItem": 6,
    "Procedure": 1,
    "ChatSession": 1,
    "ChatMessage": 4,
}
_LATE_DAYS = {"acme": 2, "bravo": 5}
# how much of an account's traffic comes at a point of the two hours (0 to 1)
_SHAPES: dict[str, Callable[[float], float]] = {
    "acme": lambda t: 1.2 + 0.3 * math.sin(9 * t),
    "bravo": lambda t: 0.3 + 1.6 * math.exp(-((t - 0.45) ** 2) / 0.03),
    "corner": lambda t: 0.2 + 0.9 * t * t,
}


class Write(NamedTuple):
    """One write to a table: a put (`row`), an update (`row`, of what changes) or a delete (None).

    None as an update's value removes the attribute.
    """

    at: datetime
    model: str
    id: str
    row: Row | None
    is_new: bool = False


@dataclass
class Traffic:
    """Everything that is going to be written.

    Attributes:
        start, end: the time in which they are written; late rows lie days before them.
        writes: in the order in which they are to be written; a row's writes keep their order.
        uncountable: model and id of every row of which a version cannot be counted.
    """

    start: datetime
    end: datetime
    writes: list[Write] = field(default_factory=list)
    uncountable: set[tuple[str, str]] = field(default_factory=set)

    def minutes(self) -> list[list[Write]]:
        """The writes, minute by minute."""
        slices: dict[int, list[Write]] = {}
        for write in self.writes:
            slices.setdefault((write.at - self.start) // _MINUTE, []).append(write)
        return [slices[minute] for minute in sorted(slices)]


def traffic(rows: int, seed: int, end: datetime, *, minutes: int, name: str = "row") -> Traffic:
    """The lives of so many rows in the minutes before `end`, which is a whole minute."""
    draw = random.Random(f"{seed}/{name}")
    made = Traffic(end - minutes * _MINUTE, end)
    places = [(account, minute) for account in ACCOUNTS for minute in range(minutes)]
    weights = [_SHAPES[account](minute / minutes) for account, minute in places]
    models = draw.choices([*_MODELS], [*_MODELS.values()], k=rows)
    for i, (account, minute) in enumerate(draw.choices(places, weights, k=rows)):
        at = made.start + (minute + draw.random()) * _MINUTE
        _live(draw, made, models[i], f"{name}-{i:05}", account, at)
    made.writes.sort(key=lambda write: write.at)
    return made


def _live(
    draw: random.Random, made: Traffic, model: str, identity: str, account: str, at: datetime
) -> None:
    """One row's writes, all at rising times and before the end."""
    times = {"createdAt": text(at), "updatedAt": text(at)}
    row = MAKERS[model](identity, accountId=account, **times, **_drawn(draw, model))
    if account in _LATE_DAYS and draw.random() < 0.02:
        late = at.replace(minute=0) - timedelta(days=_LATE_DAYS[account])
        row["createdAt"] = text(late + draw.random() * 59 * _MINUTE)
    spoiled = _spoiled(draw, model, at) if draw.random() < 0.006 else {}
    made.writes.append(Write(at, model, identity, _without_none(row | spoiled), is_new=True))
    if spoiled:
        made.uncountable.add((model, identity))
    for changes in _changes(draw, model, row, spoiled, at):
        # most updates come soon; the clock never goes past the end
        at = min(at + timedelta(seconds=draw.expovariate(1 / 25)), made.end - _MINUTE / 600)
        made.writes.append(
            Write(at, model, identity, changes and changes | {"updatedAt": text(at)})
        )


def _changes(
    draw: random.Random, model: str, row: Row, spoiled: Row, at: datetime
) -> list[Row | None]:
    """What happens to a row after it was written; None at the end for its removal."""
    if spoiled:
        corrected = {name: row[name] for name in spoiled}
        return [corrected] if draw.random() < 0.4 else []
    changes = _usual(draw, model, at)
    if draw.random() < 0.03:
        changes += [None]
    return changes


def _usual(draw: random.Random, model: str, at: datetime) -> list[Row | None]:
    """What happens to a row in the course of things."""
    fate = draw.random()
    if model == "FeedbackItem":
        return _edits(draw, at) if fate < 0.6 else []
    if model in ("Task", "Evaluation"):
        progress: list[Row | None] = [{"processedItems": draw.randrange(1, 100)}]
        return [*(progress if model == "Evaluation" else []), _ended(draw, model)]
    kinds: list[tuple[float, Callable[[], Row]]] = [
        (0.14, lambda: {"metadata": {"reviewed": True}}),  # nothing that is counted
        (0.15, lambda: {"accountId": draw.choice(ACCOUNTS)}),
        (0.16, lambda: {"createdAt": text(at - draw.uniform(0.5, 2) * _MINUTE)}),
    ]
    if model in _SPLIT_BY:
        splits = ("prediction", "evaluation", "manual")
        kinds.append((0.19, lambda: {_SPLIT_BY[model]: draw.choice(splits)}))
    if model == "ScoreResult":
        kinds.insert(0, (0.08, lambda: {"value": "ERROR", "code": "500"}))
        kinds.insert(1, (0.10, lambda: {"cost": _cost(draw)}))
        kinds.insert(2, (0.12, lambda: {"scoreId": f"score-{draw.randrange(1, 5)}"}))
    return next(([change()] for share, change in kinds if fate < share), [])


_SPLIT_BY = {"Item": "createdByType", "ScoreResult": "type"}


def _spoiled(draw: random.Random, model: str, at: datetime) -> Row:
    """What makes a row uncountable."""
    if model == "FeedbackItem":
        return {"accountId": None}  # it counts at another time than createdAt
    ahead = text(at + timedelta(days=draw.uniform(3, 30)))
    return draw.choice(({"accountId": None}, {"createdAt": "yesterday"}, {"createdAt": ahead}))


def _ended(draw: random.Random, model: str) -> Row:
    ended: Row = {"status": draw.choices(("COMPLETED", "FAILED"), (9, 1))[0]}
    if model == "Evaluation":
        ended["cost"] = draw.randrange(100_000, 4_000_000) / 1_000_000
    return ended


def _edits(draw: random.Random, at: datetime) -> list[Row | None]:
    """What an editor makes of a result: an answer, and now and then that it was no question."""
    edited: Row = {"editedAt": text(at), "finalAnswerValue": draw.choice(("Yes", "No"))}
    return [edited] if draw.random() < 0.9 else [edited, {"isInvalid": True}]


def _drawn(draw: random.Random, model: str) -> Row:
    """What rows of a model differ in, beside their account and times."""
    score = draw.randrange(1, 5)
    scored = {"scorecardId": f"scorecard-{1 + score % 2}", "scoreId": f"score-{score}"}
    failed = draw.random() < 0.02
    kinds: dict[str, Row] = {
        "Item": {
            "createdByType": draw.choices(("prediction", "evaluation", "manual"), (7, 2, 1))[0]
        },
        "ScoreResult": {
            **scored,
            "value": "ERROR" if failed else draw.choice(("Yes", "No", "N/A")),
            "code": "500" if failed else "200",
            "type": draw.choices(("prediction", "evaluation"), (8, 2))[0],
            "cost": _cost(draw),
        },
        "Evaluation": {**scored, "status": "RUNNING", "cost": None},
        "FeedbackItem": {**scored, "initialAnswerValue": draw.choice(("Yes", "No", None))},
    }
    return kinds.get(model, {})


def _cost(draw: random.Random) -> Any:
    """What AppSync stores for AWSJSON is a map; a writer that encodes it twice leaves a text."""
    dollars = draw.randrange(200, 40_000) / 10_000_000
    calls, cached = draw.randrange(1, 5), draw.randrange(2)
    if draw.random() < 0.1:
        return json.dumps({"total_cost": dollars, "api_calls": calls})
    return {"total_cost": dollars, "llm_calls": calls, "cached_llm_calls": cached}


def _without_none(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None}


def text(moment: datetime) -> str:
    """An instant as AppSync writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
