from typing import Any

from aggregated_metrics.core.errors import GraphQLError


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
