"""Counts put into a Fake API as the functions would have written them, and their brute force."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import GraphQLError
from aggregated_metrics.core.hour import Hour, Write
from aggregated_metrics.core.measures import ZERO, Measures, minus, total, zero
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import HourId, Series

from testbench.fakes.appsync import FakeAppSync

type Minutes = Mapping[int, Measures]
GRACE = 120


def measured(record_type: str, *sums: int) -> Measures:
    """These sums as measures of a record type; those that are not given are 0, its own too."""
    return Measures(*sums, *zero(BUILT_IN.extra_measures(record_type))[len(sums) :])


class FakeClient:
    """A client of the Fake API without a transport, which raises as this package's does.

    Attributes:
        queries: every document that it was asked to carry out.
        before: called with each document and its variables; may raise.
        after: gives the data that is returned in place of the API's.
    """

    def __init__(self, api: FakeAppSync | None = None) -> None:
        self.api = api or FakeAppSync()
        self.queries: list[str] = []
        self.before: Callable[..., object] = lambda *_: None
        self.after: Callable[[dict[str, Any]], dict[str, Any]] = lambda data: data

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.queries.append(query)
        self.before(query, variables)
        response = self.api.execute(query, variables)
        if errors := response.get("errors"):
            text, data = errors[0]["message"], response["data"]
            raise GraphQLError(text, operation="Read", errors=errors, data=data)
        return self.after(response["data"])

    @property
    def fields(self) -> list[int]:
        """How many buckets and hours each request asked for."""
        return [query.count("AggregatedMetrics(") - query.count("asOf: ") for query in self.queries]


def keep_up(
    api: FakeAppSync, moment: datetime | None, *record_types: str, wait: int = GRACE
) -> None:
    """Store that the streams of these record types (without any: of all) are applied so far.

    Args:
        api: the API.
        moment: until when; None: not known.
        record_types: those that are counted.
        wait: seconds after its end at which a bucket is completed.
    """
    text = moment and moment.isoformat().replace("+00:00", "Z")
    names = record_types or (*BUILT_IN.record_types, *BUILT_IN.breakdowns)
    streams_record(api, {"asOf": dict.fromkeys(names, text), "completeAfter": wait})


def streams_record(api: FakeAppSync, metadata: Any) -> None:
    """Store the record that says how far streams are applied, with this content."""
    start = "1970-01-01T00:00:00Z"
    names = {"accountId": "_streams", "recordType": "_streams"}
    times = dict.fromkeys(("timeRangeStart", "timeRangeEnd", "createdAt", "updatedAt"), start)
    bucket = {"numberOfMinutes": 60, "count": 0, "complete": False, "metadata": metadata}
    api.put("AggregatedMetrics", names | times | bucket | {"compositeKey": f"_streams#{start}#60"})


def store(
    api: FakeAppSync,
    series: Series,
    counted: Minutes,
    now: datetime,
    *,
    left_out: Callable[[Write], bool] = lambda _: False,
) -> None:
    """Put the buckets of these minutes into the API, as they are at `now`.

    Args:
        api: the API.
        series: whose.
        counted: epoch minute to the sums of its rows.
        now: those that have elapsed are complete.
        left_out: which writes have not been made (yet).
    """
    hours: dict[int, dict[int, Measures]] = {}
    for minute, measures in counted.items():
        hours.setdefault(buckets.floor(minute, buckets.HOUR), {})[minute] = measures
    for start, minutes in hours.items():
        names = BUILT_IN.extra_measures(series.record_type)
        hour = Hour(HourId(series, start), names=names)
        for minute, measures in minutes.items():
            hour.set_minute(minute, measures, zero(names), 0)
        hour.roll_up()
        hour.close(now.timestamp(), GRACE)
        writes = hour.writes(now)
        api.put("AggregatedMetrics", *(_row(w.record) for w in writes if not left_out(w)))


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(record)
    if "metadata" in row:
        row["metadata"] = json.loads(row["metadata"])
    return row


def brute_force(counted: Minutes, start: datetime, end: datetime) -> Measures:
    """The sum of all minutes that begin in the range, one by one."""
    some = next(iter(counted.values()), ZERO)
    within = (
        measures.clamped
        for minute, measures in counted.items()
        if start <= buckets.to_datetime(minute) < end
    )
    return total(within, minus(some, some))


def minute(text: str) -> int:
    """The epoch minute of `2026-11-22 10:07`, UTC."""
    return buckets.to_minute(datetime.fromisoformat(text).replace(tzinfo=UTC))


def every(first: str, last: str, measures: Measures, step: int = 1) -> dict[int, Measures]:
    """The same sums in each `step`th minute."""
    return dict.fromkeys(range(minute(first), minute(last), step), measures)
