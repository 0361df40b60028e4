"""Values on their way between GraphQL and DynamoDB."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

_SERIALIZER = TypeSerializer()
_DESERIALIZER = TypeDeserializer()


def stored(value: Any) -> dict[str, Any]:
    """A JSON value as a DynamoDB attribute; None becomes NULL, as in Amplify's PutItem."""
    return dict(_SERIALIZER.serialize(_exact(value)))


def answered(item: Mapping[str, Any]) -> dict[str, Any]:
    """A DynamoDB item as the JSON object that the field answers."""
    return {name: _plain(_DESERIALIZER.deserialize(value)) for name, value in item.items()}


def parse_json(text: Any) -> Any:
    """What an AWSJSON text says; anything but a text is taken as parsed already."""
    return json.loads(text) if isinstance(text, str) else text


def json_text(value: Any) -> str | None:
    """The AWSJSON text of a stored value; None stays None."""
    if value is None:
        return None
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _exact(value: Any) -> Any:
    # boto3 refuses floats, whose digits DynamoDB could not hold: the shortest text is what was sent
    match value:
        case bool() | str() | None:
            return value
        case float() | int():
            return Decimal(str(int(value) if value == int(value) else value))
        case Mapping():
            return {name: _exact(each) for name, each in value.items()}
        case list():
            return [_exact(each) for each in value]
        case _:
            return value


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case _:
            return value
