"""The verdict on one bucket, in words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aggregated_metrics.adapters.pending_hours import Mark, State
from aggregated_metrics.core import buckets
from aggregated_metrics.core.hours import Bucket, HourId, Series
from aggregated_metrics.core.measures import Measures

from aggregated_metrics_cli.explain import Explanation, as_json, verdict

TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
HOUR = HourId(Series("a", "items"), TEN)
OVER = datetime(2026, 11, 22, 12, tzinfo=UTC)
RIGHT = Explanation(
    hour=HOUR,
    start=TEN,
    size=5,
    stored=Bucket(TEN, 5, Measures(3), complete=True, version="2026-11-22T10:05:00.000001Z"),
    counted=Measures(3),
    minutes={TEN + 1: (Measures(3), Measures(3))},
    mark=None,
    marks_known=True,
    kept_because=None,
    now=OVER,
    grace=120,
)
OPEN = Bucket(TEN, 5, Measures(3), version="2026-11-22T10:05:00Z")
OLD = "rows of that age have expired"
WRONG = replace(RIGHT, counted=Measures(4), minutes={TEN + 1: (Measures(3), Measures(4))})


def _mark(state: State, due: timedelta = timedelta()) -> tuple[State, Mark]:
    at = int((OVER + due).timestamp())
    return state, Mark(HOUR, at, at, "token")


@pytest.mark.parametrize(
    ("e", "says"),
    [
        (RIGHT, "It is right, and complete."),
        (
            replace(RIGHT, stored=None, counted=Measures(), minutes={}),
            "There is nothing to count, and nothing is stored.",
        ),
        (replace(RIGHT, stored=OPEN, now=OVER - timedelta(hours=2)), "its time (and the grace)"),
        (replace(RIGHT, stored=OPEN), "not complete yet. Its hour is not marked"),
        (
            replace(RIGHT, stored=OPEN, mark=_mark("pending", timedelta(seconds=30))),
            "The sweeper comes in 30 s.",
        ),
        (
            replace(RIGHT, stored=OPEN, mark=_mark("pending", timedelta(seconds=-90))),
            "The sweeper has been due for 90 s",
        ),
        (replace(RIGHT, stored=OPEN, mark=_mark("closed")), "waits for the reconciler"),
        (replace(RIGHT, stored=OPEN, marks_known=False), "give --pending-table or --stack"),
        (
            replace(WRONG, counted=Measures(2), kept_because=OLD),
            f"It holds more than the rows do, and stays so: {OLD}.",
        ),
        (replace(WRONG, kept_because=OLD), "It is wrong"),
        (
            replace(WRONG, minutes={TEN: (Measures(4), Measures(4))}),
            "Its minutes are right, but it is not their sum. Its hour is not marked",
        ),
        (replace(WRONG, now=OVER - timedelta(hours=2)), "its time is not over"),
        (WRONG, "nobody comes: run repair"),
        (replace(WRONG, marks_known=False), "Run repair on its hour."),
        (replace(WRONG, mark=_mark("closed")), "the reconciler's next run finds it"),
        (replace(WRONG, mark=_mark("pending")), "Its hour is still pending"),
        (replace(WRONG, mark=_mark("aside")), "lists too many rows"),
        (replace(RIGHT, stored=OPEN, mark=_mark("aside")), "lists too many rows"),
    ],
)
def test_the_verdict_says_whether_it_is_right_and_who_mends_it(e: Explanation, says: str) -> None:
    assert says in verdict(e)


def test_what_is_kept_is_not_counted_as_wrong() -> None:
    assert replace(WRONG, counted=Measures(2), kept_because=OLD).is_kept
    assert not replace(WRONG, counted=Measures(2)).is_kept
    assert not replace(WRONG, kept_because=OLD).is_kept


def test_for_machines_nothing_is_left_out() -> None:
    shown = as_json(replace(WRONG, mark=_mark("pending")))
    assert shown["stored"]["count"] == 3
    assert shown["counted"]["count"] == 4
    assert shown["minutes"][0]["timeRangeStart"] == "2026-11-22T10:01:00Z"
    assert shown["pending"]["state"] == "pending"
    assert shown["verdict"] == verdict(replace(WRONG, mark=_mark("pending")))
    assert as_json(replace(WRONG, stored=None))["stored"] is None
