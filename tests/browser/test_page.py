"""The page in a real browser: it draws, asks nobody for anything, and fits the screen."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Literal

import pytest

from aggregated_metrics_cli.overview import collect
from aggregated_metrics_cli.page import render
from testbench.browser import Browser, Page, browser
from testbench.counted import FakeClient, busy_day

START = datetime(2026, 11, 22, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 17, 6, 40, tzinfo=UTC)
SCREENS = {"phone": (390, 844), "desktop": (1280, 900)}
_PATIENCE = 300.0


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    client = FakeClient()
    busy_day(client.api, "acme <i>& sons</i>", START, NOW)
    found = collect(client, "acme <i>& sons</i>", START, START + timedelta(days=1), UTC, NOW)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(found, "aggregated-metrics-staging"), "utf-8")
    return path


type Shown = Callable[..., Page]


@pytest.fixture(scope="module")
def shown(chromium: Browser, report: Path) -> Shown:
    """Gives the page on a screen when everything is drawn: one tab for each screen."""
    return cache(partial(_drawn, chromium, report))


def _drawn(
    chromium: Browser, path: Path, screen: str, scheme: Literal["light", "dark"] = "light"
) -> Page:
    page = chromium.page()
    width, height = SCREENS[screen]
    page.open(path, width=width, height=height, scheme=scheme, mobile=screen == "phone")
    began = time.monotonic()
    while not page.ask("document.documentElement.dataset.drawn"):
        assert time.monotonic() - began < _PATIENCE, page.faults
    return page


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_every_chart_without_a_fault_or_a_request(
    shown: Shown, screen: str, scheme: Literal["light", "dark"]
) -> None:
    page = shown(screen, scheme)
    bars = page.ask(
        "[...document.querySelectorAll('.chart')]"
        ".map(chart => [chart.id, chart.querySelectorAll('.bars .point').length])"
    )
    assert [name for name, _ in bars] == [
        *("counts-items", "counts-scoreResults", "counts-tasks", "counts-evaluations"),
        *("all-cost", "all-errorCount", "scopes-scoreResults"),
    ]
    assert all(number for _, number in bars)
    assert page.faults == []
    assert page.requests == []


@pytest.mark.parametrize("screen", SCREENS)
def test_it_fits_the_screen_and_only_tables_scroll_sideways(shown: Shown, screen: str) -> None:
    page = shown(screen)
    width = SCREENS[screen][0]
    assert page.ask("document.documentElement.scrollWidth") == width
    beyond = page.ask(
        "[...document.querySelectorAll('body *')].filter(each => !each.closest('.wide, svg'))"
        f".filter(each => each.getBoundingClientRect().right > {width} + 1)"
        ".map(each => each.outerHTML.slice(0, 80))"
    )
    assert beyond == []
    assert (
        page.ask("Math.min(...[...document.querySelectorAll('.chart')].map(c => c.offsetWidth))")
        > width / 3
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(
    shown: Shown, scheme: Literal["light", "dark"]
) -> None:
    page = shown("desktop", scheme)
    contrasts = page.ask(_CONTRASTS)
    assert len(contrasts) > 20
    assert min(ratio for _, ratio in contrasts) >= 4.5, sorted(contrasts, key=lambda c: c[1])[:5]


_CONTRASTS = """
(() => {
  const lightness = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = each => {
    for (let e = each; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
  };
  return [...document.querySelectorAll("h1, h2, h3, p, li, th, td, .state, .chart .xtick text")]
    .filter(each => each.textContent.trim())
    .map(each => {
      const style = getComputedStyle(each);
      const pair = [each.tagName === "text" ? style.fill : style.color, behind(each)];
      const [a, b] = pair.map(lightness).sort((x, y) => y - x);
      return [each.tagName + " " + each.className, (a + 0.05) / (b + 0.05)];
    });
})()
"""


def test_it_follows_when_the_screen_turns_dark(chromium: Browser, report: Path) -> None:
    page = _drawn(chromium, report, "desktop")
    ink = "getComputedStyle(document.querySelector('.xtick text')).fill"
    before = page.ask(ink)
    page.turn("dark")
    began = time.monotonic()
    while page.ask(ink) == before:
        assert time.monotonic() - began < _PATIENCE


def test_names_are_shown_as_they_are_and_never_as_markup(shown: Shown) -> None:
    page = shown("desktop")
    assert page.ask("document.querySelector('h1').textContent") == "acme <i>& sons</i>"
    names = page.ask(
        "[...document.querySelectorAll('tr.scorecard th')].map(each => each.textContent)"
    )
    assert "Sales <b>quality</b> & more" in names
    ticks = page.ask(
        "[...document.querySelectorAll('#scopes-scoreResults .ytick text')]"
        ".map(each => each.textContent)"
    )
    assert "Sales <b… & more" in ticks


def test_its_policy_forbids_whatever_would_leave_the_file(chromium: Browser, report: Path) -> None:
    page = _drawn(chromium, report, "desktop")
    page.ask("fetch('https://example.com/').catch(() => 0)")
    page.ask(
        "new Promise(done => { const i = new Image(); i.onerror = i.onload = done;"
        " i.src = 'https://example.com/x.png'; })"
    )
    assert page.requests == []
    assert any("Content Security Policy" in fault for fault in page.faults)
