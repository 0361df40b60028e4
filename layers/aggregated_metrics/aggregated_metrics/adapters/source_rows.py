"""Counts the source rows again, through the API's own indexes.

Pages are streamed: what is held is sums per minute, never rows. A row counts here exactly as its
stream image would (record_types), so what both have seen compares equal.

An index that sorts by updatedAt moves a row to its end at every update: a row that is updated while
its index is read can be met twice. Within a page its id tells; across pages, where remembering ids
would be remembering rows, its minutes are *unsure* and no ground for a repair.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import DAY
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.measures import ZERO, Measures, plus
from aggregated_metrics.core.record_types import Contribution, Model, Row, contribution

PAGE = 1000
_SKEW = timedelta(seconds=5)
"""How far the clocks of the API and of this process may be apart."""


@dataclass(slots=True)
class Counted:
    """What the source rows of one account and model come to.

    Attributes:
        minutes: sums by record type and minute, for the hours asked for.
        rows: rows read; more than counted where an index sorts by another time.
        pages: requests made.
        unsure: record types and minutes with a row that may have been met twice.
    """

    minutes: dict[tuple[str, int], Measures] = field(default_factory=dict)
    rows: int = 0
    pages: int = 0
    unsure: set[tuple[str, int]] = field(default_factory=set)

    def at(self, record_type: str, minute: int) -> Measures:
        """The sums of one minute; zero where no row is."""
        return self.minutes.get((record_type, minute), ZERO)


class SourceRows:
    """The rows of the source tables, as the API lists them.

    Args:
        client: carries out GraphQL documents.
        clock: the time now, aware.
        offset_hours: how far from UTC the offsets in the rows' times may be. Indexes sort times as
            text, so `15:30+05:30` lies hours away from `10:00Z`, which is the same instant.
    """

    def __init__(
        self, client: Client, *, clock: Callable[[], datetime], offset_hours: int = 14
    ) -> None:
        self._client = client
        self._clock = clock
        self._slack = max(1, offset_hours * 60)

    def count(
        self,
        model: Model,
        account_id: str,
        hours: Collection[int],
        on_page: Callable[[Counted], None] = lambda _: None,
    ) -> Counted:
        """Count the account's rows of a model whose createdAt lies in the hours (epoch minutes).

        Args:
            model: whose rows.
            account_id: whose account.
            hours: the starts of the hours that matter.
            on_page: called after each page, for progress and to stop by raising.

        Raises:
            ApiError: the API refused, or did not answer.
        """
        counted = Counted()
        wanted = frozenset(hours)
        began = self._clock() - _SKEW
        for condition in self._conditions(model, sorted(wanted)):
            for number, page in enumerate(self._pages(model, account_id, condition)):
                rows = {row["id"]: row for row in page}.values()
                counted.pages += 1
                counted.rows += len(rows)
                moves = began if number and model.listing[1] != "createdAt" else None
                for row in rows:
                    _count(counted, model, row | {"accountId": account_id}, wanted, moves)
                on_page(counted)
        return counted

    def row(self, model: Model, row_id: str) -> Row | None:
        """What counting reads of one row as it is now; None where there is none.

        Raises:
            ApiError: the API refused, or did not answer; so it does for values that it cannot read.
        """
        name, selected = model.name, " ".join((*model.attributes, "updatedAt"))
        query = f"query Read{name}($id: ID!) {{ row: get{name}(id: $id) {{ {selected} }} }}"
        found: Row | None = self._client.execute(query, {"id": row_id})["row"]
        return found

    def _conditions(self, model: Model, hours: list[int]) -> Iterator[dict[str, Any]]:
        """The key conditions that together list every row created in the hours."""
        if not hours:
            return
        if model.listing[1] != "createdAt":
            # A row can be updated at any time after it was created, never before.
            yield {"ge": self._text(hours[0] - self._slack)}
            return
        first = last = hours[0]
        for hour in [*hours[1:], None]:
            if hour is not None and hour <= last + buckets.HOUR + 2 * self._slack:
                last = hour
                continue
            low, high = first - self._slack, last + buckets.HOUR + self._slack
            yield {"between": [self._text(low), self._text(high)]}
            if hour is not None:
                first = last = hour

    @staticmethod
    def _text(minute: int) -> str:
        """Up to the minute: as text it sorts before every time within that minute."""
        return buckets.iso(minute)[:16]

    def _pages(
        self, model: Model, account_id: str, condition: Mapping[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        variables = {"account": account_id, "range": condition}
        token = None
        while True:
            more: dict[str, Any] = {"token": token} if token else {}
            page = self._client.execute(
                _query(model.name, model.listing, model.attributes), variables | more
            )["page"]
            yield page["items"]
            token = page["nextToken"]
            if not token:
                return


def _count(
    counted: Counted,
    model: Model,
    row: dict[str, Any],
    wanted: frozenset[int],
    moves: datetime | None,
) -> None:
    """Add a row. One updated since `moves` may have been met on an earlier page already."""
    try:
        part = part_of(model, row)
    except UncountableError:
        return  # the stream has put it into quarantine
    if buckets.floor(part.minute, buckets.HOUR) in wanted:
        for record_type in model.record_types(part.split):
            place = (record_type, part.minute)
            counted.minutes[place] = plus(counted.at(*place), part.measures)
            if moves is not None and (written := _written(row)) is not None and written >= moves:
                counted.unsure.add(place)


def part_of(model: Model, row: Row) -> Contribution:
    """What a row of the API adds, judged as the stream judges it.

    Raises:
        UncountableError: the stream puts it into quarantine.
    """
    part = contribution(model, row)
    written = _written(row)
    if written is not None and part.minute > buckets.to_minute(written) + DAY:
        raise UncountableError(
            f"createdAt {buckets.iso(part.minute)} is more than a day after the write"
        )
    return part


def _written(row: Mapping[str, Any]) -> datetime | None:
    try:
        return buckets.parse(row["updatedAt"])
    except (TypeError, ValueError):
        return None


@lru_cache(maxsize=16)
def _query(name: str, listing: tuple[str, str], attributes: tuple[str, ...]) -> str:
    field_name, key = listing
    selected = " ".join(dict.fromkeys(("id", *attributes[1:], "updatedAt")))
    return (
        f"query Count{name}($account: String!, $range: ModelStringKeyConditionInput, "
        f"$token: String) {{ page: {field_name}(accountId: $account, {key}: $range, "
        f"limit: {PAGE}, nextToken: $token) {{ items {{ {selected} }} nextToken }} }}"
    )
