"""A real headless browser, driven over a pipe: Chromium's own protocol, and nothing else to bring.

`CHROMIUM` names one that is not on PATH. It loads files of this machine; every request for
anything else, every script error and everything that the page's policy forbids is kept.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class BrowserError(Exception):
    """There is no browser, or it did not do as it was told; the message says what to do."""


def find() -> str:
    """Chromium's or Chrome's program.

    Raises:
        BrowserError: there is none.
    """
    named = os.environ.get("CHROMIUM")
    for name in (named,) if named else NAMES:
        if path := shutil.which(name):
            return path
    raise BrowserError(
        f"no browser: {named or ', '.join(NAMES)} is not there. `make browser` installs chromium "
        "where apt-get can (root, or sudo without a password); elsewhere install Chromium or "
        "Chrome, or name one with CHROMIUM=/path/to/it"
    )


def bring() -> str:
    """A browser that is there, or Debian's where apt-get may install it.

    Raises:
        BrowserError: there is none, and it cannot be installed from here.
    """
    with suppress(BrowserError):
        return find()
    become = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") and (not become or shutil.which("sudo")):
        install = ("apt-get", "install", "-y", "--no-install-recommends", "chromium")
        for command in (("apt-get", "update", "-qq"), install):
            done = subprocess.run([*become, *command], check=False, capture_output=True, text=True)
            if done.returncode:
                raise BrowserError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return find()


@dataclass
class Page:
    """One tab; its methods wait for what they ask.

    Attributes:
        faults: script errors, and what the page's policy has blocked.
        requests: the URLs that it asked for, its own file and what was blocked apart.
    """

    pipe: "_Pipe"
    session: str
    faults: list[str] = field(default_factory=list)
    _sent: dict[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> list[str]:
        return list(self._sent.values())

    def open(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        scheme: Literal["light", "dark"] = "light",
        mobile: bool = False,
    ) -> None:
        """Load a file on such a screen."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._do(f"{domain}.enable")
        scale = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self._do("Emulation.setDeviceMetricsOverride", **scale)
        self.turn(scheme)
        self._do("Page.navigate", url=path.resolve().as_uri())
        self.pipe.wait(self, "Page.loadEventFired")

    def turn(self, scheme: Literal["light", "dark"]) -> None:
        """What the screen prefers from now on."""
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self._do("Emulation.setEmulatedMedia", features=media)

    def ask(self, script: str) -> Any:
        """What a script comes to; a promise is waited for.

        Raises:
            BrowserError: it threw.
        """
        answer = self._do(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"])[:1000])
        return answer["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A picture of what is seen, or of the whole page."""
        shot = self._do("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _do(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.pipe.call(method, parameters, self)

    def take(self, method: str, told: dict[str, Any]) -> None:
        """Keep what an event says."""
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.faults.append(str(details.get("exception", details).get("description", details)))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.faults.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if not (told.get("type") == "Document" and url.startswith("file:")):
                self._sent[told["requestId"]] = url
        elif method == "Network.loadingFailed" and told.get("blockedReason") == "csp":
            self._sent.pop(told["requestId"], None)


class _Pipe:
    """The protocol: JSON documents that end with a zero byte, on the browser's fds 3 and 4."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._left = b""
        self._last = 0
        self._seen: list[tuple[str | None, str]] = []

    def call(
        self, method: str, parameters: dict[str, Any], page: Page | None = None
    ) -> dict[str, Any]:
        self._last += 1
        asked = {"id": self._last, "method": method, "params": parameters}
        if page is not None:
            asked["sessionId"] = page.session
        os.write(self._writes, json.dumps(asked).encode() + b"\0")
        while True:
            answer = self._next(page)
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def wait(self, page: Page, event: str) -> None:
        while (page.session, event) not in self._seen:
            self._next(page)

    def _next(self, page: Page | None) -> dict[str, Any]:
        while b"\0" not in self._left:
            got = os.read(self._reads, 1 << 20)
            if not got:
                raise BrowserError("the browser has gone")
            self._left += got
        first, _, self._left = self._left.partition(b"\0")
        answer: dict[str, Any] = json.loads(first)
        if "method" in answer and page is not None and answer.get("sessionId") == page.session:
            self._seen.append((page.session, answer["method"]))
            page.take(answer["method"], answer["params"])
        return answer


class Browser:
    """A running browser."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe

    def page(self) -> Page:
        """A new tab."""
        target = self._pipe.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._pipe.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        return Page(self._pipe, attached["sessionId"])


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own, until the block ends.

    Raises:
        BrowserError: there is none.
    """
    program = find()
    to_read, its_write = os.pipe()
    its_read, to_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The shell puts the pipes where the browser looks for them, whatever their numbers here.
        command = f'exec "$0" "$@" 3<&{its_read} 4>&{its_write}'
        process = subprocess.Popen(
            ["bash", "-c", command, program, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(its_read, its_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_read)
        os.close(its_write)
        try:
            yield Browser(_Pipe(to_read, to_write))
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(to_read)
            os.close(to_write)


def main() -> int:
    """Bring a browser; says which one it is."""
    try:
        print(f"browser: {bring()}")
    except BrowserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
