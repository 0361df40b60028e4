"""What a row adds as an image shows it: DynamoDB JSON. Pure.

A stream's records and a Scan of a table show rows alike. This is the hot path: benchmarks/ measures
it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.listing import IN_RANGE, NOWHERE, Where, is_time, where
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.source_models import (
    Contribution,
    Model,
    Place,
    ahead,
    first_of,
    is_ahead,
    json_object,
    place_of,
)

type Part = tuple[Place, Measures, Where]
"""Where an image counts, how much it adds, and where an index lists it."""


def part_of(model: Model, image: Mapping[str, Any], created: float | None) -> Part:
    """What an image adds, as a change of that time (epoch seconds; None if it is not known).

    Raises:
        UncountableError: it counts nowhere.
    """
    try:
        values = _values(model, image)
    except (AttributeError, TypeError, ValueError) as error:
        raise UncountableError("the image is not DynamoDB JSON") from error
    place = place_of(model, values)
    measures = model.measure(*values[len(model.places) :])
    if created is not None and is_ahead(place[1], created):
        raise ahead(model, place[1])
    listed = _listed(model, image, place[1]) if _can_be_given(model, values) else NOWHERE
    return place, measures, listed


def part_of_image(model: Model, image: Mapping[str, Any]) -> tuple[Contribution, Where]:
    """What a row adds as it is in its table (DynamoDB JSON), and where it is listed.

    Raises:
        UncountableError: it counts nowhere.
    """
    (account_id, minute, split, scope), measures, listed = part_of(model, image, None)
    return Contribution(model.series(account_id, split, scope), minute, measures), listed


def count_alike(model: Model, old: Mapping[str, Any], new: Any, before: Part) -> bool:
    """Whether two images have the same in everything that counting reads, and are listed alike."""
    if not isinstance(new, Mapping) or any(
        old.get(name) != new.get(name) for name in model.attributes
    ):
        return False
    minute = before[0][1]
    return _listed(model, old, minute) == _listed(model, new, minute)


def _can_be_given(model: Model, values: Sequence[Any]) -> bool:
    """Whether the API can serialize the row; one that it cannot is as good as listed nowhere.

    Not so where a time is no AWSDateTime, or a field is empty that the schema requires.
    """
    for i in model.demanded:
        if values[i] is None:
            return False
    for at in values[1 : len(model.times) + 1]:  # noqa: SIM110 - all() takes twice as long
        if at is not None and not is_time(at):
            return False
    return True


def _listed(model: Model, image: Mapping[str, Any], minute: int) -> Where:
    if model.listing is None:
        return IN_RANGE  # no check of an hour looks anywhere
    key = model.listing[1]
    try:
        text = image[key]["S"]
    except (KeyError, TypeError):
        return NOWHERE
    return where(key, text, minute)


def _values(model: Model, image: Mapping[str, Any]) -> list[Any]:
    """The values that counting reads, plain; of a Map only the keys it reads."""
    try:
        values = [image[name]["S"] if name in image else None for name in model.texts]
    except KeyError:  # one is no text: a number, NULL, a writer's own. A call for each costs more.
        values = [
            None
            if name not in image
            else value["S"]
            if "S" in (value := image[name])
            else value["N"]
            if "N" in value
            else _plain(value)
            for name in model.texts
        ]
    for name, keys in model.maps.items():
        values.append(_some_of(keys, image[name], name) if name in image else None)
    return values


def _some_of(
    keys: Sequence[Sequence[str]], value: Mapping[str, Any], name: str
) -> list[Any] | None:
    if "M" not in value:
        return first_of(keys, json_object(_plain(value), name))
    content = value["M"]
    found = []
    for names in keys:
        number = None
        for key in names:
            if key in content:
                number = content[key]["N"] if "N" in content[key] else _plain(content[key])
                if number is not None:
                    break
        found.append(number)
    return found


def _plain(value: Mapping[str, Any]) -> Any:
    """A DynamoDB attribute value as a plain one; numbers stay text, for Decimal to read."""
    ((kind, content),) = value.items()
    if kind == "M":
        return {name: _plain(inner) for name, inner in content.items()}
    return None if kind == "NULL" else content
