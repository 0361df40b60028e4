"""Counts the source rows again, through the API's own indexes.

Pages are streamed: what is held is sums per minute, never rows. A row counts here exactly as its
stream image would (record_types), so what both have seen compares equal.

A row that was updated since a check began may have been read twice or not at all, and the stream
may bring its change before or after: its minutes are *unsure* and no ground for a repair.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.retries import Retries
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import GraphQLError, UncountableError
from aggregated_metrics.core.listing import Range, condition, where
from aggregated_metrics.core.row_sums import Since, Sums, last_write, written
from aggregated_metrics.core.series import Series, Target
from aggregated_metrics.core.source_models import (
    Contribution,
    Model,
    Row,
    ahead,
    contribution,
    is_ahead,
    place_of,
)

PAGE = 1000


@dataclass(slots=True)
class Counted(Sums):
    """What the source rows of one account and model come to, for the hours asked for.

    Attributes:
        rows: rows read; more than counted where an index sorts by another time.
        pages: requests made.
        unreadable: rows that the API could not give.
        unplaced: those of them of which not even the time is known.
    """

    rows: int = 0
    pages: int = 0
    unreadable: int = 0
    unplaced: int = 0


class SourceRows:
    """The rows of the source tables, as the API lists them.

    Args:
        client: carries out GraphQL documents.
        clock: the time now, aware.
        retries: waits where the API throttles.
    """

    def __init__(
        self, client: Client, *, clock: Callable[[], datetime], retries: Retries | None = None
    ) -> None:
        self._client = client
        self._clock = clock
        self._retries = retries or Retries()

    def count(
        self,
        model: Model,
        account_id: str,
        hours: Collection[int],
        ranges: Sequence[Range],
        since: datetime | None = None,
        on_page: Callable[[Counted], None] = lambda _: None,
    ) -> Counted:
        """Count the account's rows of a model whose time lies in the hours (epoch minutes).

        Args:
            model: whose rows.
            account_id: whose account.
            hours: the starts of the hours that matter.
            ranges: of sort-key text, where the rows are listed (listing.ranges).
            since: when the check began; rows updated since are unsure. Now, if None.
            on_page: called after each page, for progress and to stop by raising.

        Raises:
            ApiError: the API refused, or did not answer.
        """
        counted = Counted(extra=model.extra)
        wanted = frozenset(hours)
        began = since or self._clock()
        for part in ranges:
            for page in self._pages(model, account_id, condition(part), counted):
                rows = {row["id"]: row for row in page}.values()
                counted.pages += 1
                counted.rows += len(rows)
                moving = Since.of(began, self._clock())
                for row in rows:
                    _count(counted, model, row | {model.account: account_id}, wanted, moving)
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

    def _pages(
        self, model: Model, account_id: str, condition: Mapping[str, Any], counted: Counted
    ) -> Iterator[list[dict[str, Any]]]:
        if model.listing is None:
            return
        query = partial(_query, model.name, model.listing, model.account)
        every, times = query((*model.attributes[1:], "updatedAt")), query(model.times)
        variables: dict[str, Any] = {"account": account_id, "range": condition}
        while True:
            page, unreadable = self._page(every, variables)
            if unreadable:
                # Mostly the times alone can be read: then only those minutes are left alone.
                again, _ = self._page(times, variables)
                minutes = _minutes_beside(page["items"], again["items"], model, account_id)
                whole = Series(account_id, model.record_type)
                for minute in minutes:
                    counted.add_unread(Target(whole, minute))
                counted.unreadable += unreadable
                counted.unplaced += max(0, unreadable - len(minutes))
                counted.pages += 1
            yield page["items"]
            if not page["nextToken"]:
                return
            variables |= {"token": page["nextToken"]}

    def _page(self, query: str, variables: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """A page of rows, and how many more the API could not give."""
        request = partial(self._client.execute, query, variables)
        try:
            return self._retries.until_taken(request, "rows are not listed")["page"], 0
        except GraphQLError as error:
            return _readable(error)


def _readable(error: GraphQLError) -> tuple[dict[str, Any], int]:
    """What an answer with errors at single rows gives all the same, and how many it does not.

    A row that AppSync cannot serialize is null, or the field is missing: the error's path names it.

    Raises:
        GraphQLError: the page itself failed.
    """
    page = error.data.get("page")
    places = {tuple(each.get("path") or ())[:3] for each in error.errors}
    if not isinstance(page, dict) or any(
        place[:2] != ("page", "items") or place == ("page", "items") for place in places
    ):
        raise error
    bad = {place[2] for place in places}
    rows = [row for i, row in enumerate(page["items"]) if row is not None and i not in bad]
    return page | {"items": rows}, len(bad)


def _minutes_beside(
    readable: Sequence[Row], every: Sequence[Row], model: Model, account_id: str
) -> list[int]:
    """The minutes of those rows of a page that could not be read, where their times could."""
    known = {row["id"] for row in readable}
    minutes = []
    for row in every:
        if row["id"] not in known:
            values = [{**row, model.account: account_id}.get(name) for name in model.places]
            try:
                _, minute, _, _ = place_of(model, values)
            except UncountableError:
                continue  # as good as not known
            minutes.append(minute)
    return minutes


def _count(
    counted: Counted, model: Model, row: dict[str, Any], wanted: frozenset[int], moving: Since
) -> None:
    try:
        part = contribution(model, row)
    except UncountableError:
        return  # the stream has put it into quarantine
    if buckets.floor(part.minute, buckets.HOUR) in wanted:
        _, key = model.listing or ("", "")
        listed = where(key, row.get(key), part.minute)
        counted.add(part, written(row.get("updatedAt")), moving, listed)


def part_of(model: Model, row: Row, now: datetime) -> Contribution:
    """What a row of the API adds now, judged as the stream judges it.

    Raises:
        UncountableError: the stream puts it into quarantine.
    """
    part = contribution(model, row)
    if is_ahead(part.minute, last_write(written(row.get("updatedAt")), now)):
        raise ahead(model, part.minute)
    return part


@lru_cache(maxsize=16)
def _query(name: str, listing: tuple[str, str], account: str, attributes: tuple[str, ...]) -> str:
    field_name, key = listing
    selected = " ".join(dict.fromkeys(("id", *attributes)))
    return (
        f"query Count{name}($account: String!, $range: ModelStringKeyConditionInput, "
        f"$token: String) {{ page: {field_name}({account}: $account, {key}: $range, "
        f"limit: {PAGE}, nextToken: $token) {{ items {{ {selected} }} nextToken }} }}"
    )
