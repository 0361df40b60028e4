"""AggregatedMetrics: the API's records of pre-computed counts, for those who read or write them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.hour_documents import FIELDS
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ConditionFailedError
from aggregated_metrics.core.hours import Series, key_stem
from aggregated_metrics.core.metadata import decoded

_BY_TYPE = "listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart"
_BY_TIME = "listAggregatedMetricsByAccountIdAndTimeRangeStartAndRecordType"
_PAGE = 1000
_SLACK = timedelta(minutes=1)


@dataclass(repr=False)
class AggregatedMetrics:
    """One bucket: what was counted for an account and record type in one range of UTC time.

    `cost` is in millionths of a dollar. The API has no `id` for these records (their key is
    accountId and compositeKey), so `id` is both, joined by `#`.
    """

    id: str
    accountId: str
    compositeKey: str
    recordType: str
    timeRangeStart: datetime
    timeRangeEnd: datetime
    numberOfMinutes: int
    count: int
    complete: bool
    createdAt: datetime
    updatedAt: datetime
    client: Client | None = None
    scorecardId: str | None = None
    scoreId: str | None = None
    cost: int | None = None
    decisionCount: int | None = None
    externalAiApiCount: int | None = None
    cachedAiApiCount: int | None = None
    errorCount: int | None = None
    metadata: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """Short enough for a log: class, id, record type, minutes and count."""
        return (
            f"<{type(self).__name__} {self.id} {self.recordType} "
            f"{self.numberOfMinutes}min count={self.count}>"
        )

    @classmethod
    def fields(cls) -> str:
        """The fields to request in queries and mutations: all of them."""
        return FIELDS

    @classmethod
    def from_dict(cls, data: dict[str, Any], client: Client) -> Self:
        """A record from the API's JSON: times parsed, metadata decoded."""
        times = ("timeRangeStart", "timeRangeEnd", "createdAt", "updatedAt")
        known = {name: data.get(name) for name in FIELDS.split()}
        known |= {name: buckets.parse(data[name]) for name in times}
        known["metadata"] = _metadata(data.get("metadata"))
        identity = data.get("id") or f"{data['accountId']}#{data['compositeKey']}"
        return cls(id=identity, client=client, **known)  # type: ignore[arg-type] # the schema says which are null

    @staticmethod
    def generate_composite_key(
        record_type: str,
        time_range_start: datetime,
        number_of_minutes: int,
        scorecard_id: str | None = None,
        score_id: str | None = None,
    ) -> str:
        """`recordType#start#minutes`, or `recordType#<score or scorecard>#start#minutes`.

        Raises:
            NaiveDatetimeError: `time_range_start` has no offset.
        """
        stem = key_stem(Series("", record_type, scorecard_id, score_id))
        return f"{stem}{_text(time_range_start)}#{number_of_minutes}"

    @classmethod
    def create_or_update(
        cls,
        client: Client,
        account_id: str,
        record_type: str,
        time_range_start: datetime,
        time_range_end: datetime,
        number_of_minutes: int,
        count: int,
        complete: bool = True,
        scorecard_id: str | None = None,
        score_id: str | None = None,
        cost: int | None = None,
        decision_count: int | None = None,
        external_ai_api_count: int | None = None,
        cached_ai_api_count: int | None = None,
        error_count: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Self:
        """Set a record to these values, whether it exists or not; return what is stored.

        Update; if the record is absent create; if somebody has created it meanwhile update again.
        So concurrent calls all succeed, the last one wins, and the common case is one request.
        Values that are None are left as they are.

        Raises:
            NaiveDatetimeError: a time has no offset.
            ApiError: (with this package's client) the API refused, or did not answer.
        """
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        values = {
            "accountId": account_id,
            "compositeKey": cls.generate_composite_key(
                record_type, time_range_start, number_of_minutes, scorecard_id, score_id
            ),
            "scorecardId": scorecard_id,
            "scoreId": score_id,
            "recordType": record_type,
            "timeRangeStart": _text(time_range_start),
            "timeRangeEnd": _text(time_range_end),
            "numberOfMinutes": number_of_minutes,
            "count": count,
            "cost": cost,
            "decisionCount": decision_count,
            "externalAiApiCount": external_ai_api_count,
            "cachedAiApiCount": cached_ai_api_count,
            "errorCount": error_count,
            "metadata": None if metadata is None else json.dumps(metadata),
            "complete": complete,
            "updatedAt": now,
        }
        record = {name: value for name, value in values.items() if value is not None}
        update: _Attempt = ("update", record)
        create: _Attempt = ("create", record | {"createdAt": now})
        for kind, given in (update, create):
            if (stored := _unless_conditions_fail(client, kind, given)) is not None:
                return cls.from_dict(stored, client)
        return cls.from_dict(_mutate(client, *update), client)

    @classmethod
    def list_by_time_range(
        cls,
        client: Client,
        account_id: str,
        start_time: datetime,
        end_time: datetime,
        record_type: str | None = None,
    ) -> list[Self]:
        """Every record of an account whose range starts in `[start_time, end_time]`, by index.

        Args:
            client: the API.
            account_id: whose.
            start_time: the earliest start, included.
            end_time: the latest start, included.
            record_type: only this record type; None for all.

        Raises:
            NaiveDatetimeError: a time has no offset.
        """
        # Sort keys compare as raw strings. A minute of slack at both ends finds what other writers
        # stored in other forms (.000Z, +00:00); the parsed time then decides.
        low = _text(buckets.require_aware(start_time) - _SLACK)
        high = _text(buckets.require_aware(end_time) + _SLACK)
        if record_type is None:
            # "!" and "~" sort before and after every record type.
            between = [
                {"timeRangeStart": low, "recordType": "!"},
                {"timeRangeStart": high, "recordType": "~"},
            ]
            rows = _pages(client, _BY_TIME, "timeRangeStartRecordType", account_id, between)
        else:
            between = [
                {"recordType": record_type, "timeRangeStart": bound} for bound in (low, high)
            ]
            rows = _pages(client, _BY_TYPE, "recordTypeTimeRangeStart", account_id, between)
        records = (cls.from_dict(row, client) for row in rows)
        return [record for record in records if start_time <= record.timeRangeStart <= end_time]


type _Attempt = tuple[str, dict[str, Any]]


def _text(moment: datetime) -> str:
    """An instant in the one form of sort keys; a bucket's start has no fraction."""
    aware = buckets.require_aware(moment).astimezone(UTC)
    return aware.isoformat(timespec="seconds").replace("+00:00", "Z")


def _mutate(client: Client, kind: str, record: dict[str, Any]) -> dict[str, Any]:
    field = f"{kind}AggregatedMetrics"
    query = (
        f"mutation {kind.capitalize()}($input: {kind.capitalize()}AggregatedMetricsInput!) "
        f"{{ {field}(input: $input) {{ {FIELDS} }} }}"
    )
    stored: dict[str, Any] = client.execute(query, {"input": record})[field]
    return stored


def _unless_conditions_fail(
    client: Client, kind: str, record: dict[str, Any]
) -> dict[str, Any] | None:
    try:
        return _mutate(client, kind, record)
    except ConditionFailedError:
        return None
    except Exception as error:
        # Clients that are not ours raise what their library raises, and say only in its text that
        # the record is missing (update) or there already (create): this is the one place that
        # reads such a text. Anything else goes on.
        if any(sign in str(error).lower() for sign in _CONDITION_SIGNS):
            return None
        raise


_CONDITION_SIGNS = ("not found", "does not exist", "conditional")


def _pages(
    client: Client, field: str, argument: str, account_id: str, between: list[dict[str, str]]
) -> Iterator[dict[str, Any]]:
    kind = "TimeRangeRecord" if field == _BY_TIME else "RecordType"
    query = (
        f"query ListMetrics($account: String!, $token: String, "
        f"$range: ModelAggregatedMetricsByAccount{kind}CompositeKeyConditionInput) "
        f"{{ {field}(accountId: $account, {argument}: $range, limit: {_PAGE}, "
        f"nextToken: $token) {{ items {{ {FIELDS} }} nextToken }} }}"
    )
    token: str | None = None
    while True:
        variables: dict[str, Any] = {"account": account_id, "range": {"between": between}}
        page = client.execute(query, variables | ({"token": token} if token else {}))[field]
        yield from page["items"]
        token = page.get("nextToken")
        if not token:
            return


def _metadata(given: Any) -> dict[str, Any] | None:
    content = decoded(given)
    if content is None:
        return None
    return content if isinstance(content, dict) else {"other": content}  # kept, never an error
