"""AggregatedMetrics: the API's records of pre-computed counts, for those who read or write them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from aggregated_metrics.adapters import hour_documents as api
from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.hour_documents import FIELDS
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ArgumentError, ConditionFailedError, ContentionError
from aggregated_metrics.core.metadata import RESERVED, decoded
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import Series, key_stem

_SLACK = timedelta(minutes=1)
_TRIES = 10
_CONDITION_SIGNS = ("not found", "does not exist", "conditional")


@dataclass
class AggregatedMetrics:
    """One bucket: what was counted for an account and record type in one range of UTC time.

    `cost` is in millionths of a dollar. The API has no `id` for these records (their key is
    accountId and compositeKey), so `id` is both, joined by `#`. The client is no part of the
    value: records of two clients are equal, and `dataclasses.asdict` and copies leave it out.

    >>> found = AggregatedMetrics.list_by_time_range(
    ...     client, "acct-1", day, day + timedelta(days=1), "scoreResults", number_of_minutes=60
    ... )
    >>> [(bucket.timeRangeStart.hour, bucket.count) for bucket in found]
    [(10, 120)]
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
    if TYPE_CHECKING:  # type checkers take an InitVar for no attribute
        client: Client | None = field(default=None, compare=False)
    else:
        client: InitVar[Client | None] = None

        def __post_init__(self, client: Client | None) -> None:
            self.client = client

    scorecardId: str | None = None
    scoreId: str | None = None
    cost: int | None = None
    decisionCount: int | None = None
    externalAiApiCount: int | None = None
    cachedAiApiCount: int | None = None
    errorCount: int | None = None
    metadata: dict[str, Any] | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: all but the client, whose connections belong to its process."""
        return {name: value for name, value in vars(self).items() if name != "client"}

    @classmethod
    def fields(cls) -> str:
        """The fields to request in queries and mutations: all of them."""
        return FIELDS

    @classmethod
    def from_dict(cls, data: dict[str, Any], client: Client) -> Self:
        """A record from the API's JSON, or from one that is partly decoded already.

        Times may be texts or aware datetimes, metadata AWSJSON or a dictionary. What is missing or
        null is None, an empty id too.

        Args:
            data: the record's fields by the API's names.
            client: is kept as the record's `client`.

        Raises:
            ArgumentError: a time has no offset.
        """
        known = {name: data.get(name) for name in FIELDS.split()}
        for name in ("timeRangeStart", "timeRangeEnd", "createdAt", "updatedAt"):
            known[name] = _moment(known[name])
        for name in ("scorecardId", "scoreId"):
            known[name] = known[name] or None
        content = decoded(data.get("metadata"))
        is_object = content is None or isinstance(content, dict)
        known["metadata"] = content if is_object else {"other": content}  # as the functions keep it
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
            ArgumentError: `time_range_start` has no offset.
        """
        stem = key_stem(Series("", record_type, scorecard_id, score_id))
        return f"{stem}{buckets.in_utc(time_range_start)}#{number_of_minutes}"

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

        Update; if the record is absent create; if another writer has created it meanwhile update
        again. Concurrent calls all succeed, the last one wins, and the common case is one request.
        Values that are None are left unchanged.

        Names of `metadata` that are not given are left as stored, such as a custom model's extra
        measures; so are the functions' own names (checkpoints, among others), given or not. With
        metadata the record is read first.

        Raises:
            ArgumentError: a time has no offset.
            ContentionError: other writers changed the record at every try.
            ApiError: (with this package's client) the API refused, or did not answer.
        """
        values = {
            "accountId": account_id,
            "compositeKey": cls.generate_composite_key(
                record_type, time_range_start, number_of_minutes, scorecard_id, score_id
            ),
            "scorecardId": scorecard_id or None,
            "scoreId": score_id or None,
            "recordType": record_type,
            "timeRangeStart": buckets.in_utc(time_range_start),
            "timeRangeEnd": buckets.in_utc(time_range_end),
            "numberOfMinutes": number_of_minutes,
            "count": count,
            "cost": cost,
            "decisionCount": decision_count,
            "externalAiApiCount": external_ai_api_count,
            "cachedAiApiCount": cached_ai_api_count,
            "errorCount": error_count,
            "complete": complete,
            "updatedAt": buckets.in_utc(datetime.now(UTC), "microseconds"),
        }
        record = {name: value for name, value in values.items() if value is not None}
        return cls.from_dict(_upsert(client, record, metadata), client)

    @classmethod
    def list_by_time_range(
        cls,
        client: Client,
        account_id: str,
        start_time: datetime,
        end_time: datetime,
        record_type: str | None = None,
        number_of_minutes: int | None = None,
    ) -> list[Self]:
        """Every record of an account whose range starts in `[start_time, end_time]`, by index.

        Both ends are included, and so are all four bucket sizes: each row is counted in a bucket of
        every size, so the sum over the list is four times the number of rows. Name one size, or
        call `summarize` for sums.

        Args:
            client: the API.
            account_id: the account.
            start_time: the earliest start, included.
            end_time: the latest start, included.
            record_type: only this record type; None for all, breakdowns included.
            number_of_minutes: only buckets of 1, 5, 15 or 60 minutes; None for all sizes.

        Raises:
            ArgumentError: a time has no offset, or `end_time` is before `start_time`.
        """
        # Sort keys compare as raw strings. A minute of slack at both ends finds what other writers
        # stored in other forms (.000Z, +00:00); the parsed time then decides.
        low, high = (buckets.require_aware(moment) for moment in (start_time, end_time))
        if high < low:
            raise ArgumentError(f"the end {high.isoformat()} is before the start {low.isoformat()}")
        # "!" and "~" sort before and after every record type.
        between = [
            {"recordType": record_type or "!", "timeRangeStart": buckets.in_utc(low - _SLACK)},
            {"recordType": record_type or "~", "timeRangeStart": buckets.in_utc(high + _SLACK)},
        ]
        options = ", limit: 1000"
        if number_of_minutes is not None:
            options += f", filter: {{numberOfMinutes: {{eq: {number_of_minutes:d}}}}}"
        index = api.BY_TIME if record_type is None else api.BY_TYPE
        rows = _pages(client, account_id, "between", between, options, index)
        records = (cls.from_dict(row, client) for row in rows)
        return [record for record in records if start_time <= record.timeRangeStart <= end_time]


def _moment(given: str | datetime | None) -> datetime | None:
    if not given:
        return None
    return buckets.parse(given) if isinstance(given, str) else buckets.require_aware(given)


def _upsert(
    client: Client, record: dict[str, Any], metadata: dict[str, Any] | None
) -> dict[str, Any]:
    """Write until a try goes through.

    With metadata each try is made of what is stored, under the condition that it still is.
    """
    plain = [(is_new, record, None) for is_new in (False, True, False)]
    for asked in plain if metadata is None else [None] * _TRIES:
        stored = _mutate(client, *(asked or _merged(client, record, metadata or {})))
        if stored is not None:
            return stored
    raise ContentionError(
        f"{record['compositeKey']} of {record['accountId']} was changed by other writers at each "
        "try: nothing is written, try again"
    )


def _merged(
    client: Client, record: dict[str, Any], metadata: dict[str, Any]
) -> tuple[bool, dict[str, Any], dict[str, Any] | None]:
    """What to write where the rest of the metadata is to stay, and under which condition."""
    of_one = (record["accountId"], "eq", record["compositeKey"])
    stored = next(_pages(client, *of_one, selected="metadata updatedAt"), None)
    before = decoded((stored or {}).get("metadata"))
    reserved = RESERVED.union(BUILT_IN.extra_measures(record["recordType"]))
    content = dict(before) if isinstance(before, Mapping) else {}
    content |= {name: value for name, value in metadata.items() if name not in reserved}
    condition = stored and {"updatedAt": {"eq": stored["updatedAt"]}}
    return not stored, record | {"metadata": json.dumps(content)}, condition


def _mutate(
    client: Client, is_new: bool, record: dict[str, Any], condition: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Create or update; None where the condition fails. A new record gets its createdAt."""
    made = {"createdAt": record["updatedAt"]} if is_new else {}
    variables = {"i0": record | made} | ({"c0": condition} if condition else {})
    try:
        stored: dict[str, Any] | None = client.execute(api.save_text((is_new,)), variables)["b0"]
    except Exception as error:
        # Other libraries' clients say only in a text that a record is missing (update) or exists
        # (create). Any other error goes on.
        signs = any(sign in str(error).lower() for sign in _CONDITION_SIGNS)
        if signs or isinstance(error, ConditionFailedError):
            return None
        raise
    return stored


def _pages(
    client: Client,
    account_id: str,
    operator: str,
    operand: Any,
    options: str = "",
    index: tuple[str, str, str] = api.BY_KEY,
    selected: str = FIELDS,
) -> Iterator[dict[str, Any]]:
    """The records with these keys, page by page."""
    token = None
    while True:
        keys: dict[str, api.Keys] = {"s0": (account_id, operator, operand, token)}
        asked = api.list_document("ListMetrics", keys, selected, options, index)
        page = client.execute(*asked)["s0"]
        yield from page["items"]
        token = page.get("nextToken")
        if not token:
            return
