"""What README.md and docs/reading.md say about reading counts, done as it stands there."""

import doctest
import re
import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import aggregated_metrics
import pytest
from aggregated_metrics.core.declarations import Declaration, Document
from aggregated_metrics.core.series import Series

from benchmarks import reading
from testbench.counted import FakeClient, every, keep_up, measured, store
from testbench.templates import ROOT

START = datetime(2026, 11, 22, tzinfo=UTC)
READING = (ROOT / "docs" / "reading.md").read_text()


@pytest.fixture
def client() -> FakeClient:
    client = FakeClient()
    counted = every("2026-11-22 10:00", "2026-11-22 11:00", measured("scoreResults", 2, 1_000_000))
    score = Series("acct-1", "scoreResultsByScore", "card", "score-1")
    for series in (Series("acct-1", "scoreResults"), score):
        store(client.api, series, counted, START + timedelta(days=1))
    keep_up(client.api, START + timedelta(days=2))
    return client


PUBLIC = {name: getattr(aggregated_metrics, name) for name in aggregated_metrics.__all__}
NAMES: dict[str, Any] = {**PUBLIC, "timedelta": timedelta, "ZoneInfo": ZoneInfo}
DECLARATIONS = {"Declaration": Declaration, "Document": Document, "tomllib": tomllib}


@pytest.mark.parametrize("name", [*(name for name in PUBLIC if name != "Summary"), "Declaration"])
def test_the_example_of_a_public_name_runs(
    name: str, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    known = NAMES | DECLARATIONS | {"client": client, "day": START}
    (found,) = doctest.DocTestFinder(recurse=False).find(known[name], name, globs=known)
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0


@pytest.mark.parametrize("document", ["README.md", "docs/reading.md"])
def test_its_lines_run(
    document: str,
    client: FakeClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        aggregated_metrics, "connect", lambda stack: stack and client, raising=False
    )
    named = NAMES | {"start": START, "end": START + timedelta(days=1)}
    (code,) = re.findall(
        r"```python\n(.*?connect\(.*?)```", (ROOT / document).read_text(), re.DOTALL
    )
    exec(compile(code, document, "exec"), {} if document == "README.md" else named)
    assert client.queries
    said = capsys.readouterr().out
    assert len(said.splitlines()) >= 25
    if document != "README.md":
        assert "120 60.0 dollars True as of 2026-11-24" in said
        assert "score-1 120" in said


def test_the_covers_example_is_right() -> None:
    first, last = (START.replace(hour=h, minute=m) for h, m in ((9, 58), (11, 21)))
    sizes = [str(size) for _, size in aggregated_metrics.cover(first, last)]
    assert " + ".join(sizes) in READING.replace("**", "")


def test_the_table_of_requests_is_the_benchmarks() -> None:
    client = reading.filled(reading.RANGES["a year"])
    numbers = [reading.summary(client, name).value for name in reading.RANGES]
    row = " | ".join(map(str, numbers))
    assert f"| a range that ends now | {row} |" in READING


def test_everything_that_is_exported_is_explained() -> None:
    for name in PUBLIC.keys() - {"AggregatedMetrics", "Summary"}:
        assert f"`{name}" in READING or f"{name}(" in READING
