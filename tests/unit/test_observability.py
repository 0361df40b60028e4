"""One line and one set of metrics an invocation."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aggregated_metrics.adapters.observability import HEARTBEATS, METRICS, Report, invocation

from testbench.engine import Context

type Line = dict[str, Any]

CONTEXT = Context(lambda: 60.0)

type Lines = Callable[[], list[Line]]


def emitted(capsys: pytest.CaptureFixture[str], report: Report) -> dict[str, Any]:
    """The metrics of an invocation with this report: their values, and `dimensions`."""
    nothing: Any = None
    with invocation("f", nothing) as given:
        given.update(report)
    out = capsys.readouterr().out
    if not out:
        return {}
    blob = json.loads(out)
    (described,) = blob["_aws"]["CloudWatchMetrics"]
    values = {metric["Name"]: blob[metric["Name"]] for metric in described["Metrics"]}
    return values | {"dimensions": described["Dimensions"][0], "check": blob.get("check")}


def test_an_invocation_logs_one_line_with_what_was_reported(lines: Lines) -> None:
    with invocation("stream_aggregator", CONTEXT) as report:
        report |= {"records": 3, "shard": "0944fa24146b"}
    (line,) = lines()
    assert line["message"] == "stream_aggregator"
    assert (line["level"], line["records"], line["shard"]) == ("INFO", 3, "0944fa24146b")
    assert line["requestId"] == CONTEXT.aws_request_id
    assert line["milliseconds"] >= 0


def test_only_known_numbers_are_metrics(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    report: Report = dict.fromkeys(METRICS, 1)
    more: Report = {"shard": "x", "due": 4, "quarantined": None, "drifted": [{"a": 1}]}
    found = emitted(capsys, report | more)
    names = {name for name, _ in METRICS.values()} - {"Quarantined"}
    assert found == {name: [1.0] for name in names} | {"dimensions": [], "check": None}
    assert lines()[0]["drifted"] == [{"a": 1}]


def test_a_zero_is_emitted_only_for_heartbeats(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    found = emitted(capsys, dict.fromkeys(METRICS, 0))
    assert found.keys() - {"dimensions", "check"} == {METRICS[name][0] for name in HEARTBEATS}
    assert emitted(capsys, dict.fromkeys(METRICS.keys() - HEARTBEATS, 0)) == {}
    assert 2 <= len(HEARTBEATS) <= 4


def test_a_check_is_a_dimension_of_its_own_metrics_alone(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    found = emitted(capsys, {"drift": 2, "check": "deep"})
    assert (found["Drift"], found["check"]) == ([2.0], "deep")
    assert found["dimensions"] == ["check"]
    assert emitted(capsys, {"records": 2})["dimensions"] == []


def test_an_error_is_logged_with_what_was_done_by_then_and_goes_on(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        with invocation("bucket_sweeper", CONTEXT) as report:
            report["records"] = 3
            raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        fail()
    (line,) = lines()
    assert [line[name] for name in ("level", "function", "error", "records")] == [
        "ERROR",
        "bucket_sweeper",
        "LookupError",
        3,
    ]
    assert json.loads(capsys.readouterr().out)["Records"] == [3.0]


@pytest.mark.parametrize(("overflowed", "level"), [(0, "INFO"), (2, "ERROR")])
def test_a_sum_beyond_32_bits_is_logged_as_an_error(
    lines: Lines, overflowed: int, level: str
) -> None:
    with invocation("stream_aggregator", CONTEXT) as report:
        report["overflowed"] = overflowed
    (line,) = lines()
    assert (line["level"], line["overflowed"]) == (level, overflowed)
