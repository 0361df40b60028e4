"""GraphQL's `condition`, `filter` and key arguments as DynamoDB expressions."""

from collections.abc import Mapping, Sequence
from typing import Any

from amplify_api.errors import InvalidArgumentsError
from amplify_api.values import stored

_OPERATIONS = {
    "eq": "{} = {}",
    "ne": "{} <> {}",
    "le": "{} <= {}",
    "lt": "{} < {}",
    "ge": "{} >= {}",
    "gt": "{} > {}",
    "beginsWith": "begins_with({}, {})",
    "contains": "contains({}, {})",
    "notContains": "(NOT contains({}, {}))",
    "attributeType": "attribute_type({}, {})",
}
_TYPES = {
    "binary": "B",
    "binarySet": "BS",
    "bool": "BOOL",
    "list": "L",
    "map": "M",
    "number": "N",
    "numberSet": "NS",
    "string": "S",
    "stringSet": "SS",
    "_null": "NULL",
}
_RANGE_ENDS = 2
_KEY_OPERATORS = {
    "eq": "EQ",
    "le": "LE",
    "lt": "LT",
    "ge": "GE",
    "gt": "GT",
    "beginsWith": "BEGINS_WITH",
    "between": "BETWEEN",
}
_KEY_EXPRESSIONS = {
    "EQ": "{} = {}",
    "LE": "{} <= {}",
    "LT": "{} < {}",
    "GE": "{} >= {}",
    "GT": "{} > {}",
    "BEGINS_WITH": "begins_with({}, {})",
    "BETWEEN": "{} BETWEEN {} AND {}",
}

type KeyCondition = dict[str, Any]
"""An entry of DynamoDB's `KeyConditions`."""


class Placeholders:
    """Names and values of one request, each under a placeholder of its own.

    Reserved words and names such as `status#updatedAt` cannot stand in an expression themselves.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def name(self, attribute: str) -> str:
        """The placeholder of an attribute's name."""
        return self._names.setdefault(attribute, f"#n{len(self._names)}")

    def value(self, value: Any) -> str:
        """A new placeholder of a JSON value."""
        return self.raw_value(stored(value))

    def raw_value(self, value: Any) -> str:
        """A new placeholder of a value in DynamoDB's form."""
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = value
        return placeholder

    def arguments(self) -> dict[str, Any]:
        """The request's members that carry them; DynamoDB refuses empty ones."""
        members = {
            "ExpressionAttributeNames": {mark: name for name, mark in self._names.items()},
            "ExpressionAttributeValues": self._values,
        }
        return {member: marks for member, marks in members.items() if marks}


def condition_expression(condition: Mapping[str, Any] | None, marks: Placeholders) -> str:
    """A `Model…ConditionInput` or `Model…FilterInput` as an expression; empty for no condition."""
    terms = []
    for field, wanted in (condition or {}).items():
        match field, wanted:
            case _, None:
                continue
            case (("and" | "or"), _):
                parts = [condition_expression(each, marks) for each in _as_list(wanted)]
                terms.append(_joined(parts, f" {field.upper()} "))
            case "not", _:
                inner = condition_expression(wanted, marks)
                terms.append(f"(NOT {inner})" if inner else "")
            case _:
                name = marks.name(field)
                terms += [_comparison(name, op, value, marks) for op, value in wanted.items()]
    return _joined(terms, " AND ")


def exists(attributes: Sequence[str], marks: Placeholders) -> str:
    """That the record is there: all its key attributes exist."""
    return " AND ".join(f"attribute_exists({marks.name(each)})" for each in attributes)


def absent(attributes: Sequence[str], marks: Placeholders) -> str:
    """That the record is not there."""
    return " AND ".join(f"attribute_not_exists({marks.name(each)})" for each in attributes)


def both(first: str, second: str) -> str:
    """The conjunction of two expressions, of which the second may be empty."""
    return f"({first}) AND {second}" if second else first


def key_expression(conditions: Mapping[str, KeyCondition], marks: Placeholders) -> str:
    """`KeyConditions` as a key condition expression."""
    terms = []
    for attribute, condition in conditions.items():
        mark, operator = marks.name(attribute), condition["ComparisonOperator"]
        values = [marks.raw_value(value) for value in condition["AttributeValueList"]]
        terms.append(_KEY_EXPRESSIONS[operator].format(mark, *values))
    return " AND ".join(terms)


def equals(value: Any) -> KeyCondition:
    """The condition that a key is this JSON value."""
    return {"ComparisonOperator": "EQ", "AttributeValueList": [stored(value)]}


def sort_key_condition(
    argument: str, condition: Mapping[str, Any], parts: Sequence[str]
) -> KeyCondition | None:
    """A key condition argument as the sort key's condition; None for none.

    Args:
        argument: the name of the query's argument, for messages.
        condition: at most one operation with its operand or operands.
        parts: the fields of a composite sort key; empty for a plain one.

    Raises:
        InvalidArgumentsError: for more than one operation, a range without two ends, or a part of
            a composite key without the parts before it.
    """
    operations = {op: value for op, value in condition.items() if value is not None}
    if len(operations) > 1:
        raise InvalidArgumentsError(
            f"Argument {argument} must specify at most one key condition operation."
        )
    for operation, operand in operations.items():
        values = [_key_text(each, argument, parts) for each in _as_list(operand)]
        if operation not in _KEY_OPERATORS:
            raise InvalidArgumentsError(f"Operation {operation} is not supported.")
        if operation == "between" and len(values) != _RANGE_ENDS:
            raise InvalidArgumentsError(f"Argument {argument}.between expects exactly 2 elements.")
        wanted = values if operation == "between" else values[:1]
        return {
            "ComparisonOperator": _KEY_OPERATORS[operation],
            "AttributeValueList": [stored(value) for value in wanted],
        }
    return None


def _key_text(operand: Any, argument: str, parts: Sequence[str]) -> Any:
    if not parts:
        return operand
    given = [operand.get(part) for part in parts]
    for position, part in enumerate(parts[1:], start=1):
        if given[position] is not None and given[position - 1] is None:
            raise InvalidArgumentsError(
                f"When providing argument '{argument}.$operation.{part}' "
                f"you must also provide '{argument}.$operation.{parts[position - 1]}'."
            )
    return "#".join(str(value) for value in given if value is not None)


def _comparison(name: str, operation: str, wanted: Any, marks: Placeholders) -> str:
    match operation, wanted:
        case "between", [low, high]:
            return f"{name} BETWEEN {marks.value(low)} AND {marks.value(high)}"
        case "attributeExists", _:
            return f"attribute_{'' if wanted else 'not_'}exists({name})"
        case "size", _:
            sizes = (_comparison(f"size({name})", op, n, marks) for op, n in wanted.items())
            return " AND ".join(sizes)
        case _ if operation in _OPERATIONS:
            operand = _TYPES[wanted] if operation == "attributeType" else wanted
            return _OPERATIONS[operation].format(name, marks.value(operand))
        case _:
            raise InvalidArgumentsError(f"Operation {operation} is not supported.")


def _as_list(value: Any) -> list[Any]:
    # GraphQL's input coercion lets one element stand for a list of it
    return value if isinstance(value, list) else [value]


def _joined(terms: Sequence[str], operator: str) -> str:
    meant = [term for term in terms if term]
    return f"({operator.join(meant)})" if meant else ""
