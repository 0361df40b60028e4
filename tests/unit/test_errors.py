import inspect
from typing import Any

import pytest
from aggregated_metrics.core import errors
from aggregated_metrics.core.errors import AggregatedMetricsError, GraphQLError

CLASSES = {
    name: found
    for name, found in vars(errors).items()
    if inspect.isclass(found) and found.__module__ == errors.__name__
}


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_is_one_of_this_packages(name: str) -> None:
    assert issubclass(CLASSES[name], AggregatedMetricsError)
    assert name.endswith("Error")


def test_what_failed_is_the_first_element_of_each_path() -> None:
    given: list[dict[str, Any]] = [
        {"path": ["b1", "count"]},
        {"path": ["b1"]},
        {"path": []},
        {"path": None},
        {},
    ]
    error = GraphQLError("No.", operation="Save", errors=given, data=None)
    assert error.failed == {"b1"}
    assert (error.data, error.errors) == ({}, given)
    assert str(error) == "Save: No."
