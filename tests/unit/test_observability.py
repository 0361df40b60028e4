import json
from collections.abc import Callable
from typing import Any

import pytest
from aggregated_metrics.adapters.observability import METRICS, invocation

from testbench.in_process import Clock, Context, Line

type Lines = Callable[[], list[Line]]


def test_an_invocation_logs_one_line_with_what_was_reported(
    lines: Lines, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with invocation("stream_aggregator", Context(clock)) as report:
        report |= {"records": 3, "shard": "0944fa24146b"}
    (line,) = lines()
    assert line["message"] == "stream_aggregator"
    assert (line["level"], line["records"], line["shard"]) == ("INFO", 3, "0944fa24146b")
    assert line["requestId"] == Context(clock).aws_request_id
    assert line["milliseconds"] >= 0
    emitted = json.loads(capsys.readouterr().out)
    assert emitted["Records"] == [3.0]


def test_only_known_numbers_are_metrics(
    lines: Lines, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with invocation("f", Context(clock)) as report:
        report.update(dict.fromkeys(METRICS, 1))
        report.update({"shard": "x", "due": 4, "quarantined": None})
    emitted = json.loads(capsys.readouterr().out)
    (described,) = emitted["_aws"]["CloudWatchMetrics"]
    names = {metric["Name"] for metric in described["Metrics"]}
    assert names == {name for name, _ in METRICS.values()} - {"Quarantined"}


def test_a_list_is_logged_and_is_no_metric(
    lines: Lines, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    drifted: list[dict[str, Any]] = [{"recordType": "items", "storedCount": 7}]
    with invocation("reconciler", Context(clock)) as report:
        report |= {"drift": 1, "drifted": drifted}
    assert lines()[0]["drifted"] == drifted
    emitted = json.loads(capsys.readouterr().out)
    (described,) = emitted["_aws"]["CloudWatchMetrics"]
    assert [metric["Name"] for metric in described["Metrics"]] == ["Drift"]
    assert "drifted" not in emitted


def test_an_error_is_logged_with_what_was_done_by_then_and_goes_on(
    lines: Lines, clock: Clock
) -> None:
    def fail() -> None:
        with invocation("bucket_sweeper", Context(clock)) as report:
            report["records"] = 3
            raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        fail()
    (line,) = lines()
    assert (line["level"], line["function"], line["error"]) == (
        "ERROR",
        "bucket_sweeper",
        "LookupError",
    )
    assert line["records"] == 3


@pytest.mark.parametrize(("overflowed", "level"), [(0, "INFO"), (2, "ERROR")])
def test_a_sum_beyond_32_bits_is_logged_as_an_error(
    lines: Lines, clock: Clock, overflowed: int, level: str
) -> None:
    with invocation("stream_aggregator", Context(clock)) as report:
        report["overflowed"] = overflowed
    (line,) = lines()
    assert (line["level"], line["overflowed"]) == (level, overflowed)


def test_without_a_context_it_works_too(lines: Lines) -> None:
    nothing: Any = None
    with invocation("f", nothing) as report:
        report["records"] = 0
    assert lines()[0].get("requestId") is None
