"""`make stop`."""

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from testbench.emulated.stack import EmulatedStack, StepError, stop_kept

EMULATOR = """
from http.server import BaseHTTPRequestHandler, HTTPServer

class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

server = HTTPServer(("127.0.0.1", 0), Healthy)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_a_stack_is_stopped_unless_a_run_holds_it_and_nothing_that_has_its_id_by_now(
    tmp_path: Path,
) -> None:
    with started(EMULATOR) as process, started("input()") as other:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert stop_kept(noted(tmp_path, other, 1)) is False
        with pytest.raises(StepError, match=f"process {other.pid}"):
            stop_kept(noted(tmp_path, process, port, other.pid))
        assert (process.poll(), other.poll()) == (None, None)
        other.kill()
        other.wait()
        assert stop_kept(noted(tmp_path, process, port, other.pid)) is True
    assert process.returncode != 0
    assert stop_kept(tmp_path) is False


def test_another_start_says_that_it_stops_the_stack_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in ("build", "_start_emulator"):
        monkeypatch.setattr(EmulatedStack, step, Mock(side_effect=NotImplementedError))
    said: list[str] = []
    with started(EMULATOR) as process:
        assert process.stdout is not None
        folder = noted(tmp_path, process, int(process.stdout.readline()))
        with pytest.raises(NotImplementedError):
            EmulatedStack(folder, on_step=said.append).__enter__()
    assert said == ["stopping the stack that KEEP=1 left up"]


def started(program: str) -> subprocess.Popen[str]:
    """A process of a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def noted(folder: Path, process: subprocess.Popen[str], port: int, holder: int = 0) -> Path:
    """The folder with the note that KEEP=1 leaves, or that a run has while it holds the stack."""
    note = {"group": process.pid, "endpoint": f"http://127.0.0.1:{port}", "holder": holder}
    (folder / "kept.json").write_text(json.dumps(note))
    return folder
