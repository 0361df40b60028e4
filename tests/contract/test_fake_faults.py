"""The stand-in's transports and faults do what they say: later tests build on them."""

from typing import Any

import pytest
import requests

from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.faults import Faults, Rates
from testbench.fakes.transport import NO_ANSWER, FakeAdapter, serve

ENDPOINT = "https://fake.example/graphql"
CREATE = "mutation C($i: CreateItemInput!) { createItem(input: $i) { id } }"
UPDATE = "mutation U($i: UpdateItemInput!) { updateItem(input: $i) { id } }"
GET = "query G($i: ID!) { getItem(id: $i) { id text } }"
LIST = """query L($a: String!) {
  listItemByAccountIdAndCreatedAt(accountId: $a) { items { id text } nextToken } }"""
PAIR = """mutation P($x: CreateItemInput!, $y: CreateItemInput!) {
  x: createItem(input: $x) { id } y: createItem(input: $y) { id } }"""


def _input(number: int = 1, **changes: Any) -> dict[str, Any]:
    row = {"id": f"i{number}", "accountId": "a", "isEvaluation": False, "text": "before"}
    return row | changes


def _client(api: FakeAppSync | Faults, **options: Any) -> tuple[requests.Session, FakeAdapter]:
    session, adapter = requests.Session(), FakeAdapter(api, **options)
    session.mount("https://", adapter)
    return session, adapter


def _post(session: requests.Session, query: str, **variables: Any) -> requests.Response:
    return session.post(ENDPOINT, json={"query": query, "variables": variables})


def _faulty(**rates: float) -> tuple[FakeAppSync, Faults, requests.Session, FakeAdapter]:
    api = FakeAppSync()
    faults = Faults(api, Rates(**rates), seed=1)
    return api, faults, *_client(faults)


@pytest.mark.parametrize(("kind", "stored"), [("drop_before", 0), ("drop_after", 1)])
def test_a_dropped_request_is_carried_out_or_not(kind: str, stored: int) -> None:
    api, faults, session, adapter = _faulty(**{kind: 1})
    with pytest.raises(requests.ConnectionError):
        _post(session, CREATE, i=_input())
    assert len(api.rows("Item")) == stored
    assert faults.counts == {kind: 1}
    assert [(e.status, e.operations) for e in adapter.log] == [(NO_ANSWER, ["createItem"])]


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        ("too_many_requests", {429}),
        ("server_error", {500, 502, 503, 504}),
        ("throttled_request", {200}),
    ],
)
def test_a_refused_request_is_not_carried_out(kind: str, statuses: set[int]) -> None:
    api, faults, session, _ = _faulty(**{kind: 1})
    seen = {_post(session, CREATE, i=_input(n)).status_code for n in range(40)}
    assert seen == statuses
    assert api.rows("Item") == []
    assert faults.counts == {kind: 40}


def test_a_throttled_alias_is_null_and_not_carried_out_and_the_others_are() -> None:
    api, faults, session, _ = _faulty(throttled_aliases=1, alias_share=0.5)
    partly = 0
    for number in range(0, 40, 2):
        answer = _post(session, PAIR, x=_input(number), y=_input(number + 1)).json()
        throttled = [error["path"][0] for error in answer.get("errors", [])]
        assert all("Throttl" in error["errorType"] for error in answer.get("errors", []))
        assert [alias for alias, row in answer["data"].items() if row is None] == throttled
        stored = {row["id"] for row in api.rows("Item")}
        for alias, identity in (("x", f"i{number}"), ("y", f"i{number + 1}")):
            assert (identity in stored) is (alias not in throttled)
        partly += len(throttled) == 1
    assert partly > 0
    assert 0 < faults.counts["throttled_aliases"] < 20


def test_a_stale_read_shows_the_previous_version_only_within_the_bound() -> None:
    now = 100.0
    api = FakeAppSync(monotonic=lambda: now)
    faults = Faults(api, Rates(stale_read=1, row_share=1, staleness=2), seed=1)
    session, _ = _client(faults)

    def read() -> list[str | None]:
        one = _post(session, GET, i="i1").json()["data"]["getItem"]
        page = _post(session, LIST, a="a").json()["data"]["listItemByAccountIdAndCreatedAt"]
        return [one and one["text"], *(row["text"] for row in page["items"])]

    api.execute(CREATE, {"i": _input()})
    assert read() == [None]
    now += 2
    assert read() == ["before", "before"]
    api.execute(UPDATE, {"i": {"id": "i1", "text": "between"}})
    api.execute(UPDATE, {"i": {"id": "i1", "text": "after"}})
    assert read() == ["between", "between"]
    now += 1.5
    assert read() == ["between", "between"]
    now += 0.5
    assert read() == ["after", "after"]
    assert faults.counts["stale_read"] == 6


def test_a_condition_is_never_judged_by_a_stale_row() -> None:
    api = FakeAppSync(monotonic=lambda: 0.0)
    session, _ = _client(Faults(api, Rates(stale_read=1, row_share=1), seed=1))
    assert _post(session, CREATE, i=_input()).json()["data"]["createItem"] == {"id": "i1"}
    assert _post(session, CREATE, i=_input()).json()["data"]["createItem"] is None


def test_slow_answers_take_their_seconds_through_the_given_sleep() -> None:
    slept: list[float] = []
    api = FakeAppSync()
    faults = Faults(api, Rates(slow=1, longest=3), seed=1, sleep=slept.append)
    session, _ = _client(faults)
    for number in range(20):
        assert _post(session, CREATE, i=_input(number)).ok
    assert len(slept) == faults.counts["slow"] == 20
    assert 0 < min(slept) < 1
    assert 2 < max(slept) < 3


def _fates(seed: int) -> list[int]:
    rates = Rates(drop_before=0.2, drop_after=0.2, too_many_requests=0.2, server_error=0.2)
    session, adapter = _client(Faults(FakeAppSync(), rates, seed=seed))
    for number in range(50):
        try:
            _post(session, CREATE, i=_input(number))
        except requests.ConnectionError:
            continue
    return [exchange.status for exchange in adapter.log]


def test_the_same_seed_gives_the_same_faults() -> None:
    assert _fates(7) == _fates(7)
    assert _fates(7) != _fates(8)
    assert {NO_ANSWER, 200, 429} <= set(_fates(7))


def test_a_connection_dropped_by_the_server_is_a_connection_error_at_the_client() -> None:
    api = FakeAppSync()
    faults = Faults(api, Rates(drop_after=1), seed=1)
    with serve(faults) as server:
        with pytest.raises(requests.ConnectionError):
            requests.post(server.url, json={"query": CREATE, "variables": {"i": _input()}})
        assert server.log[0].status == NO_ANSWER
    assert len(api.rows("Item")) == 1
