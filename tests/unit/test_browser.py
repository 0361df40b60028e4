"""Where the browser of the page's tests comes from: never from nowhere, and never silently none."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from testbench import browser


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    return tmp_path


def program(path: Path, name: str) -> str:
    made = path / name
    made.touch(mode=0o755)
    return str(made)


def test_a_named_browser_goes_before_one_on_the_path(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chromium, other = program(path, "chromium"), program(path, "other")
    assert browser.find() == chromium
    monkeypatch.setenv("CHROMIUM", other)
    assert browser.find() == other


def test_without_a_browser_it_is_said_how_to_get_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(browser.BrowserError, match="`make browser` installs chromium"):
        browser.find()
    monkeypatch.setenv("CHROMIUM", "/nowhere")
    with pytest.raises(browser.BrowserError, match="/nowhere is not there"):
        browser.find()


@pytest.mark.parametrize(("user", "prefix"), [(0, []), (1000, ["sudo", "-n"])])
def test_it_is_installed_where_apt_get_may(
    path: Path, monkeypatch: pytest.MonkeyPatch, user: int, prefix: list[str]
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        if "install" in command:
            program(path, "chromium")
        return subprocess.CompletedProcess(command, 0, "", "")

    for name in ("apt-get", "sudo"):
        program(path, name)
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("subprocess.run", run)
    assert browser.bring().endswith("chromium")
    assert [command[: len(prefix) + 2] for command in ran] == [
        [*prefix, "apt-get", "update"],
        [*prefix, "apt-get", "install"],
    ]


def test_what_apt_get_says_is_handed_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path, "apt-get")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    failed = subprocess.CompletedProcess([], 100, "", "no such package")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: failed)
    with pytest.raises(browser.BrowserError, match="no such package"):
        browser.bring()


def test_without_apt_get_nothing_is_tried(path: Path) -> None:
    with pytest.raises(browser.BrowserError, match="no browser"):
        browser.bring()
