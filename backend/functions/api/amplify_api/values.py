"""Values on their way between GraphQL and DynamoDB, whose numbers are Decimals in boto3."""

import json
from decimal import Decimal
from typing import Any


def exact(value: Any) -> Any:
    """A JSON value as boto3 stores it: it refuses floats, whose digits DynamoDB could not hold."""
    return json.loads(json.dumps(value), parse_float=_shortest)


def plain(value: Any) -> Any:
    """What boto3 reads as JSON's types."""
    return json.loads(json.dumps(value, default=_number))


def _shortest(text: str) -> Decimal | int:
    """The digits that were sent; 1.0 is stored as 1."""
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else number


def _number(number: Decimal) -> float:
    return int(number) if number == number.to_integral_value() else float(number)
