"""Values on their way between GraphQL and DynamoDB, whose numbers are Decimals in boto3."""

from decimal import Decimal
from typing import Any


def exact(value: Any) -> Any:
    """A JSON value as boto3 stores it: it refuses floats, whose digits DynamoDB could not hold."""
    match value:
        case bool():
            return value
        case float() | int():  # the shortest text is what was sent
            return Decimal(str(int(value) if value == int(value) else value))
        case dict():
            return {name: exact(each) for name, each in value.items()}
        case list():
            return [exact(each) for each in value]
        case _:
            return value


def plain(value: Any) -> Any:
    """What boto3 reads as JSON's types."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {name: plain(each) for name, each in value.items()}
        case list():
            return [plain(each) for each in value]
        case _:
            return value
