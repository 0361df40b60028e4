"""The views: what they hold, and what the page and the terminal make of it."""

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aggregated_metrics import Summary
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import edges
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import Series

from aggregated_metrics_cli import charts
from aggregated_metrics_cli.model_file import read_toml
from aggregated_metrics_cli.output import Output
from aggregated_metrics_cli.overview import Counted, Overview, added, collect, label, step_of
from aggregated_metrics_cli.overview_tables import overview
from aggregated_metrics_cli.page import render
from testbench import oracle
from testbench.counted import FakeClient, keep_up, measured, minute, store, streams_record
from tests.busy_day import busy_day

START = datetime(2026, 11, 22, tzinfo=UTC)
BY_SCORE = "scoreResults by scorecard and score"
NOW = datetime(2026, 11, 22, 17, 6, 40, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def client() -> FakeClient:
    made = FakeClient()
    busy_day(made.api, "acme", START, NOW)
    keep_up(made.api, NOW)
    return made


@pytest.fixture(scope="module")
def found(client: FakeClient) -> Overview:
    before = len(client.queries)
    made = collect(client, "acme", START, START + DAY, UTC, NOW)
    assert len(client.queries) - before <= 30  # of them one for each score
    return made


def stored(client: FakeClient, record_type: str) -> dict[str, int]:
    """The sums of all stored minutes, by name."""
    minutes = [
        oracle.held(row)
        for row in client.api.rows("AggregatedMetrics")
        if row["recordType"] == record_type and row["numberOfMinutes"] == 1
    ]
    sums = map(sum, zip(*minutes, strict=True))
    return dict(zip(oracle.measures_of(record_type), sums, strict=True))


def drawn(found: Overview) -> str:
    out = io.StringIO()
    Output(as_json=False, out=out, err=out).draw(*overview(found))
    return out.getvalue()


def test_its_sums_are_those_of_the_stored_minutes_and_the_terminals(
    client: FakeClient, found: Overview
) -> None:
    for counted in found.totals:
        assert counted.sums == stored(client, counted.name), counted.name
    text = drawn(found)
    for each in (*found.totals, *found.breakdowns[BY_SCORE]):
        assert re.search(rf"{each.name[:8]}.* {each.sums['count']:,} ", text)


def test_a_running_day_ends_with_its_open_points_and_has_no_future(
    client: FakeClient, found: Overview
) -> None:
    assert not found.is_complete
    assert found.complete_until == datetime(2026, 11, 22, 17, 4, tzinfo=UTC)
    assert "Complete up to 22 Nov 2026, 17:04 UTC" in drawn(found)
    assert [(since.hour, len(names)) for since, names in found.open.items()] == [(17, 8)]
    assert found.totals[0].points[-1].start == datetime(2026, 11, 22, 17, tzinfo=UTC)
    ahead = collect(client, "acme", START + 2 * DAY, START + 3 * DAY, UTC, NOW)
    assert not ahead.totals
    assert "Nothing of items, scoreResults" in render(ahead)


def test_the_layers_of_a_chart_add_up_to_the_whole(found: Overview) -> None:
    for whole, *splits in found.sections:
        layers = charts.layers_of(whole, splits)
        assert [sum(p) for p in zip(*(c for _, c in layers), strict=True)] == whole.counts
    whole, *splits = found.sections[0]
    names = [name for name, _ in charts.layers_of(whole, splits)]
    assert names == ["predictionItems", "evaluationItems", "other"]


def test_a_breakdown_is_titled_by_its_models_own_attributes() -> None:
    ticket = '[[models]]\nname = "Ticket"\nrecordType = "tickets"\n'
    document = read_toml(f'{ticket}breakdowns = {{ ticketsByTeam = ["teamId"] }}')
    client, team = FakeClient(), Series("acme", "ticketsByTeam", "team-1")
    store(client.api, team, {minute("2026-11-22 10:00"): Measures(1)}, NOW)
    models = BUILT_IN.declaring(document)
    found = collect(client, "acme", START, NOW, now=NOW, models=models)
    assert [*found.breakdowns] == ["tickets by team"]


def test_a_breakdown_adds_up_to_its_record_type(client: FakeClient, found: Overview) -> None:
    ((title, group),) = found.breakdowns.items()
    cards = [each for each in group if not each.depth]
    assert title == BY_SCORE
    whole = stored(client, "scoreResults")
    for depth in (0, 1):
        assert added(each.sums for each in group if each.depth == depth) == whole
    for card in cards:
        scores = [each for each in group if each.depth and card.name in each.name]
        assert added(score.sums for score in scores) == card.sums
        assert group[group.index(card) + 1] in scores
        for each in (scores, cards):
            counts = [counted.sums["count"] for counted in each]
            assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    ("written", "complete"), [(NOW, True), (START - timedelta(hours=2), False)]
)
def test_a_day_is_complete_when_it_is_over_and_every_bucket_is_closed(
    written: datetime, complete: bool
) -> None:
    client = FakeClient()
    counted = {minute("2026-11-21 22:59"): measured("tasks", 1)}
    store(client.api, Series("acme", "tasks"), counted, written)
    keep_up(client.api, NOW)
    made = collect(client, "acme", START - DAY, START, UTC, NOW)
    assert made.is_complete is complete
    assert ("Not complete yet" not in render(made)) is complete


@pytest.mark.parametrize(
    ("applied", "says"),
    [
        (NOW - timedelta(minutes=2), "as of 17:04 UTC"),
        (NOW - DAY, "as of 21 Nov 2026, 17:06 UTC"),
        (None, "not known as of when"),
    ],
)
def test_both_views_say_as_of_when_the_slowest_stream_is(
    client: FakeClient, applied: datetime | None, says: str
) -> None:
    names = (*BUILT_IN.record_types, *BUILT_IN.breakdowns)
    known = dict.fromkeys(names, buckets.iso(buckets.to_minute(NOW)))
    slow = applied and buckets.iso(buckets.to_minute(applied))
    streams_record(client.api, {"asOf": known | {"tasks": slow}, "completeAfter": 120})
    found = collect(client, "acme", START, START + DAY, UTC, NOW)
    keep_up(client.api, NOW)
    assert says in render(found)
    assert says in drawn(found)


def test_a_chart_has_some_dozens_of_points_at_most() -> None:
    last = buckets.to_minute(START)
    for span, points in ((DAY / 12, 24), (DAY, 24), (7 * DAY, 7), (365 * DAY, 13)):
        step = step_of(START - span, START)
        assert len(edges(buckets.to_minute(START - span), last, step, UTC)) - 1 == points


def test_a_measure_that_nobody_named_is_called_by_its_words() -> None:
    assert (label("errorCount"), label("unchangedCount")) == ("errors", "unchanged")


def test_the_page_of_the_most_points_is_under_a_megabyte(found: Overview) -> None:
    """Of 120 days of every record type, and of the breakdowns of the busy day."""

    def busy(name: str) -> Counted:
        sums, extra = measured(name, 7, 5, 4, 3, 2, 1), BUILT_IN.extra_measures(name)
        days = (START + DAY * n for n in range(120))
        points = [Summary(day, day + DAY, sums, complete=False, extra=extra) for day in days]
        return Counted(Series("acme", name), points)

    sections = [[busy(name) for name in model.plain_types] for model in BUILT_IN]
    page = render(replace(found, step=DAY, sections=sections))
    assert page.count("<svg") == len(sections) + 3
    assert len(page) < 1_000_000


def test_only_what_is_asked_for_is_read(client: FakeClient) -> None:
    names = ["evaluationItems", "tasks", "procedures", "scoreResultsByScore"]
    step = timedelta(minutes=5)
    found = collect(client, "acme", START, START + DAY, UTC, NOW, record_types=names, step=step)
    assert [each.name for each in found.totals] == ["evaluationItems", "tasks"]
    assert found.quiet == ["procedures"]
    assert {each.series.record_type for each in found.breakdowns[BY_SCORE]} == {names[-1]}
    assert {point.end - point.start for point in found.totals[0].points} == {step}
