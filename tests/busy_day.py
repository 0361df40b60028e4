"""A day of a busy application, for the views of counts."""

import math
import random
from collections.abc import Iterator
from datetime import datetime

from aggregated_metrics.core import buckets
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.series import Series

from testbench.counted import measured, store
from testbench.fakes.appsync import FakeAppSync

SCORECARDS = (
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "Sales <b>quality</b> & more",
    "b1a7f6f0-2c4d-4a55-9a8e-0f8d3c6e1a22",
)


def busy_day(api: FakeAppSync, account: str, start: datetime, now: datetime) -> None:
    """A day of an application from `start` to `now`, with splits, scorecards and scores."""
    draw, first = random.Random(7), buckets.to_minute(start)
    counted: dict[Series, dict[int, Measures]] = {}
    for at in range(first, buckets.to_minute(now), 3):
        rush = 0.35 + math.sin(math.pi * (at - first) / 1440) ** 2
        for measures, names in _busy_minute(draw, at, rush):
            counted.setdefault(Series(account, *names), {})[at] = measures
    for series, minutes in counted.items():
        store(api, series, minutes, now)


def _busy_minute(
    draw: random.Random, at: int, rush: float
) -> Iterator[tuple[Measures, tuple[str, ...]]]:
    rows, failed = max(1, round(rush * draw.randint(2, 14))), int(draw.random() < 0.08)
    cost = draw.randint(200, 2600) * rows
    items = measured("items", rows)
    results = measured("scoreResults", rows, cost, rows - failed, rows, rows // 4, failed)
    card = draw.choices(SCORECARDS, (8, 5, 3, 1))[0]
    yield items, ("items",)
    yield results, ("scoreResults",)
    yield results, ("scoreResultsByScorecard", card)
    score = draw.choice(("tone", "greeting", "compliance"))
    yield results, ("scoreResultsByScore", card, f"{card}: {score}")
    if kind := draw.choices(("prediction", "evaluation", ""), (6, 3, 2))[0]:
        yield items, (f"{kind}Items",)
        yield results, (f"{kind}ScoreResults",)
    if at % 15 == 0:
        yield measured("tasks", rows // 2 + 1, 0, 0, 0, 0, failed), ("tasks",)
    if at % 120 == 0:
        yield measured("evaluations", 1, draw.randint(10_000, 90_000)), ("evaluations",)
