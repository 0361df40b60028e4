"""The page in a real browser: it shows every chart, asks for nothing, and fits the screen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from aggregated_metrics_cli.overview import collect
from aggregated_metrics_cli.page import render
from testbench.counted import FakeClient, keep_up
from tests.busy_day import busy_day

type Scheme = Literal["light", "dark"]

START = datetime(2026, 11, 22, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 17, 6, 40, tzinfo=UTC)
SCREENS = {"phone": (390, 844), "desktop": (1280, 900)}
HOSTILE = "Sales <b>quality</b> & more"
STACK = "</footer><script>alert(1)</script>"


@dataclass
class Shown:
    """The page on a screen, and what it asked for."""

    page: Page
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    client = FakeClient()
    busy_day(client.api, "acme <i>& sons</i>", START, NOW)
    keep_up(client.api, NOW)
    found = collect(client, "acme <i>& sons</i>", START, START + timedelta(days=1), UTC, NOW)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(found, STACK), "utf-8")
    return path


type Show = Callable[[str, Scheme], Shown]


@pytest.fixture(scope="module")
def show(chromium: Browser, report: Path) -> Show:
    """Gives the page on a screen: one tab for each screen and scheme."""

    @cache
    def shown(screen: str, scheme: Scheme) -> Shown:
        width, height = SCREENS[screen]
        page = chromium.new_page(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            is_mobile=screen == "phone",
        )
        made = Shown(page)
        page.on("request", lambda request: made.requests.append(request.url))
        page.on("pageerror", lambda error: made.faults.append(str(error)))
        page.on("console", lambda message: made.faults.append(message.text))
        page.goto(report.as_uri())
        return made

    return shown


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_shows_every_chart_without_a_fault_or_a_request(
    show: Show, report: Path, screen: str, scheme: Scheme
) -> None:
    shown = show(screen, scheme)
    bars = shown.page.evaluate(
        "[...document.querySelectorAll('.chart')]"
        ".map(chart => [chart.id, chart.querySelectorAll('.mark-rect path').length])"
    )
    assert [name for name, _ in bars] == [
        *("counts-items", "counts-scoreResults", "counts-tasks", "counts-evaluations"),
        *("all-cost", "all-errorCount", "scopes-scoreResults"),
    ]
    assert all(number for _, number in bars)
    assert shown.faults == []
    assert shown.requests == [report.as_uri()]


@pytest.mark.parametrize("screen", SCREENS)
def test_it_fits_the_screen_and_only_tables_scroll_sideways(show: Show, screen: str) -> None:
    page = show(screen, "light").page
    width = SCREENS[screen][0]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    beyond = page.evaluate(
        "[...document.querySelectorAll('body *')].filter(each => !each.closest('.wide'))"
        f".filter(each => each.getBoundingClientRect().right > {width} + 1)"
        ".map(each => each.outerHTML.slice(0, 80))"
    )
    assert beyond == []


@pytest.mark.parametrize("screen", SCREENS)
def test_the_text_of_charts_is_large_enough_to_read(show: Show, screen: str) -> None:
    heights = show(screen, "light").page.evaluate(
        "[...document.querySelectorAll('.chart text')].filter(each => each.textContent)"
        ".map(each => each.getBoundingClientRect().height)"
    )
    assert len(heights) > 40
    assert min(heights) >= 11


@pytest.mark.parametrize("screen", SCREENS)
def test_no_text_of_a_chart_is_cut_off_or_lies_on_another(show: Show, screen: str) -> None:
    wrong = show(screen, "light").page.evaluate(
        """[...document.querySelectorAll('.chart')].flatMap(chart => {
          const frame = chart.querySelector('svg').getBoundingClientRect();
          const texts = [...chart.querySelectorAll('text')].filter(each => each.textContent);
          return texts.flatMap((text, i) => {
            const a = text.getBoundingClientRect();
            const beyond = a.left < frame.left || a.right > frame.right + 1;
            const axis = text.closest('.role-axis-label');
            const under = texts.slice(i + 1).filter(e => axis && axis.contains(e)).some(other => {
              const b = other.getBoundingClientRect();
              return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
            });
            return beyond || under ? [text.textContent] : [];
          });
        })"""
    )
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(show: Show, scheme: Scheme) -> None:
    contrasts = show("desktop", scheme).page.evaluate(_CONTRASTS)
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
  return [...document.querySelectorAll("h1, h2, h3, p, li, th, td, .state, .chart text")]
    .filter(each => each.textContent.trim())
    .map(each => {
      const style = getComputedStyle(each);
      const pair = [each.tagName === "text" ? style.fill : style.color, behind(each)];
      const [a, b] = pair.map(lightness).sort((x, y) => y - x);
      return [each.tagName + " " + each.className, (a + 0.05) / (b + 0.05)];
    });
})()
"""


def test_names_are_shown_unchanged_and_never_as_markup(show: Show) -> None:
    page = show("desktop", "light").page
    assert page.locator("h1").text_content() == "acme <i>& sons</i>"
    assert STACK in str(page.locator("footer").text_content())
    assert HOSTILE in page.locator("tr:not(.part) th").all_text_contents()
    ticks = page.locator("#scopes-scoreResults .role-axis-label text").all_text_contents()
    assert any(HOSTILE.startswith(tick.rstrip("…")) and "<b" in tick for tick in ticks)


def test_its_policy_forbids_whatever_would_leave_the_file(show: Show) -> None:
    refused = show("phone", "dark").page.evaluate(
        """new Promise(done => {
          const refused = [];
          addEventListener("securitypolicyviolation", violation => {
            refused.push(violation.effectiveDirective + " " + violation.disposition);
            if (refused.length === 2) done(refused);
          });
          fetch("https://example.com/").catch(() => 0);
          new Image().src = "https://example.com/x.png";
          setTimeout(() => done(refused), 20000);
        })"""
    )
    assert sorted(refused) == ["connect-src enforce", "img-src enforce"]
