"""The JavaScript reader in a real browser: the documented lines chart what the Fake API has."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from aggregated_metrics import summarize
from playwright.sync_api import Browser, Page

from testbench.counted import FakeClient, keep_up
from testbench.fakes.endpoint import Answer
from testbench.fakes.serving import Server, serving
from testbench.fakes.signatures import Request
from tests.busy_day import SCORECARDS, busy_day

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"```js\n(.*?)```", (ROOT / "docs/reading-javascript.md").read_text(), re.DOTALL
)
NOW = datetime.now(UTC)
ACCOUNT = "acct <1>"


def _answer(client: FakeClient, asked: Request) -> Answer:
    """reader-js/ as files, and the API, for a page of any origin."""
    headers = {
        "access-control-allow-origin": "*",
        "access-control-allow-headers": "*, authorization",
    }
    if asked.method == "GET":
        script = (ROOT / asked.path.lstrip("/")).read_bytes()
        return Answer(200, script, headers | {"content-type": "text/javascript"})
    data = client.execute(**json.loads(asked.body)) if asked.body else None
    return Answer(200, json.dumps({"data": data}).encode(), headers)


@pytest.fixture(scope="module")
def client() -> FakeClient:
    client = FakeClient()
    busy_day(client.api, ACCOUNT, NOW - timedelta(days=1), NOW)
    keep_up(client.api, NOW, "items", "scoreResultsByScorecard")
    return client


@pytest.fixture(scope="module")
def page(
    chromium: Browser, client: FakeClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """A page that has run the documentation's first lines, with its own `query` by fetch."""
    lines, *clients = BLOCKS
    (fetching,) = [block for block in clients if " fetch(" in block]
    with serving(Server(partial(_answer, client))) as server:
        url = server.url
        script = f"""
            const [endpoint, token] = ["{url}/graphql", () => "a token"];
            const accountId = {json.dumps(ACCOUNT)};
            {fetching}
            const chart = (bars) => {{ document.body.innerHTML = bars.map((bar) =>
                `<i style="display: block; width: ${{bar.y}}px" class="${{bar.faded}}"></i>`); }};
            {lines.replace("./reader-js/", f"{url}/reader-js/")}
            const reader = await import("{url}/reader-js/index.js");
            Object.assign(window, {{ points, query, accountId, reader }});
        """
        path = tmp_path_factory.mktemp("reader") / "page.html"
        fails = 'onerror="failed = true"'
        path.write_text(
            "<!doctype html><body><script>onunhandledrejection = () => (failed = true)</script>"
            f'<script type="module" {fails}>{script}</script>',
            "utf-8",
        )
        opened = chromium.new_page(viewport={"width": 800, "height": 600})
        opened.goto(path.as_uri())
        opened.wait_for_function("window.reader || window.failed")
        yield opened


def test_the_first_lines_chart_the_last_24_hours(page: Page, client: FakeClient) -> None:
    assert len(BLOCKS[0].splitlines()) == 4
    assert not page.evaluate("window.failed")
    widths = page.evaluate("[...document.querySelectorAll('i')].map((bar) => bar.offsetWidth)")
    begin = datetime.fromtimestamp(page.evaluate("+points[0].start") / 1000, UTC)
    end = datetime.fromtimestamp(page.evaluate("+points.at(-1).end") / 1000, UTC)
    assert end - begin == timedelta(days=1)
    counted = summarize(client, ACCOUNT, begin, end, "items").measures.count
    assert sum(widths) == counted > 0
    assert page.evaluate("document.querySelectorAll('.false').length") > 20


def test_every_document_is_valid_for_the_schema(page: Page) -> None:
    found = page.evaluate(
        """(async () => {
            const recordType = "scoreResultsByScorecard";
            const found = await reader.breakdowns(query, { accountId, recordType });
            const [start, end] = [points[0].start, points.at(-1).end];
            const sums = await Promise.all(found.map((each) =>
                reader.summarize(query, { accountId, start, end, ...each })));
            const until = await reader.completeUntil(query, { accountId });
            return [found.map((each) => each.scorecardId), sums.map((sum) => sum.count), +until];
        })()"""
    )
    names, counts, until = found
    assert names == sorted(SCORECARDS)
    assert all(counts)
    assert abs(until / 1000 - NOW.timestamp()) < 600
