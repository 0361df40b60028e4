import copy
import dataclasses
import inspect
import itertools
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import Mock

import pytest
from aggregated_metrics import AggregatedMetrics
from aggregated_metrics.core.errors import (
    ArgumentError,
    AuthorizationError,
    ConditionFailedError,
    ContentionError,
    GraphQLError,
)
from aggregated_metrics.core.measures import Measures

from testbench.counted import FakeClient
from testbench.fakes.appsync import FakeAppSync
from testbench.world import World

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
END = START + timedelta(minutes=15)
NAIVE = datetime(2026, 11, 22, 10)  # noqa: DTZ001
EACH_INDEX = pytest.mark.parametrize("record_type", [None, "items"])
SIGNATURES = {
    "AggregatedMetrics": (
        "id: str, accountId: str, compositeKey: str, recordType: str, timeRangeStart: datetime, "
        "timeRangeEnd: datetime, numberOfMinutes: int, count: int, complete: bool, "
        "createdAt: datetime, updatedAt: datetime, client: InitVar[Client | None] = None, "
        "scorecardId: str | None = None, scoreId: str | None = None, cost: int | None = None, "
        "decisionCount: int | None = None, externalAiApiCount: int | None = None, "
        "cachedAiApiCount: int | None = None, errorCount: int | None = None, "
        "metadata: dict[str, Any] | None = None"
    ),
    "create_or_update": (
        "client: Client, account_id: str, record_type: str, time_range_start: datetime, "
        "time_range_end: datetime, number_of_minutes: int, count: int, complete: bool = True, "
        "scorecard_id: str | None = None, score_id: str | None = None, cost: int | None = None, "
        "decision_count: int | None = None, external_ai_api_count: int | None = None, "
        "cached_ai_api_count: int | None = None, error_count: int | None = None, "
        "metadata: dict[str, Any] | None = None"
    ),
    "fields": "",
    "from_dict": "data: dict[str, Any], client: Client",
    "generate_composite_key": (
        "record_type: str, time_range_start: datetime, number_of_minutes: int, "
        "scorecard_id: str | None = None, score_id: str | None = None"
    ),
    "list_by_time_range": (
        "client: Client, account_id: str, start_time: datetime, end_time: datetime, "
        "record_type: str | None = None, number_of_minutes: int | None = None"
    ),
}
"""What its users call it by: names, order, types and defaults."""


@pytest.mark.parametrize("name", SIGNATURES)
def test_it_has_its_users_signatures(name: str) -> None:
    signature = inspect.signature(getattr(AggregatedMetrics, name, AggregatedMetrics))
    parameters = re.sub(r"(\w+\.)+(?=[A-Za-z])", "", str(signature))
    assert parameters.partition(") -> ")[0] == f"({SIGNATURES[name]}"


def test_it_has_no_other_public_methods() -> None:
    fields = {field.name for field in dataclasses.fields(AggregatedMetrics)}
    public = {name for name in vars(AggregatedMetrics) if not name.startswith("_")}
    assert public - fields == {"client", *SIGNATURES} - {"AggregatedMetrics"}
    assert set(AggregatedMetrics.fields().split()) == fields - {"id"}


def test_a_composite_key_has_the_time_in_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    for start in (START, START.astimezone(india).replace(microsecond=5)):
        key = AggregatedMetrics.generate_composite_key("items", start, 15, "card")
        assert key == "items#card#2026-11-22T10:00:00Z#15"


ROW = {
    "accountId": "acct-1",
    "compositeKey": "items#2026-11-22T10:00:00Z#15",
    "recordType": "items",
    "timeRangeStart": "2026-11-22T10:00:00Z",
    "timeRangeEnd": "2026-11-22T10:15:00Z",
    "numberOfMinutes": 15,
    "count": 3,
    "complete": True,
    "createdAt": "2026-11-22T10:01:02.123Z",
    "updatedAt": "2026-11-22T10:01:02.123456Z",
    "metadata": '{"checkpoints": []}',
    "__typename": "AggregatedMetrics",
}


def read(**changes: Any) -> AggregatedMetrics:
    return AggregatedMetrics.from_dict(ROW | changes, FakeAppSync())


def test_a_record_is_read_from_the_apis_json() -> None:
    client = FakeAppSync()
    record = AggregatedMetrics.from_dict(ROW, client)
    assert record.client is client
    assert record.id == "acct-1#items#2026-11-22T10:00:00Z#15"
    assert read(id="x").id == "x"
    assert (record.timeRangeStart, record.timeRangeEnd) == (START, END)
    assert record.updatedAt.microsecond == 123_456
    assert (record.cost, record.scoreId) == (None, None)


@pytest.mark.parametrize(
    ("stored", "content"),
    [(None, None), ('{"a": 1}', {"a": 1}), ('"{\\"a\\": 1}"', {"a": 1}), ({"a": 1}, {"a": 1})],
)
def test_metadata_is_decoded(stored: Any, content: Any) -> None:
    assert read(metadata=stored).metadata == content


def test_a_record_is_a_value_whatever_its_client_holds(world: World) -> None:
    """A real client holds locks and sockets, which nothing can copy."""
    record = AggregatedMetrics.from_dict(ROW, world.client())
    fields = dataclasses.asdict(record)
    assert "client" not in fields
    assert AggregatedMetrics(**fields) == record == read()
    assert record not in (read(count=4), read(metadata=None))
    for other in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert (other, other.client) == (record, None)
    changed = dataclasses.replace(record, count=9)
    assert (changed.count, changed.client) == (9, record.client)


def test_a_record_is_read_from_what_callers_have() -> None:
    times = {"timeRangeStart": START, "timeRangeEnd": END, "updatedAt": END, "createdAt": None}
    record = read(**times, metadata={"a": 1}, scorecardId="", scoreId="")
    assert (record.timeRangeStart, record.timeRangeEnd, record.updatedAt) == (START, END, END)
    assert [record.createdAt, record.scorecardId, record.scoreId] == [None, None, None]
    assert AggregatedMetrics.from_dict(dataclasses.asdict(record), FakeAppSync()) == record


def test_a_field_that_was_not_selected_is_none() -> None:
    given = {name: ROW[name] for name in ("accountId", "compositeKey", "count")}
    record = AggregatedMetrics.from_dict(given, FakeAppSync())
    assert [record.count, record.timeRangeStart, record.updatedAt] == [3, None, None]


def upsert(client: Any, count: int = 5, **changes: Any) -> AggregatedMetrics:
    arguments: dict[str, Any] = {
        "client": client,
        "account_id": "acct-1",
        "record_type": "items",
        "time_range_start": START,
        "time_range_end": END,
        "number_of_minutes": 15,
        "count": count,
    }
    return AggregatedMetrics.create_or_update(**(arguments | changes))


def asked(world: World) -> list[str]:
    return [name.removesuffix("AggregatedMetrics") for e in world.log for name in e.operations]


def test_an_absent_record_is_created(world: World) -> None:
    sums = ("cost", "decision_count", "external_ai_api_count", "cached_ai_api_count", "error_count")
    given: dict[str, Any] = dict(zip(sums, range(1, 6), strict=True))
    given |= {"scorecard_id": "card", "score_id": "score", "metadata": {"note": [1]}}
    record = upsert(world.client(), complete=False, **given)
    assert asked(world) == ["list", "create"]
    (row,) = world.buckets()
    assert row.pop("createdAt") == row.pop("updatedAt")
    names = ("accountId", "recordType", "timeRangeStart", "timeRangeEnd", "numberOfMinutes")
    assert row == dict(zip(Measures._fields, (5, *range(1, 6)), strict=True)) | {
        **{name: ROW[name] for name in names},
        "compositeKey": "items#score#2026-11-22T10:00:00Z#15",
        "scorecardId": "card",
        "scoreId": "score",
        "metadata": {"note": [1]},
        "complete": False,
    }
    assert (record.count, record.metadata, record.scoreId) == (5, {"note": [1]}, "score")


def test_a_present_record_is_updated_with_one_request(world: World) -> None:
    upsert(world.client(), cost=7)
    created = world.buckets()[0]["createdAt"]
    first = len(world.log)
    record = upsert(world.client(), count=6)
    assert asked(world)[first:] == ["update"]
    (row,) = world.buckets()
    assert (row["count"], row["cost"], row["createdAt"]) == (6, 7, created)
    assert (record.count, record.cost) == (6, 7)


def meanwhile(world: World, row: dict[str, Any], **changes: Any) -> None:
    """Have another writer put a record after the next request."""

    def write(_: Any) -> None:
        world.after = lambda _: None
        world.api.put("AggregatedMetrics", row | changes)

    world.after = write


def test_a_record_that_another_writer_created_meanwhile_is_updated(world: World) -> None:
    meanwhile(world, ROW, count=1, metadata=None)
    assert upsert(world.client()).count == 5
    assert asked(world) == ["update", "create", "update"]
    assert [row["count"] for row in world.buckets()] == [5]


RESERVED = {"checkpoints": [["s", "1", 2]], "unindexed": {"count": "3"}, "beyond": {"cost": "5"}}


@pytest.mark.parametrize(
    ("record_type", "before", "given", "after"),
    [
        ("items", RESERVED | {"note": 1}, {"note": 2}, RESERVED | {"note": 2}),
        ("items", RESERVED | {"note": 1}, {}, RESERVED | {"note": 1}),
        ("reviews", {"wordCount": 7}, {"note": 2}, {"wordCount": 7, "note": 2}),
        ("reviewsByScore", {"other": [1]}, {"other": 0, "note": 2}, {"other": [1], "note": 2}),
        ("items", RESERVED, {"checkpoints": [], "beyond": None, "countedUntil": [1]}, RESERVED),
        ("feedbackItems", {"changedCount": 4}, {"changedCount": 0}, {"changedCount": 4}),
        *(("items", odd, {"note": 2}, {"note": 2}) for odd in (None, [1], "text")),
    ],
)
def test_metadata_that_is_not_given_is_kept_and_the_functions_own_always(
    world: World, record_type: str, before: Any, given: dict[str, Any], after: dict[str, Any]
) -> None:
    """Without its checkpoints, a bucket counts what is delivered again a second time."""
    upsert(world.client(), record_type=record_type)
    world.api.put("AggregatedMetrics", world.buckets()[0] | {"metadata": before})
    record = upsert(world.client(), record_type=record_type, metadata=given)
    assert world.buckets()[0]["metadata"] == record.metadata == after


def test_what_a_function_writes_meanwhile_is_kept(world: World) -> None:
    upsert(world.client())
    first, version = len(world.log), "2026-11-22T11:00:00.000001Z"
    meanwhile(world, world.buckets()[0], updatedAt=version, metadata=RESERVED)
    upsert(world.client(), metadata={"note": 2})
    assert asked(world)[first:] == ["list", "update", "list", "update"]
    assert world.buckets()[0]["metadata"] == RESERVED | {"note": 2}


def test_a_record_that_changes_at_every_try_is_left_alone(world: World) -> None:
    upsert(world.client())
    row, moments = world.buckets()[0], itertools.count()

    def function(_: Any) -> None:
        moment = f"2026-11-22T11:00:{next(moments):02}Z"
        world.api.put("AggregatedMetrics", row | {"updatedAt": moment})

    world.after = function
    with pytest.raises(ContentionError, match="items#2026-11-22T10:00:00Z#15 of acct-1"):
        upsert(world.client(), count=99, metadata={"note": 2})
    assert world.buckets()[0]["count"] == 5


def test_an_empty_id_is_no_id(world: World) -> None:
    record = upsert(world.client(), score_id="", scorecard_id="")
    (row,) = world.buckets()
    assert not {"scorecardId", "scoreId"} & row.keys()
    assert row["compositeKey"] == "items#2026-11-22T10:00:00Z#15"
    assert (record.scorecardId, record.scoreId) == (None, None)


class OtherClient(FakeClient):
    """Another library's client: raises its own error, or swallows it where there is none."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            return super().execute(query, variables)
        except GraphQLError as raised:
            if self.error:
                raise self.error from raised
            return dict(raised.data)


def failing(error: Exception) -> FakeClient:
    """A client that carries nothing out."""
    client = FakeClient()
    client.before = Mock(side_effect=error)
    return client


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("{'message': 'The conditional request failed (Service: DynamoDb)'}"),
        *map(RuntimeError, ("Record not found", "the item does not exist")),
        RuntimeError("DynamoDB:ConditionalCheckFailedException"),
        ConditionFailedError("No.", operation="Update"),
        None,
    ],
)
def test_a_failed_condition_is_understood_of_any_client(error: Exception | None) -> None:
    client = OtherClient(error)
    assert [upsert(client, count=n).count for n in (5, 6)] == [5, 6]
    assert len(client.queries) == 3
    assert [row["count"] for row in client.api.rows("AggregatedMetrics")] == [6]


def test_a_record_that_comes_and_goes_at_every_try_is_left_alone() -> None:
    client = failing(ConditionFailedError("No.", operation="Create"))
    with pytest.raises(ContentionError, match="items#2026-11-22T10:00:00Z#15 of acct-1"):
        upsert(client)


@pytest.mark.parametrize(
    "error",
    [
        *map(RuntimeError, ("Unauthorized", "Rate exceeded", "timed out")),
        AuthorizationError("No.", operation="Update"),
    ],
)
def test_any_other_error_goes_on(error: Exception) -> None:
    client = failing(error)
    with pytest.raises(type(error), match=str(error)):
        upsert(client)
    assert len(client.queries) == 1


@pytest.mark.parametrize(
    "call",
    [
        *(lambda _, t=t: read(timeRangeStart=t, createdAt=t) for t in (NAIVE, NAIVE.isoformat())),
        lambda client: upsert(client, time_range_start=NAIVE),
        lambda client: upsert(client, time_range_end=NAIVE),
        lambda _: AggregatedMetrics.generate_composite_key("items", NAIVE, 1),
        lambda client: AggregatedMetrics.list_by_time_range(client, "a", NAIVE, END),
        lambda client: AggregatedMetrics.list_by_time_range(client, "a", START, NAIVE),
    ],
)
def test_a_naive_time_is_refused_before_anything_is_sent(
    world: World, call: Callable[[Any], Any]
) -> None:
    with pytest.raises(ArgumentError, match=r"datetime\.now\(UTC\)|has no offset"):
        call(world.client())
    assert world.log == []


def put(world: World, *starts: str, record_type: str = "items", account: str = "acct-1") -> None:
    for start in starts:
        key = f"{record_type}#{start}#1"
        row = ROW | {"accountId": account, "recordType": record_type, "compositeKey": key}
        row |= {"timeRangeStart": start, "metadata": {"checkpoints": []}}
        world.api.put("AggregatedMetrics", row)


def listed(world: World, *args: Any) -> list[str]:
    found = AggregatedMetrics.list_by_time_range(world.client(), "acct-1", *args)
    return [record.compositeKey for record in found]


def test_other_accounts_are_left_out_and_other_types_if_one_is_asked_for(world: World) -> None:
    start = "2026-11-22T10:00:00Z"
    put(world, start)
    put(world, start, account="acct-2")
    for record_type in ("evaluations", "itemsOld", "tasks", "predictionItems", "zebras"):
        put(world, start, record_type=record_type)
    assert listed(world, START, END, "items") == [f"items#{start}#1"]
    assert len(listed(world, START, END)) == 6


@EACH_INDEX
@pytest.mark.parametrize("form", ["{}:00Z", "{}Z", "{}:00.000Z", "{}:00+00:00", "{}:00.000000000Z"])
def test_both_ends_of_a_range_are_included_in_every_form_that_others_store(
    world: World, form: str, record_type: str | None
) -> None:
    times = [f"2026-11-22T{clock}" for clock in ("09:59", "10:00", "10:07", "10:15", "10:16")]
    put(world, *map(form.format, times))
    expected = [f"items#{form.format(time)}#1" for time in times[1:4]]
    assert listed(world, START, END, record_type) == expected


@EACH_INDEX
def test_every_page_is_read(world: World, record_type: str | None) -> None:
    times = [START + timedelta(minutes=n) for n in range(2500)]
    put(world, *(time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in times))
    assert len(listed(world, START, times[-1], record_type)) == len(times)
    assert len(world.log) == 3


def test_a_range_that_is_none_is_refused(world: World) -> None:
    with pytest.raises(ArgumentError, match="before the start"):
        listed(world, END, START)
    for span in (("2026-11-22T10:00Z", END), (START, END.date()), (START.timestamp(), END)):
        with pytest.raises(ArgumentError, match="is no datetime: pass an aware one"):
            listed(world, *span)
    assert world.log == []


@EACH_INDEX
def test_one_bucket_size_can_be_asked_for(world: World, record_type: str | None) -> None:
    for size in (1, 5, 15, 60):
        upsert(world.client(), number_of_minutes=size)
    assert len(listed(world, START, END, record_type)) == 4
    assert listed(world, START, END, record_type, 15) == ["items#2026-11-22T10:00:00Z#15"]
    assert listed(world, START, END, record_type, 7) == []
