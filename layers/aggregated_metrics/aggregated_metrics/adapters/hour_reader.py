"""Loading and finding hours through the API: many in a request, again where it is throttled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from aggregated_metrics.adapters.appsync import Client, body_of
from aggregated_metrics.adapters.breakdowns import breakdowns
from aggregated_metrics.adapters.concurrency import map_concurrently
from aggregated_metrics.adapters.hour_documents import (
    SCOPED_HOURS,
    Document,
    day_document,
    load_document,
)
from aggregated_metrics.adapters.retries import Retries
from aggregated_metrics.core.buckets import DAY, HOUR, floor, iso, minute_of
from aggregated_metrics.core.hours import Hour, HourId
from aggregated_metrics.core.series import Series

HOURS_PER_LOAD = 40
"""One account's batch with its breakdowns by twenty scores; AppSync reads aliases side by side."""
_LISTED_HOURS = 12
"""Of twenty scores they have 18,000 buckets: a page for each thousand, one after the other."""


class HourReader:
    """The hours of the API, to be read.

    Args:
        client: carries out GraphQL documents.
        retries: waits where the API throttles, as long as the caller has time.
        request_bytes: how large a request may be (a firewall's limit); 0 for any size.
    """

    def __init__(self, client: Client, retries: Retries, request_bytes: int = 0) -> None:
        self._client = client
        self._retries = retries
        self._request_bytes = request_bytes

    def load(self, ids: Sequence[HourId]) -> list[Hour]:
        """The hours, in the order asked for; an hour without buckets is empty.

        Raises:
            ApiError: the API refused, or did not answer in time.
        """
        hours: list[Hour] = []
        for part in self.parts(ids, HOURS_PER_LOAD, load_document):
            data = self.execute(*load_document(part))
            hours += [self._hour(hour_id, data[f"h{i}"]) for i, hour_id in enumerate(part)]
        return hours

    def scoped_hours(self, account_id: str, record_type: str, hours: Sequence[int]) -> set[HourId]:
        """The stored hours of a breakdown, of every scope, among those that start then.

        A few hours come from an index, which reads each of their buckets and may be a moment
        behind. Of more hours those with a 60-minute bucket are found, scope by scope.

        Raises:
            ApiError: the API refused, or did not answer in time.
        """
        wanted = frozenset(hours)
        if len(wanted) > _LISTED_HOURS:
            named = breakdowns(self, account_id, record_type, most=None)[record_type]
            days = sorted({floor(hour, DAY) for hour in wanted})
            found = self._hours_of([(each, day) for each in named for day in days])
            return {hour for hour, _ in found if hour.start in wanted}
        bounds = [min(wanted), max(wanted) + HOUR - 1]
        between = [{"recordType": record_type, "timeRangeStart": iso(bound)} for bound in bounds]
        variables: dict[str, Any] = {"account": account_id, "range": {"between": between}}
        listed: set[HourId] = set()
        while True:
            page = self.execute(SCOPED_HOURS, variables)["page"]
            for row in page["items"]:
                series = Series(account_id, record_type, row["scorecardId"], row["scoreId"])
                start = floor(minute_of(row["timeRangeStart"]), HOUR)
                if series.scope and start in wanted:
                    listed.add(HourId(series, start))
            if not page["nextToken"]:
                return listed
            variables["token"] = page["nextToken"]

    def counted_hours(self, days: Sequence[tuple[Series, int]]) -> list[HourId]:
        """The hours of whole UTC days (a series and a first minute) with a stored count.

        Raises:
            ApiError: the API refused, or did not answer in time.
        """
        return [hour for hour, count in self._hours_of(days) if count]

    def _hours_of(self, days: Sequence[tuple[Series, int]]) -> Iterator[tuple[HourId, int]]:
        """The hours of whole UTC days that have a 60-minute bucket, and its count."""
        parts = list(self.parts(days, HOURS_PER_LOAD, day_document))
        return chain.from_iterable(map_concurrently(self._hours_of_part, parts))

    def _hours_of_part(self, days: Sequence[tuple[Series, int]]) -> list[tuple[HourId, int]]:
        found: list[tuple[HourId, int]] = []
        tokens: dict[int, str | None] = dict.fromkeys(range(len(days)))
        while tokens:
            asked = [days[i] for i in tokens]
            data = self.execute(*day_document(asked, [*tokens.values()]))
            left = {}
            for alias, i in enumerate(tokens):
                page = data[f"d{alias}"]
                found += [
                    (HourId(days[i][0], minute_of(row["timeRangeStart"])), row["count"])
                    for row in page["items"]
                ]
                if page.get("nextToken"):
                    left[i] = page["nextToken"]
            tokens = left
        return found

    def execute(self, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Carry out a query; where it is throttled, again after a while.

        Raises:
            ContentionError: it is throttled until the time is over.
            ApiError: the API refused, or did not answer in time.
        """
        request = partial(self._client.execute, document, variables)
        return self._retries.until_taken(request, "an hour is not loaded")

    def _hour(self, hour_id: HourId, page: Mapping[str, Any]) -> Hour:
        rows = list(page["items"])
        while page.get("nextToken"):  # rows that are not ours share the prefix
            page = self.execute(*load_document([hour_id], page["nextToken"]))["h0"]
            rows += page["items"]
        return Hour(hour_id, rows)

    def parts[Part](
        self,
        whole: Sequence[Part],
        most: int,
        document: Callable[[Sequence[Part]], Document],
    ) -> Iterator[Sequence[Part]]:
        """At most so many at a time, and no more than fit into a request, in their order."""
        for first in range(0, len(whole), most):
            part = whole[first : first + most]
            if (
                self._request_bytes
                and len(part) > 1
                and len(body_of(*document(part))) > self._request_bytes
            ):
                yield from self.parts(part, (len(part) + 1) // 2, document)
            else:
                yield part
