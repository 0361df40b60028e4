"""The functions, invoked for real with the test events, each with its own role."""

import json

import pytest

from testbench.emulated.events import EVENTS, Event, is_good
from testbench.emulated.functions import invoke
from testbench.emulated.world import World


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_function_takes_its_test_events(world: World, event: Event) -> None:
    answer = invoke(world.stack, event.function, json.loads(event.path.read_text()))
    assert is_good(event.function, answer), answer
