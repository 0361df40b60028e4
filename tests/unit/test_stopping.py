"""`make stop`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testbench.emulated.stack import stop_kept


def test_without_a_stack_nothing_is_stopped(tmp_path: Path) -> None:
    assert stop_kept(tmp_path) is False


@pytest.mark.skipif(sys.platform != "linux", reason="a process is known by /proc")
@pytest.mark.parametrize("name", ["ministack", "another"])
def test_only_the_stack_that_was_kept_is_stopped(tmp_path: Path, name: str) -> None:
    note = tmp_path / "kept.json"
    program = "print('started', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        note.write_text(json.dumps({"group": process.pid}))
        assert stop_kept(tmp_path) is (name == "ministack")
        assert not note.exists()
        if name == "another":
            assert process.poll() is None
            process.kill()
    assert process.returncode != 0
