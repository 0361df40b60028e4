import copy
import dataclasses
import inspect
import itertools
import json
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from aggregated_metrics import AggregatedMetrics
from aggregated_metrics.core.errors import (
    ArgumentError,
    AuthorizationError,
    ConditionFailedError,
    ContentionError,
)

from testbench.fakes.appsync import FakeAppSync
from testbench.world import World

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
END = START + timedelta(minutes=15)
NAIVE = datetime(2026, 11, 22, 10)  # noqa: DTZ001

# What its users call it by: names, order and defaults.
CONSTRUCTOR = (
    "id, accountId, compositeKey, recordType, timeRangeStart, timeRangeEnd, numberOfMinutes, "
    "count, complete, createdAt, updatedAt, client=None, scorecardId=None, scoreId=None, "
    "cost=None, decisionCount=None, externalAiApiCount=None, cachedAiApiCount=None, "
    "errorCount=None, metadata=None"
)
METHODS = {
    "create_or_update": (
        "client, account_id, record_type, time_range_start, time_range_end, number_of_minutes, "
        "count, complete=True, scorecard_id=None, score_id=None, cost=None, decision_count=None, "
        "external_ai_api_count=None, cached_ai_api_count=None, error_count=None, metadata=None"
    ),
    "fields": "",
    "from_dict": "data, client",
    "generate_composite_key": (
        "record_type, time_range_start, number_of_minutes, scorecard_id=None, score_id=None"
    ),
    "list_by_time_range": (
        "client, account_id, start_time, end_time, record_type=None, number_of_minutes=None"
    ),
}
TYPES = {
    "id": "str",
    "accountId": "str",
    "compositeKey": "str",
    "recordType": "str",
    "timeRangeStart": "datetime",
    "timeRangeEnd": "datetime",
    "numberOfMinutes": "int",
    "count": "int",
    "complete": "bool",
    "createdAt": "datetime",
    "updatedAt": "datetime",
    "scorecardId": "str | None",
    "scoreId": "str | None",
    "cost": "int | None",
    "decisionCount": "int | None",
    "externalAiApiCount": "int | None",
    "cachedAiApiCount": "int | None",
    "errorCount": "int | None",
    "metadata": "dict[str, typing.Any] | None",
}


def signature(function: Callable[..., Any]) -> str:
    """Names in order, with defaults."""
    parameters = inspect.signature(function).parameters.values()
    assert {p.kind for p in parameters} <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return ", ".join(
        p.name if p.default is inspect.Parameter.empty else f"{p.name}={p.default!r}"
        for p in parameters
    )


def test_it_is_constructed_as_its_users_do() -> None:
    assert signature(AggregatedMetrics) == CONSTRUCTOR


@pytest.mark.parametrize("name", METHODS)
def test_its_methods_have_their_users_signatures(name: str) -> None:
    assert signature(getattr(AggregatedMetrics, name)) == METHODS[name]


def test_it_has_no_other_public_methods() -> None:
    fields = {field.name for field in dataclasses.fields(AggregatedMetrics)}
    public = {name for name in vars(AggregatedMetrics) if not name.startswith("_")}
    assert public - fields == {"client", *METHODS}


def test_its_members_have_their_users_types() -> None:
    found = {field.name: field.type for field in dataclasses.fields(AggregatedMetrics)}
    assert {
        name: kind.__name__ if isinstance(kind, type) else str(kind) for name, kind in found.items()
    } == TYPES


def test_fields_asks_for_everything_that_it_has_and_for_no_id() -> None:
    names = set(re.findall(r"\w+", AggregatedMetrics.fields()))
    assert names == set(TYPES) - {"id"}


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        ({}, "items#2026-11-22T10:00:00Z#15"),
        ({"scorecard_id": "card"}, "items#card#2026-11-22T10:00:00Z#15"),
        ({"score_id": "score"}, "items#score#2026-11-22T10:00:00Z#15"),
        ({"scorecard_id": "card", "score_id": "score"}, "items#score#2026-11-22T10:00:00Z#15"),
    ],
)
def test_a_composite_key_names_the_narrowest_scope(scope: dict[str, str], key: str) -> None:
    assert AggregatedMetrics.generate_composite_key("items", START, 15, **scope) == key


def test_a_composite_key_is_in_utc_and_has_no_fraction() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    start = START.astimezone(india).replace(microsecond=5)
    assert AggregatedMetrics.generate_composite_key("items", start, 1) == (
        "items#2026-11-22T10:00:00Z#1"
    )


ROW = {
    "accountId": "acct-1",
    "compositeKey": "items#2026-11-22T10:00:00Z#15",
    "recordType": "items",
    "timeRangeStart": "2026-11-22T10:00:00Z",
    "timeRangeEnd": "2026-11-22T10:15:00.000Z",
    "numberOfMinutes": 15,
    "count": 3,
    "complete": True,
    "createdAt": "2026-11-22T10:01:02.123Z",
    "updatedAt": "2026-11-22T10:01:02.123456Z",
    "metadata": '{"checkpoints": []}',
    "__typename": "AggregatedMetrics",
}


def test_a_record_is_read_from_the_apis_json() -> None:
    client = FakeAppSync()
    record = AggregatedMetrics.from_dict(ROW, client)
    assert record.client is client
    assert record.id == "acct-1#items#2026-11-22T10:00:00Z#15"
    assert (record.timeRangeStart, record.timeRangeEnd) == (START, END)
    assert record.updatedAt.microsecond == 123_456
    assert record.metadata == {"checkpoints": []}
    assert (record.cost, record.scoreId) == (None, None)


def test_its_repr_is_short_and_says_which_bucket_it_is() -> None:
    record = AggregatedMetrics.from_dict(ROW | {"count": 100}, FakeAppSync())
    assert repr(record) == (
        "<AggregatedMetrics acct-1#items#2026-11-22T10:00:00Z#15 items 15min count=100>"
    )


def test_an_id_that_the_api_gives_is_kept() -> None:
    assert AggregatedMetrics.from_dict(ROW | {"id": "x"}, FakeAppSync()).id == "x"


@pytest.mark.parametrize(
    ("stored", "read"),
    [(None, None), ('{"a": 1}', {"a": 1}), ('"{\\"a\\": 1}"', {"a": 1}), ({"a": 1}, {"a": 1})],
)
def test_metadata_is_decoded(stored: Any, read: Any) -> None:
    assert AggregatedMetrics.from_dict(ROW | {"metadata": stored}, FakeAppSync()).metadata == read


def test_two_clients_records_of_one_bucket_are_equal(world: World) -> None:
    client = FakeAppSync()
    one, other = (AggregatedMetrics.from_dict(ROW, each) for each in (client, world.client()))
    assert one == other
    assert one != AggregatedMetrics.from_dict(ROW | {"count": 4}, client)
    assert one != AggregatedMetrics.from_dict(ROW | {"metadata": None}, client)


def test_a_record_is_a_value_whatever_its_client_holds(world: World) -> None:
    """A real client holds locks and sockets, which nothing can copy."""
    record = AggregatedMetrics.from_dict(ROW, world.client())
    fields = dataclasses.asdict(record)
    assert "client" not in fields
    assert AggregatedMetrics(**fields) == record
    for other in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert (other, other.client) == (record, None)
    changed = dataclasses.replace(record, count=9)
    assert (changed.count, changed.client) == (9, record.client)


def test_a_record_is_read_from_what_callers_have() -> None:
    times = {"timeRangeStart": START, "timeRangeEnd": END, "updatedAt": END, "createdAt": None}
    given = ROW | times | {"metadata": {"a": 1}, "scorecardId": "", "scoreId": ""}
    record = AggregatedMetrics.from_dict(given, FakeAppSync())
    assert (record.timeRangeStart, record.timeRangeEnd, record.updatedAt) == (START, END, END)
    assert [record.createdAt, record.scorecardId, record.scoreId] == [None, None, None]
    again = AggregatedMetrics.from_dict(dataclasses.asdict(record), FakeAppSync())
    assert again == record


def test_a_field_that_was_not_selected_is_none() -> None:
    given = {name: ROW[name] for name in ("accountId", "compositeKey", "count")}
    record = AggregatedMetrics.from_dict(given, FakeAppSync())
    assert [record.count, record.timeRangeStart, record.updatedAt] == [3, None, None]


@pytest.mark.parametrize("name", ["timeRangeStart", "timeRangeEnd", "createdAt", "updatedAt"])
def test_a_record_with_a_naive_time_is_refused(name: str) -> None:
    for time in (NAIVE, NAIVE.isoformat()):
        with pytest.raises(ArgumentError):
            AggregatedMetrics.from_dict(ROW | {name: time}, FakeAppSync())


# create_or_update


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
    record = upsert(
        world.client(),
        complete=False,
        scorecard_id="card",
        score_id="score",
        cost=1,
        decision_count=2,
        external_ai_api_count=3,
        cached_ai_api_count=4,
        error_count=5,
        metadata={"note": [1]},
    )
    assert asked(world) == ["get", "create"]
    (row,) = world.buckets()
    assert row.pop("createdAt") == row.pop("updatedAt")
    assert row == {
        "accountId": "acct-1",
        "compositeKey": "items#score#2026-11-22T10:00:00Z#15",
        "scorecardId": "card",
        "scoreId": "score",
        "recordType": "items",
        "timeRangeStart": "2026-11-22T10:00:00Z",
        "timeRangeEnd": "2026-11-22T10:15:00Z",
        "numberOfMinutes": 15,
        "count": 5,
        "cost": 1,
        "decisionCount": 2,
        "externalAiApiCount": 3,
        "cachedAiApiCount": 4,
        "errorCount": 5,
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


def test_a_record_that_somebody_created_meanwhile_is_updated(world: World) -> None:
    def somebody(_: Any) -> None:
        if len(world.log) == 0:
            world.after = lambda _: None
            other = FakeAppSync.execute(world.api, *_create(count=1))
            assert "errors" not in other

    world.after = somebody
    record = upsert(world.client())
    assert asked(world) == ["update", "create", "update"]
    assert [row["count"] for row in world.buckets()] == [5]
    assert record.count == 5


RESERVED = {
    "checkpoints": [["shard", "1", 2]],
    "unindexed": {"count": "3"},
    "beyond": {"cost": "5"},
}


def kept(world: World) -> Any:
    (row,) = world.buckets()
    return row["metadata"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"note": 2}, RESERVED | {"note": 2}),
        ({}, RESERVED),
        (
            {"checkpoints": [], "beyond": None, "countedUntil": [1, 2], "note": 2},
            RESERVED | {"note": 2},
        ),
    ],
)
def test_the_functions_own_metadata_is_kept_whatever_is_given(
    world: World, given: dict[str, Any], stored: dict[str, Any]
) -> None:
    """Without its checkpoints, a bucket counts what is delivered again a second time."""
    upsert(world.client())
    world.api.put("AggregatedMetrics", world.buckets()[0] | {"metadata": RESERVED | {"note": 1}})
    record = upsert(world.client(), metadata=given)
    assert kept(world) == record.metadata == stored


def test_a_record_types_own_measures_are_kept_too(world: World) -> None:
    upsert(world.client(), record_type="feedbackItems")
    row = world.buckets()[0] | {"metadata": {"changedCount": 4, "note": 1}}
    world.api.put("AggregatedMetrics", row)
    upsert(world.client(), record_type="feedbackItems", metadata={"changedCount": 0})
    assert kept(world) == {"changedCount": 4}


@pytest.mark.parametrize("before", [None, [1], "text", 7])
def test_metadata_that_is_no_object_is_replaced(world: World, before: Any) -> None:
    upsert(world.client())
    world.api.put("AggregatedMetrics", world.buckets()[0] | {"metadata": before})
    upsert(world.client(), metadata={"note": 2})
    assert kept(world) == {"note": 2}


def test_what_a_function_writes_meanwhile_is_kept(world: World) -> None:
    upsert(world.client())
    row = world.buckets()[0]

    def function(_: Any) -> None:
        world.after = lambda _: None
        changed = {"updatedAt": "2026-11-22T11:00:00.000001Z", "metadata": RESERVED}
        world.api.put("AggregatedMetrics", row | changed)

    first = len(world.log)
    world.after = function
    upsert(world.client(), metadata={"note": 2})
    assert asked(world)[first:] == ["get", "update", "get", "update"]
    assert kept(world) == RESERVED | {"note": 2}


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


def test_a_record_that_comes_and_goes_at_every_try_is_left_alone() -> None:
    class Unsettled:
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            raise ConditionFailedError("No.", operation=query[:15])

    with pytest.raises(ContentionError, match="items#2026-11-22T10:00:00Z#15 of acct-1"):
        upsert(Unsettled())


@pytest.mark.parametrize("empty", [{"scorecard_id": ""}, {"score_id": "", "scorecard_id": ""}])
def test_an_empty_id_is_no_id(world: World, empty: Any) -> None:
    record = upsert(world.client(), **empty)
    (row,) = world.buckets()
    assert not {"scorecardId", "scoreId"} & row.keys()
    assert row["compositeKey"] == "items#2026-11-22T10:00:00Z#15"
    assert (record.scorecardId, record.scoreId) == (None, None)


def _create(count: int) -> tuple[str, dict[str, Any]]:
    made = ROW | {"count": count}
    del made["__typename"]
    query = (
        "mutation Create($input: CreateAggregatedMetricsInput!) "
        "{ createAggregatedMetrics(input: $input) { count } }"
    )
    return query, {"input": made}


class TextClient:
    """Somebody else's client: raises its own library's error, which says all in its text."""

    def __init__(self, api: FakeAppSync, text: str) -> None:
        self.api, self.text, self.queries = api, text, 0

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.queries += 1
        response = self.api.execute(query, variables)
        if response.get("errors"):
            raise RuntimeError(self.text)
        data: dict[str, Any] = response["data"]
        return data


@pytest.mark.parametrize(
    "text",
    [
        "{'message': 'The conditional request failed (Service: DynamoDb)'}",
        "Record not found",
        "the item does not exist",
        "DynamoDB:ConditionalCheckFailedException",
    ],
)
def test_a_client_that_tells_by_text_only_is_understood(text: str) -> None:
    api = FakeAppSync()
    client = TextClient(api, text)
    assert upsert(client).count == 5
    assert upsert(client, count=6).count == 6
    assert client.queries == 3
    assert [row["count"] for row in api.rows("AggregatedMetrics")] == [6]


def test_our_client_tells_by_its_class_and_its_text_decides_nothing() -> None:
    class Classy(TextClient):
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            try:
                return super().execute(query, variables)
            except RuntimeError as error:
                raise ConditionFailedError(
                    "No.", operation="Update", errors=[], data=None
                ) from error

    assert upsert(Classy(FakeAppSync(), "")).count == 5


def test_a_client_that_swallows_errors_and_gives_null_is_understood() -> None:
    class Swallowing(TextClient):
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            data: dict[str, Any] = self.api.execute(query, variables)["data"]
            return data

    assert upsert(Swallowing(FakeAppSync(), "")).count == 5


@pytest.mark.parametrize("text", ["Unauthorized", "Rate exceeded", "timed out"])
def test_any_other_error_goes_on(text: str) -> None:
    client = TextClient(FakeAppSync(), text)
    with pytest.raises(RuntimeError, match=f"^{text}$"):
        upsert(client)
    assert client.queries == 1


def test_a_refusal_goes_on(world: World) -> None:
    world.api._signatures._secrets.clear()  # type: ignore[union-attr]
    with pytest.raises(AuthorizationError):
        upsert(world.client())
    assert len(world.log) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda client: upsert(client, time_range_start=NAIVE),
        lambda client: upsert(client, time_range_end=NAIVE),
        lambda _: AggregatedMetrics.generate_composite_key("items", NAIVE, 1),
        lambda client: AggregatedMetrics.list_by_time_range(client, "a", NAIVE, END),
        lambda client: AggregatedMetrics.list_by_time_range(client, "a", START, NAIVE),
    ],
    ids=["start", "end", "key", "list start", "list end"],
)
def test_a_naive_datetime_is_refused_before_anything_is_sent(
    world: World, call: Callable[[Any], Any]
) -> None:
    with pytest.raises(ArgumentError, match=r"datetime\.now\(UTC\)"):
        call(world.client())
    assert world.log == []


# list_by_time_range


def put(world: World, *starts: str, record_type: str = "items", account: str = "acct-1") -> None:
    for start in starts:
        key = f"{record_type}#{start}#1"
        row = ROW | {"accountId": account, "recordType": record_type, "compositeKey": key}
        world.api.put(
            "AggregatedMetrics", row | {"timeRangeStart": start, "metadata": {"checkpoints": []}}
        )


def listed(world: World, *args: Any) -> list[str]:
    found = AggregatedMetrics.list_by_time_range(world.client(), "acct-1", *args)
    return [record.compositeKey for record in found]


@pytest.mark.parametrize("record_type", [None, "items"])
def test_both_ends_of_a_range_are_included(world: World, record_type: str | None) -> None:
    minutes = [f"2026-11-22T10:{minute:02}:00Z" for minute in range(60)]
    put(world, "2026-11-22T09:59:00Z", *minutes[:17], "2027-01-01T00:00:00Z")
    assert listed(world, START, END, record_type) == [f"items#{m}#1" for m in minutes[:16]]


def test_other_accounts_are_left_out_and_other_types_if_one_is_asked_for(world: World) -> None:
    start = "2026-11-22T10:00:00Z"
    put(world, start)
    put(world, start, account="acct-2")
    for record_type in ("evaluations", "itemsOld", "tasks", "predictionItems", "zebras"):
        put(world, start, record_type=record_type)
    assert listed(world, START, END, "items") == [f"items#{start}#1"]
    assert len(listed(world, START, END)) == 6


@pytest.mark.parametrize("record_type", [None, "items"])
@pytest.mark.parametrize("form", ["{}:00Z", "{}Z", "{}:00.000Z", "{}:00+00:00", "{}:00.000000000Z"])
def test_rows_that_others_stored_in_other_forms_are_found(
    world: World, form: str, record_type: str | None
) -> None:
    times = [f"2026-11-22T{clock}" for clock in ("09:59", "10:00", "10:07", "10:15", "10:16")]
    put(world, *map(form.format, times))
    expected = [f"items#{form.format(time)}#1" for time in times[1:4]]
    assert listed(world, START, END, record_type) == expected


@pytest.mark.parametrize("record_type", [None, "items"])
def test_every_page_is_read(world: World, record_type: str | None) -> None:
    minutes = 2500
    times = [START + timedelta(minutes=n) for n in range(minutes)]
    put(world, *(time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in times))
    found = AggregatedMetrics.list_by_time_range(
        world.client(), "acct-1", START, times[-1], record_type
    )
    assert [record.timeRangeStart for record in found] == times
    assert len(world.log) == 3


def test_an_empty_range_is_an_empty_list(world: World) -> None:
    assert listed(world, START, END) == []


@pytest.mark.parametrize("record_type", [None, "items"])
def test_a_reversed_range_is_refused(world: World, record_type: str | None) -> None:
    with pytest.raises(ArgumentError, match="before the start"):
        listed(world, END, START, record_type)
    assert world.log == []


@pytest.mark.parametrize("time", ["2026-11-22T10:00:00Z", START.date(), START.timestamp()])
def test_what_is_no_datetime_is_refused_by_name(world: World, time: Any) -> None:
    for span in ((time, END), (START, time)):
        with pytest.raises(ArgumentError, match="is no datetime: pass an aware one"):
            listed(world, *span)
    assert world.log == []


@pytest.mark.parametrize("record_type", [None, "items"])
def test_one_bucket_size_can_be_asked_for(world: World, record_type: str | None) -> None:
    for size in (1, 5, 15, 60):
        upsert(world.client(), number_of_minutes=size)
    assert len(listed(world, START, END, record_type)) == 4
    assert listed(world, START, END, record_type, 15) == ["items#2026-11-22T10:00:00Z#15"]
    assert listed(world, START, END, record_type, 7) == []


@pytest.mark.parametrize(
    ("record_type", "field"),
    [
        (None, "listAggregatedMetricsByAccountIdAndTimeRangeStartAndRecordType"),
        ("items", "listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart"),
    ],
)
def test_a_client_that_answers_by_the_apis_own_names_is_understood(
    record_type: str | None, field: str
) -> None:
    class Canned:
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            return {field: {"items": [ROW]}}

    (record,) = AggregatedMetrics.list_by_time_range(Canned(), "acct-1", START, END, record_type)
    assert record.count == 3


def test_what_was_upserted_is_listed(world: World) -> None:
    upsert(world.client())
    (record,) = AggregatedMetrics.list_by_time_range(world.client(), "acct-1", START, START)
    assert (record.count, record.metadata) == (5, None)
    assert json.loads(world.log[0].body)["query"].startswith("mutation Update(")
