"""`make stop`."""

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from testbench.emulated.stack import EmulatedStack, stop_kept

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


def test_the_stack_that_was_kept_is_stopped(tmp_path: Path) -> None:
    with started(EMULATOR) as process:
        assert process.stdout is not None
        assert stop_kept(noted(tmp_path, process, int(process.stdout.readline()))) is True
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


def test_another_process_that_has_its_id_by_now_is_left_alone(tmp_path: Path) -> None:
    """Nothing answers where the stack did."""
    with started("print('up', flush=True); input()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert stop_kept(noted(tmp_path, process, 1)) is False
        assert process.poll() is None
        process.kill()


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


def noted(folder: Path, process: subprocess.Popen[str], port: int) -> Path:
    """The folder with the note that KEEP=1 leaves."""
    note = {"group": process.pid, "endpoint": f"http://127.0.0.1:{port}"}
    (folder / "kept.json").write_text(json.dumps(note))
    return folder
