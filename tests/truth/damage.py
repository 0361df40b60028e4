"""Somebody falsifies buckets while the truth test runs, and the reconciler sets them right."""

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from testbench import oracle
from testbench.fakes.appsync import FakeAppSync
from tests.truth.row_histories import ACCOUNTS, SPAN

EACH_TIME = 3
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_SECONDS = "%Y-%m-%dT%H:%M:%SZ"
_ROUNDS = 20


def falsify(
    api: FakeAppSync,
    draw: random.Random,
    now: datetime,
    *,
    since: datetime,
    spared: tuple[str, ...],
) -> int:
    """Falsify some buckets that begin at `since` or later, of any record type but those spared.

    Gives back how many.
    """
    first = since.strftime(_SECONDS)
    rows = [
        row
        for row in api.rows("AggregatedMetrics")
        if row["recordType"] not in spared and row["timeRangeStart"] >= first
    ]
    for row in draw.sample(rows, min(EACH_TIME, len(rows))):
        match draw.randrange(3):
            case 0:
                api.remove("AggregatedMetrics", row["accountId"], row["compositeKey"])
                continue
            case 1:
                name = draw.choice(oracle.MEASURES)
                wrong = {name: max(0, (row[name] or 0) + draw.choice((-1, 1, 7)))}
            case _:
                wrong = _surplus(draw, row)
        version = {"updatedAt": now.strftime(_FORMAT)}
        api.put("AggregatedMetrics", row | wrong | version)
    return min(EACH_TIME, len(rows))


def _surplus(draw: random.Random, row: Mapping[str, Any]) -> dict[str, Any]:
    """A minute in the same hour, which most likely no row was created in."""
    start = f"{row['timeRangeStart'][:14]}{draw.randrange(60):02}:00Z"
    moment = datetime.fromisoformat(start)
    return {
        "compositeKey": f"{row['recordType']}#{start}#1",
        "timeRangeStart": start,
        "timeRangeEnd": (moment + timedelta(minutes=1)).strftime(_SECONDS),
        "numberOfMinutes": 1,
        "count": draw.randrange(1, 9),
        "metadata": None,
    }


def set_right(invoke: Callable[[Mapping[str, Any]], Any], start: datetime) -> int:
    """Have what may be falsified repaired until nothing is wrong; how many buckets were repaired.

    Raises:
        RuntimeError: there is always more to repair.
    """
    repaired = 0
    for account in ACCOUNTS:
        whole = {
            "accountId": account,
            "start": start.isoformat(),
            "end": (start + SPAN + timedelta(hours=1)).isoformat(),
            "repair": True,
        }
        for _ in range(_ROUNDS):
            wrong = 0
            event: Any = whole
            while event:
                result = invoke(event)
                if result is None:  # it failed, or died
                    wrong += 1
                    break
                wrong += result["driftCount"] + result["movingCount"]
                repaired += result["repaired"]
                event = result["next"]
            if not wrong:
                break
        else:
            raise RuntimeError(f"{account} always has something to repair")
    return repaired
