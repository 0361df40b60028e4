"""A scoring application's writes, by seed. Pure: nothing is sent from here.

Rows get later versions: results are corrected, tasks fail, calls are moved to the account that they
belong to, some rows are deleted. Some rows are delivered days late, and some cannot be counted.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from typing import Any, NamedTuple

from aggregated_metrics.core.declarations import Declaration

from testbench import own_models
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
_KINDS = ("prediction", "evaluation", "manual")


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
        end: when the last is written.
        writes: in the order in which they are to be written.
        uncountable: model and id of every row of which a version cannot be counted.
    """

    end: datetime
    writes: list[Write] = field(default_factory=list)
    uncountable: set[tuple[str, str]] = field(default_factory=set)


def traffic(
    rows: int,
    seed: int,
    end: datetime,
    *,
    minutes: int,
    name: str = "row",
    own: Iterable[Declaration] = (),
) -> Traffic:
    """The lives of so many rows in the minutes before `end`, which is a whole minute.

    Of each of one's `own` models a tenth as many come in addition, once written and never changed.
    """
    draw = random.Random(f"{seed}/{name}")
    made = Traffic(end)
    for number, model in enumerate(draw.choices([*_MODELS], [*_MODELS.values()], k=rows)):
        at = end - draw.random() * minutes * _MINUTE
        _live(draw, made, model, f"{name}-{number:05}", at)
    for declared, number in product(own, range(rows // 10)):
        at, account = end - draw.random() * minutes * _MINUTE, draw.choices(ACCOUNTS, (5, 3, 2))[0]
        row = own_models.row(declared, draw, at, account, f"{name}-{number:05}")
        made.writes.append(Write(at, declared.name, f"{name}-{number:05}", row, is_new=True))
    made.writes.sort(key=lambda write: write.at)
    return made


def _live(draw: random.Random, made: Traffic, model: str, identity: str, at: datetime) -> None:
    """One row's writes, at rising times."""
    account = draw.choices(ACCOUNTS, (5, 3, 2))[0]
    times = {"createdAt": text(at), "updatedAt": text(at)}
    row = MAKERS[model](identity, accountId=account, **times, **_drawn(draw, model))
    if draw.random() < 0.02:
        row["createdAt"] = text(at.replace(minute=0) - timedelta(days=3, minutes=draw.random()))
    changes: list[Row | None] = [*_changes(draw, model, at)]
    if draw.random() < 0.006:
        spoiled = _spoiled(draw, model, at)
        made.uncountable.add((model, identity))
        changes = [{name: row[name] for name in spoiled}] if draw.random() < 0.4 else []
        row |= spoiled
    elif draw.random() < 0.03:
        changes.append(None)
    given = {name: value for name, value in row.items() if value is not None}
    made.writes.append(Write(at, model, identity, given, is_new=True))
    for change in changes:
        at = min(at + timedelta(seconds=draw.expovariate(1 / 25)), made.end)
        made.writes.append(Write(at, model, identity, change and change | {"updatedAt": text(at)}))


def _drawn(draw: random.Random, model: str) -> Row:
    """What rows of a model differ in, beside their account and times."""
    score = draw.randrange(1, 5)
    scored = {"scorecardId": f"scorecard-{1 + score % 2}", "scoreId": f"score-{score}"}
    failed = draw.random() < 0.02
    kinds: dict[str, Row] = {
        "Item": {"createdByType": draw.choices(_KINDS, (7, 2, 1))[0]},
        "ScoreResult": {
            **scored,
            "value": "ERROR" if failed else draw.choice(("Yes", "No", "N/A")),
            "code": "500" if failed else "200",
            "type": draw.choices(_KINDS[:2], (8, 2))[0],
            "cost": _cost(draw),
        },
        "Evaluation": {**scored, "status": "RUNNING", "cost": None},
        "FeedbackItem": {**scored, "initialAnswerValue": draw.choice(("Yes", "No", None))},
    }
    return kinds.get(model, {})


def _changes(draw: random.Random, model: str, at: datetime) -> list[Row]:
    """What happens to a row after it was written: some of what may, each with its share of rows."""
    ended: Row = {"status": draw.choices(("COMPLETED", "FAILED"), (9, 1))[0]}
    edited: Row = {"editedAt": text(at), "finalAnswerValue": draw.choice(("Yes", "No"))}
    kinds: dict[str, list[tuple[float, Row]]] = {
        "Item": [(0.03, {"createdByType": draw.choice(_KINDS)})],
        "ScoreResult": [
            (0.08, {"value": "ERROR", "code": "500"}),
            (0.03, {"cost": _cost(draw)}),
            (0.03, {"scoreId": f"score-{draw.randrange(1, 5)}"}),
            (0.03, {"type": draw.choice(_KINDS)}),
        ],
        "Task": [(0.9, ended)],
        "Evaluation": [(0.9, ended | {"cost": draw.randrange(100_000, 4_000_000) / 1_000_000})],
        "FeedbackItem": [(0.6, edited), (0.06, {"isInvalid": True})],
    }
    usual: list[tuple[float, Row]] = [
        (0.03, {"metadata": {"reviewed": True}}),  # nothing that is counted
        (0.02, {"accountId": draw.choice(ACCOUNTS)}),
        (0.02, {"createdAt": text(at - draw.uniform(0.5, 2) * _MINUTE)}),
    ]
    return [change for share, change in kinds.get(model, []) + usual if draw.random() < share]


def _spoiled(draw: random.Random, model: str, at: datetime) -> Row:
    """What makes a row uncountable."""
    if model == "FeedbackItem":
        return {"accountId": None}  # it counts at another time than createdAt
    ahead = text(at + timedelta(days=draw.uniform(3, 30)))
    return draw.choice(({"accountId": None}, {"createdAt": "yesterday"}, {"createdAt": ahead}))


def _cost(draw: random.Random) -> Any:
    """What AppSync stores for AWSJSON is a map; a writer that encodes it twice leaves a text."""
    dollars = draw.randrange(200, 40_000) / 10_000_000
    calls, cached = draw.randrange(1, 5), draw.randrange(2)
    if draw.random() < 0.1:
        return json.dumps({"total_cost": dollars, "api_calls": calls})
    return {"total_cost": dollars, "llm_calls": calls, "cached_llm_calls": cached}


def text(moment: datetime) -> str:
    """An instant as AppSync writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
