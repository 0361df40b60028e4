"""The command line against the API in memory, moto, and the real functions."""

import base64
import io
import json
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aggregated_metrics.wiring import Process

from aggregated_metrics_cli import main
from testbench import rows
from testbench.in_process import ROOT, Stack
from testbench.reconciliation import truth
from testbench.streams import Stream, event, stream_arn

ASKED = "--account acct-1 --start 2026-11-22 --end 2026-11-23"
MINUTE = "items#2026-11-22T10:05:00Z#1"


class _CloudWatch:
    def get_metric_statistics(self, **_: Any) -> dict[str, Any]:
        return {"Datapoints": []}


class _Lambda:
    """Lambda's client, as far as redrive uses it; the function is the real one."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.source_tables = "{}"
        self.error: str | None = None
        self.events: list[Any] = []

    def get_function_configuration(self, **_: Any) -> dict[str, Any]:
        return {"Environment": {"Variables": {"SOURCE_TABLES": self.source_tables}}}

    def invoke(self, *, Payload: bytes, **_: Any) -> dict[str, Any]:
        self.events.append(json.loads(Payload))
        if self.error:
            return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": _body(self.error)}
        logged = len(self.stack.lines())
        self.stack.invoke("stream_aggregator", json.loads(Payload))
        lines = "\n".join(map(json.dumps, self.stack.lines()[logged:]))
        log = f"START RequestId: 1\n{lines}\nEND RequestId: 1\n"
        tail = base64.b64encode(log.encode()).decode()
        return {"StatusCode": 200, "Payload": _body('{"state": {}}'), "LogResult": tail}


def _body(text: str) -> io.BytesIO:
    return io.BytesIO(text.encode())


class Desk:
    """Runs commands as from a shell; keeps what they wrote."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.lambdas = _Lambda(stack)
        self.environment: dict[str, str] = {}
        self.out = self.err = ""

    def connect(self, _: Namespace, __: Mapping[str, str]) -> Process:
        process = self.stack.process
        others: dict[str, Any] = {"cloudwatch": _CloudWatch(), "lambda": self.lambdas}
        return Process(
            process.settings.model_copy(update={"STREAM_FUNCTION": "stream"}),
            process.session,
            lambda service: others.get(service) or self.stack._aws(service),
            clock=self.stack.clock,
        )

    def run(self, command: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        code = main(
            command.split(),
            environment=self.environment,
            connect=self.connect,
            out=out,
            err=err,
        )
        self.out, self.err = out.getvalue(), err.getvalue()
        return code

    def json(self, command: str) -> tuple[int, Any]:
        code = self.run(f"{command} --json")
        return code, json.loads(self.out)


@pytest.fixture
def desk(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(time, "sleep", stack.clock.sleep)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    return Desk(stack)


def _count(stack: Stack, number: int = 3) -> None:
    """So many items, counted by the aggregator."""
    made = [rows.item(f"i{n}", createdByType="upload") for n in range(number)]
    stack.api.put("Item", *made)
    stream = Stream("Item")
    stack.take_in(event(*[stream.insert(row) for row in made]))


def _falsify(stack: Stack, **changes: int) -> None:
    row = next(r for r in stack.api.rows("AggregatedMetrics") if r["compositeKey"] == MINUTE)
    stack.api.put("AggregatedMetrics", row | changes)


def _stored(stack: Stack) -> dict[Any, Any]:
    return {
        (r["accountId"], r["recordType"], r["timeRangeStart"], r["numberOfMinutes"]): r["count"]
        for r in stack.api.rows("AggregatedMetrics")
        if r["count"]
    }


def _true(stack: Stack) -> dict[Any, Any]:
    return {key: numbers[0] for key, numbers in truth(stack.api).items()}


# verify, repair, backfill -------------------------------------------------------------------------


def test_verify_of_right_counts_is_0(desk: Desk) -> None:
    _count(desk.stack)
    assert desk.run(f"verify {ASKED}") == 0
    assert "0 wrong, 0 moving" in desk.out


def test_verify_shows_drift_by_series_and_minute_and_is_1(desk: Desk) -> None:
    _count(desk.stack)
    _falsify(desk.stack, count=7, errorCount=2)
    before = desk.stack.api.rows("AggregatedMetrics")
    assert desk.run(f"verify {ASKED}") == 1
    assert "items" in desk.out
    assert "2026-11-22 10:05" in desk.out
    assert "count 7 → 3, errors 2 → 0" in desk.out
    assert desk.stack.api.rows("AggregatedMetrics") == before


def test_verify_as_json_has_every_drift(desk: Desk) -> None:
    _count(desk.stack)
    _falsify(desk.stack, count=7)
    code, found = desk.json(f"verify {ASKED} --record-types items,tasks")
    assert (code, found["driftCount"], found["hours"]) == (1, 1, 48)
    assert found["drift"][0]["stored"]["count"] == 7
    assert desk.err == ""


def test_repair_sets_right_and_is_0(desk: Desk) -> None:
    _count(desk.stack)
    _falsify(desk.stack, count=7)
    assert desk.run(f"repair {ASKED}") == 0
    assert "1 repaired" in desk.out
    assert _stored(desk.stack) == _true(desk.stack)
    assert desk.json(f"verify {ASKED}")[1]["driftCount"] == 0


def test_without_a_range_the_closed_hours_are_checked(desk: Desk) -> None:
    _count(desk.stack)
    for _ in range(2):
        desk.stack.clock.advance(hours=1)
        desk.stack.sweep()
    code, found = desk.json("verify")
    assert (code, found["hours"]) == (0, 1)
    assert desk.json("verify")[1]["hours"] == 0


@pytest.mark.parametrize("place", ["file", "s3"])
def test_a_lost_batch_is_repaired_from_where_it_lies(desk: Desk, tmp_path: Any, place: str) -> None:
    lost = json.loads((ROOT / "events/reconciler/on_failure.json").read_text())["onFailure"]
    desk.stack.api.put("Item", rows.item("item-1"))
    if place == "file":
        path = str(tmp_path / "lost.json")
        (tmp_path / "lost.json").write_text(json.dumps(lost))
    else:
        s3 = desk.stack._aws("s3")
        s3.create_bucket(Bucket="lost")
        s3.put_object(Bucket="lost", Key="a/b.json", Body=json.dumps(lost))
        path = "s3://lost/a/b.json"
    code, found = desk.json(f"repair --on-failure {path}")
    assert (code, found["repaired"]) == (0, 2)
    assert _stored(desk.stack) == _true(desk.stack)


def test_backfill_fills_the_newest_day_first_and_says_where_it_is(desk: Desk) -> None:
    for day in (19, 20, 21):
        created = f"2026-11-{day}T23:59:59Z"
        desk.stack.api.put("Item", rows.item(f"{day}", createdAt=created, updatedAt=created))
    asked = "--account acct-1 --start 2026-11-19 --end 2026-11-22"
    assert desk.run(f"backfill {asked} --json") == 0
    lines = [json.loads(line) for line in desk.out.splitlines()]
    assert [line.get("day") for line in lines] == ["2026-11-21", "2026-11-20", "2026-11-19", None]
    assert lines[0]["resumeWithEnd"] == "2026-11-21T00:00:00Z"
    assert lines[-1]["driftCount"] == lines[-1]["repaired"] == 6
    assert _stored(desk.stack) == _true(desk.stack)
    assert desk.run(f"backfill {asked}") == 0
    assert "go on with --end 2026-11-19T00:00:00Z" in desk.err


def test_a_backfill_that_is_stopped_is_resumed_with_its_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (20, 21):
        desk.stack.api.put("Item", rows.item(f"{day}", createdAt=f"2026-11-{day}T10:00:00Z"))
    slept: list[float] = []

    def interrupt(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    assert desk.run("backfill --account acct-1 --start 2026-11-20 --end 2026-11-22 --json") == 130
    assert desk.err == "stopped; go on with --end 2026-11-21T00:00:00Z\n"
    assert {key[2][8:10] for key in _stored(desk.stack)} == {"21"}
    resumed = "backfill --account acct-1 --start 2026-11-20 --end 2026-11-21T00:00:00Z --json"
    assert desk.run(resumed) == 0
    assert _stored(desk.stack) == _true(desk.stack)


# show ---------------------------------------------------------------------------------------------


def test_show_is_a_table_with_bars(desk: Desk) -> None:
    _count(desk.stack)
    hour = "--account acct-1 --record-type items --start 2026-11-22T10:00Z --end 2026-11-22T11:00Z"
    assert desk.run(f"show {hour} --minutes 15") == 0
    lines = [line for line in desk.out.splitlines() if line.strip().startswith("2026")]
    assert [line.split()[2] for line in lines] == ["3", "0", "0", "0"]
    assert "█" * 30 in lines[0]
    assert "█" not in lines[1]
    code, shown = desk.json(f"show {hour} --minutes 5")
    assert (code, len(shown)) == (0, 12)
    assert shown[1] | {"count": 3, "complete": False} == shown[1]
    assert shown[0]["complete"] is None


def test_show_of_no_or_too_many_buckets_is_2(desk: Desk) -> None:
    show = "show --account acct-1 --record-type items --start 2026-11-22"
    assert desk.run(f"{show} --end 2026-11-22") == 2
    assert desk.run(f"{show} --end 2026-11-24 --minutes 1") == 2
    assert "larger --minutes" in desk.err
    assert desk.run(show) == 2
    assert "--explain" in desk.err


def test_explain_says_what_is_known_of_one_bucket(desk: Desk) -> None:
    _count(desk.stack)
    bucket = "show --explain --account acct-1 --record-type items --start 2026-11-22T10:07:00Z"
    assert desk.run(f"{bucket} --minutes 5") == 0
    assert "It is right, and not complete because its time (and the grace) is not over." in desk.out
    _falsify(desk.stack, count=7)
    code, e = desk.json(f"{bucket[:-9]}10:05:00Z --minutes 1")
    assert (code, e["stored"]["count"], e["counted"]["count"]) == (1, 7, 3)
    assert e["pending"]["state"] == "pending"
    assert len(e["ledger"]) == 1
    assert e["updatedAt"].endswith("Z")
    assert e["behindSeconds"] == 0.0
    desk.stack.clock.advance(hours=2)
    assert desk.run(f"{bucket} --minutes 60") == 0
    assert "The sweeper has been due" in desk.out


# redrive ------------------------------------------------------------------------------------------


def _quarantine(desk: Desk, *records: Any) -> None:
    desk.stack.take_in(event(*records))


OTHER = stream_arn("Item").replace("Item-", "Calls-")


def _mend(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is mended: the other table holds Items."""
    desk.lambdas.source_tables = '{"Calls-abcdefghij-NONE": "Item"}'
    desk.stack.rewire(monkeypatch, SOURCE_TABLES=desk.lambdas.source_tables)


def test_a_dry_run_lists_and_sends_nothing(desk: Desk) -> None:
    _quarantine(desk, Stream(OTHER).insert(rows.item("a")))
    assert desk.run("redrive --dry-run --wait 0") == 0
    assert "Calls-abcdefghij-NONE" in desk.out
    assert "0 would be sent, 1 left" in desk.out
    assert desk.lambdas.events == []
    code, listed = desk.json("redrive --dry-run --wait 0")
    assert (code, listed[0]["redriven"], len(listed)) == (0, False, 1)
    assert listed[0]["reason"].startswith("no model is known for table")


def test_records_are_redriven_in_order_and_count_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, old = Stream(OTHER), rows.item("a", createdByType="upload")
    new = old | {"createdAt": "2026-11-22T10:01:00Z"}
    first, second = stream.insert(old), stream.modify(old, new)
    _quarantine(desk, second)
    _quarantine(desk, first)
    desk.stack.api.put("Item", new)
    assert desk.run("redrive --wait 0 --json") == 1, "nothing is mended yet"
    assert desk.lambdas.events == []
    _mend(desk, monkeypatch)
    code, sent = desk.json("redrive --wait 0")
    assert (code, [entry["left"] for entry in sent]) == (0, [None, None])
    assert [e["Records"][0]["eventID"] for e in desk.lambdas.events] == [
        first["eventID"],
        second["eventID"],
    ]
    assert _stored(desk.stack) == _true(desk.stack)
    assert desk.json("redrive --wait 0") == (0, [])


def test_redriven_twice_counts_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Stream(OTHER).insert(rows.item("a"))
    _quarantine(desk, record)
    _quarantine(desk, record)
    desk.stack.api.put("Item", rows.item("a"))
    _mend(desk, monkeypatch)
    assert len(desk.json("redrive --wait 0")[1]) == 2
    assert _stored(desk.stack) == _true(desk.stack)


def test_what_comes_back_or_fails_stays_in_the_queue(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    _quarantine(desk, Stream(OTHER).insert(rows.item("a")))
    desk.lambdas.source_tables = '{"Calls-abcdefghij-NONE": "Item"}'  # said, but not deployed
    code, sent = desk.json("redrive --wait 0")
    assert (code, sent[0]["left"]) == (1, "it came back into quarantine")
    _mend(desk, monkeypatch)
    desk.lambdas.error = '{"errorMessage": "Task timed out"}'
    code, sent = desk.json("redrive --wait 0")
    assert code == 1
    assert all("Task timed out" in entry["left"] for entry in sent)
    desk.lambdas.error = None
    assert desk.json("redrive --wait 0")[0] == 0


def test_an_old_image_that_was_taken_off_is_not_taken_off_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream("Item")
    old = rows.item("a", createdByType="upload")
    _quarantine(desk, stream.insert(old), stream.insert(rows.item("b", createdByType="upload")))
    far = old | {"createdAt": "2026-11-24T10:05:00Z"}
    _quarantine(desk, stream.modify(old, far))
    message = desk.stack.sqs.receive_message(QueueUrl=desk.stack.queue_url, VisibilityTimeout=0)[
        "Messages"
    ][0]
    body = json.loads(message["Body"])
    assert body["oldCounted"] is True
    # Mended by hand: the row was meant to be two days earlier.
    body["record"]["dynamodb"]["NewImage"]["createdAt"] = {"S": "2026-11-22T10:05:00Z"}
    desk.stack.sqs.purge_queue(QueueUrl=desk.stack.queue_url)
    desk.stack.sqs.send_message(QueueUrl=desk.stack.queue_url, MessageBody=json.dumps(body))
    assert desk.json("redrive --wait 0")[0] == 0
    sent = desk.lambdas.events[-1]["Records"][0]
    assert (sent["eventName"], sent["eventID"]) == ("INSERT", body["eventID"] + "/new")
    assert "OldImage" not in sent["dynamodb"]
    desk.stack.sqs.send_message(QueueUrl=desk.stack.queue_url, MessageBody=json.dumps(body))
    assert desk.json("redrive --wait 0")[0] == 0
    assert _stored(desk.stack)["acct-1", "items", "2026-11-22T10:05:00Z", 1] == 2


def test_a_record_is_done_when_its_row_is_mended_or_gone_and_nothing_counts_twice(
    desk: Desk,
) -> None:
    stream, counted = Stream("ScoreResult"), [rows.score_result(f"r{n}") for n in range(4)]
    _quarantine(desk, *map(stream.insert, counted))
    spoiled = [row | {"cost": "not json"} for row in counted]
    changes = zip(counted, spoiled, strict=True)
    _quarantine(desk, *(stream.modify(old, new) for old, new in changes))
    mended = spoiled[0] | {"cost": {"total_cost": 0.5}}
    _quarantine(desk, stream.modify(spoiled[0], mended), stream.remove(spoiled[1]))
    desk.stack.api.put("ScoreResult", mended)
    assert _stored(desk.stack) == _true(desk.stack)
    desk.stack.api.put("ScoreResult", spoiled[2], spoiled[3] | {"accountId": None})
    before = desk.stack.api.rows("AggregatedMetrics")

    assert desk.run("redrive --dry-run --wait 0") == 0
    assert "0 would be sent, 2 mended or gone and would be deleted, 2 left" in desk.out
    code, listed = desk.json("redrive --wait 0")
    assert (code, [entry["row"] for entry in listed]) == (1, ["mended", "gone", None, None])
    assert [entry["keys"]["id"] for entry in listed] == ["r0", "r1", "r2", "r3"]
    assert listed[2]["left"] == "cost is not JSON"
    assert "its row cannot be read: ReadScoreResult" in listed[3]["left"]
    assert len(desk.json("redrive --wait 0")[1]) == 2
    assert desk.lambdas.events == []
    assert desk.stack.api.rows("AggregatedMetrics") == before


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("verify --account acct-1", "start"),
        ("verify --account acct-1 --start 2026-11-22 --end 2026-11-22", "end must be later"),
        (f"verify {ASKED} --record-types feedback", "unknown record type 'feedback'"),
        ("repair --on-failure /nowhere/at/all.json", "cannot be read"),
        ("repair --on-failure s3://nowhere/at/all.json", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_command_is_2_and_one_line(
    desk: Desk, command: str, says: str
) -> None:
    assert desk.run(command) == 2
    assert says in desk.err
    assert desk.err.count("\n") == 1


def test_without_rich_tables_say_what_to_install_and_json_works(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys  # noqa: PLC0415

    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "aggregated_metrics_cli.display", raising=False)
    monkeypatch.delattr("aggregated_metrics_cli.display", raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert desk.run(f"verify {ASKED}") == 2
    assert "pip install rich" in desk.err
    assert desk.run(f"verify {ASKED} --json") == 0


def test_an_api_that_refuses_is_2(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    connect: Callable[..., Process] = desk.connect

    def refused(*given: Any) -> Process:
        process = connect(*given)
        process.session.auth = None
        return process

    monkeypatch.setattr(desk, "connect", refused)
    assert desk.run(f"verify {ASKED} --json") == 2
    assert desk.err.startswith("AuthorizationError: LoadHours: HTTP 40")
