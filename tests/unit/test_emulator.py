"""What is changed of the emulator, which itself is replaced here."""

import asyncio
import importlib
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest


def test_what_waits_for_long_is_throttled_and_fewer_go_at_once_while_they_are_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    carried_out, now, over = list[str](), [0.0], asyncio.Event()

    async def handle(_: str, path: str, body: str) -> None:
        carried_out.append(body)
        await over.wait()

    async def burst(turns: Any, seconds: float) -> str:
        carried_out.clear()
        over.clear()
        begun = [asyncio.ensure_future(turns.handle("POST", "/graphql", str(n))) for n in range(6)]
        assert {each.result() for each in (await asyncio.wait(begun, timeout=0.1))[0]} == {"429"}
        now[0] += seconds
        over.set()
        await asyncio.wait(begun)
        return "".join(carried_out)

    appsync = SimpleNamespace(handle_request=handle, _graphql_error=lambda status, *_: str(status))
    monkeypatch.setitem(sys.modules, "ministack.services", SimpleNamespace(appsync=appsync))
    for name in ("", ".app", ".core", ".services.cloudformation"):
        monkeypatch.setitem(sys.modules, f"ministack{name}", Mock())
    emulator = importlib.import_module("testbench.emulated.ministack_main")
    monkeypatch.delitem(sys.modules, emulator.__name__)
    monkeypatch.setattr(emulator, "_WAIT_SECONDS", 0.01)
    turns = emulator._Turns(lambda: now[0])
    with asyncio.Runner() as runner:
        assert [runner.run(burst(turns, n)) for n in (3, 0, 0, 0)] == ["0123", "0", "01", "0123"]
