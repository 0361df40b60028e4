"""The functions, invoked for real with the test events, each with its own role."""

import json

import pytest

from testbench.emulated.bench import Bench
from testbench.emulated.events import EVENTS, Event, is_good
from testbench.emulated.functions import invoke


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_function_takes_its_test_events(bench: Bench, event: Event) -> None:
    answer = invoke(bench.stack, event.function, json.loads(event.path.read_text()))
    assert is_good(event.function, answer), answer
