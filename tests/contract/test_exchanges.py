"""Amplify's operations answer the recorded exchanges as the recorded API did, in order.

Over both tables: the Fake's in memory, and DynamoDB behind the reference back end's handler.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from requests_aws4auth import AWS4Auth

from testbench.fakes import models
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.signatures import Signatures
from testbench.fakes.transport import FakeAdapter
from tests.contract.backend import backend_api

EXCHANGES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "testbench" / "amplify" / "exchanges.json").read_text()
)["exchanges"]

KEY, SECRET, API_KEY = "AKIDEXAMPLE", "wrong-in-no-test-but-one", "da2-example"
ENDPOINT = "https://api.example.com/graphql"

CREATE = (
    "mutation C($i: CreateAggregatedMetricsInput!) { createAggregatedMetrics(input: $i) { count } }"
)
BUCKET = {
    "accountId": "a",
    "compositeKey": "items#x",
    "recordType": "items",
    "timeRangeStart": "2026-11-22T10:00:00Z",
    "timeRangeEnd": "2026-11-22T10:01:00Z",
    "numberOfMinutes": 1,
    "complete": False,
    "count": 5,
    "cost": 3,
    "updatedAt": "2026-11-22T10:00:00Z",
}
TABLES = ("memory", "dynamodb")
RECORDED = "2026-11-22"
_TIMES = ("createdAt", "updatedAt")


def _session(api: FakeAppSync) -> requests.Session:
    session = requests.Session()
    session.mount("https://", FakeAdapter(api))
    return session


def _credentials(exchange: Mapping[str, Any]) -> dict[str, Any]:
    """How a recorded request was authorized: signed in the right way, unless its name says else."""
    unsigned: dict[str, dict[str, Any]] = {
        "auth-none": {},
        "auth-api-key": {"headers": {"x-api-key": API_KEY}},
        "auth-api-key-wrong": {"headers": {"x-api-key": "da2-other"}},
    }
    wrong = {
        "auth-iam-wrong-secret": (KEY, "another", "appsync"),
        "auth-iam-unknown-key": ("AKIDOTHER", SECRET, "appsync"),
        "auth-iam-wrong-service": (KEY, SECRET, "execute-api"),
    }
    name = exchange["name"]
    if name in unsigned:
        return unsigned[name]
    key, secret, service = wrong.get(name, (KEY, SECRET, "appsync"))
    return {"auth": AWS4Auth(key, secret, "us-west-2", service)}


def _body(exchange: Mapping[str, Any], tokens: Mapping[str, str]) -> str:
    request = dict(exchange["request"])
    if "raw_body" in request:
        return str(request["raw_body"])
    if "next_token_of" in exchange:
        request["variables"] |= {"t": tokens[exchange["next_token_of"]]}
    return json.dumps(request)


def _comparable(value: Any, sent: str, name: str = "") -> Any:
    """An answer without what differs from run to run, and AWSJSON without its key order."""
    if isinstance(value, dict):
        return {key: _comparable(item, sent, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_comparable(item, sent) for item in value]
    made = isinstance(value, str) and (
        name == "nextToken"
        or (name == "id" and value not in sent)
        # Times in the requests are older than the recording: what is not was set by a resolver.
        or (name in _TIMES and value >= RECORDED)
    )
    if made:
        return "(made)"
    return json.loads(value) if name == "metadata" and value else value


def _errors(exchange: Mapping[str, Any], response: Mapping[str, Any]) -> list[Any]:
    compared = []
    for error in response.get("errors", []):
        kind, path = error.get("errorType"), error.get("path")
        by_template = path is not None and kind in (None, "InvalidArgumentsError")
        compared.append((kind, path, error["message"] if by_template else None))
    return compared


@contextmanager
def _api(table: str, **options: Any) -> Iterator[FakeAppSync]:
    api = FakeAppSync(**options)
    with nullcontext(api) if table == "memory" else backend_api(api):
        yield api


@pytest.fixture(scope="module", params=TABLES)
def replayed(request: pytest.FixtureRequest) -> list[tuple[dict[str, Any], requests.Response]]:
    tokens: dict[str, str] = {}
    answers = []
    options = {
        "clock": lambda: datetime(2026, 11, 22, 8, 15, 52, 106000, tzinfo=UTC),
        "signatures": Signatures({KEY: SECRET}, [API_KEY]),
    }
    with _api(request.param, **options) as api, _session(api) as session:
        for exchange in EXCHANGES:
            body = _body(exchange, tokens)
            answer = session.post(ENDPOINT, data=body, **_credentials(exchange))
            answers.append((exchange, answer))
            for page in (answer.json().get("data") or {}).values():
                if isinstance(page, dict) and page.get("nextToken"):
                    tokens[exchange["name"]] = page["nextToken"]
    return answers


@pytest.mark.parametrize(
    "number", range(252), ids=[f"{n}-{e['name']}" for n, e in enumerate(EXCHANGES)]
)
def test_exchange_is_answered_as_recorded(
    replayed: list[tuple[dict[str, Any], requests.Response]], number: int
) -> None:
    exchange, answer = replayed[number]
    sent = json.dumps(exchange["request"])
    recorded, given = exchange["response"], answer.json()
    assert answer.status_code == exchange["status"]
    assert _errors(exchange, given) == _errors(exchange, recorded)
    assert _comparable(given.get("data"), sent) == _comparable(recorded.get("data"), sent)
    assert ("data" in given) == ("data" in recorded)
    wanted_header = exchange.get("x-amzn-ErrorType")
    assert wanted_header is None or answer.headers["x-amzn-ErrorType"] == wanted_header


def test_an_equal_put_succeeds_only_where_asked_for() -> None:
    document = "mutation C($i: CreateItemInput!) { createItem(input: $i) { id } }"
    item = {
        "id": "i1",
        "accountId": "a",
        "isEvaluation": False,
        "createdAt": "2026-11-22T10:00:00Z",
        "updatedAt": "2026-11-22T10:00:00Z",
    }
    for equal_put_succeeds in (False, True):
        api = FakeAppSync(equal_put_succeeds=equal_put_succeeds)
        api.execute(document, {"i": item})
        again = api.execute(document, {"i": item})
        assert ("errors" not in again) is equal_put_succeeds
        other = api.execute(document, {"i": item | {"isEvaluation": True}})
        assert other["errors"][0]["errorType"] == "DynamoDB:ConditionalCheckFailedException"


FILTERS: list[tuple[dict[str, Any], bool]] = [
    ({"count": {"between": [5, 7]}}, True),
    ({"count": {"ge": 5, "lt": 5}}, False),
    ({"scoreId": {"ne": "s"}}, True),
    ({"scoreId": {"eq": "s"}}, False),
    ({"scoreId": {"attributeExists": True}}, False),
    ({"compositeKey": {"beginsWith": "items#", "size": {"gt": 3}}}, True),
    ({"recordType": {"contains": "tem"}, "not": {"recordType": {"contains": "x"}}}, True),
    (
        {"and": [{"count": {"eq": 5}}, {"or": [{"count": {"gt": 9}}, {"cost": {"le": 0}}]}]},
        False,
    ),
    ({"recordType": {"notContains": "x"}}, True),
    ({"recordType": {"notContains": "tem"}}, False),
    ({"updatedAt": {"attributeType": "string"}}, True),
    ({}, True),
]


@pytest.mark.parametrize("table", TABLES)
def test_a_filter_lets_through_what_dynamodb_would(table: str) -> None:
    listed = (
        "query L($f: ModelAggregatedMetricsFilterInput) "
        "{ listAggregatedMetrics(filter: $f) { items { compositeKey } } }"
    )
    with _api(table) as api:
        api.execute(CREATE, {"i": BUCKET})
        for condition, holds in FILTERS:
            page = api.execute(listed, {"f": condition})["data"]["listAggregatedMetrics"]
            assert bool(page["items"]) is holds, condition


def test_numbers_in_json_that_a_double_cannot_hold_do_not_survive() -> None:
    api = FakeAppSync()
    api.put("Item", {"id": "i", "metadata": {"number": 10**21 + 1, "text": str(10**21 + 1)}})
    stored = api.rows("Item")[0]["metadata"]
    assert stored == {"number": 10**21, "text": "1000000000000000000001"}


def test_a_direction_is_refused_without_the_account_whose_rows_it_orders() -> None:
    answer = FakeAppSync().execute(
        "query { listAggregatedMetrics(sortDirection: ASC) { nextToken } }"
    )
    (error,) = answer["errors"]
    assert error["errorType"] == "InvalidArgumentsError"
    assert error["message"] == (
        "When providing argument 'sortDirection' you must also provide argument 'accountId'."
    )


@pytest.mark.parametrize("table", TABLES)
def test_a_record_without_a_part_of_a_composite_key_is_not_in_its_index(table: str) -> None:
    result = {
        **{name: name for name in ("id", "accountId", "itemId", "scoreId", "scorecardId")},
        "createdAt": "2026-11-22T10:00:00Z",
        "status": "s",
        "type": "t",
        "value": "yes",
    }
    listed = (
        'query { page: listScoreResultByTypeAndStatusAndUpdatedAt(type: "t") { items { id } } }'
    )
    with _api(table) as api:
        api.execute(
            "mutation C($i: CreateScoreResultInput!) { createScoreResult(input: $i) { id } }",
            {"i": result},
        )
        before = api.execute(listed)["data"]["page"]["items"]
        changes = result | {"status": None}
        del changes["value"]
        changed = api.execute(
            "mutation U($i: UpdateScoreResultInput!) { updateScoreResult(input: $i) { status } }",
            {"i": changes},
        )
        after = api.execute(listed)["data"]["page"]["items"]
    assert changed["data"] == {"updateScoreResult": {"status": None}}
    assert (before, after) == ([{"id": "id"}], [])


@pytest.fixture
def _conflicts() -> Iterator[None]:
    """An API that resolves conflicts, as AppSync's types show it."""
    models.extend("extend type Item { _deleted: Boolean }")
    yield
    models.extend()


@pytest.mark.usefixtures("_conflicts")
def test_a_deleted_record_stays_where_the_api_resolves_conflicts() -> None:
    api = FakeAppSync()
    api.put(
        "Item",
        {"id": "i", "accountId": "a", "isEvaluation": False, "createdAt": "2026-11-22T10:00:00Z"},
    )
    deleted = api.execute('mutation { deleteItem(input: {id: "i"}) { id _deleted } }')
    listed = api.execute("query { listItems { items { id _deleted } } }")
    assert deleted["data"]["deleteItem"] == {"id": "i", "_deleted": True}
    assert listed["data"]["listItems"]["items"] == [{"id": "i", "_deleted": True}]
