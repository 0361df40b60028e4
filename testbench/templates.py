"""Reads the project's CloudFormation templates as AWS would expand them.

Loops (`Fn::ForEach`) are written out, and what depends on a loop's variable alone is resolved:
`!Ref`, `!Sub`, `!FindInMap` and `!Select`. Everything else stays as the template has it.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
LISTS: Mapping[str, tuple[str, ...]] = {
    "StreamArns": tuple(
        f"arn:aws:dynamodb:eu-central-1:123456789012:table/{model}-abc-dev/stream/2026-11-22"
        for model in ("Item", "Task")
    )
}
"""What stands for a parameter that a loop goes over."""
_LOOP = "Fn::ForEach::"


class _Loader(yaml.CSafeLoader):
    """Reads short functions too: `!Sub text` as `{"!Sub": text}`."""


def _function(loader: yaml.CSafeLoader, tag: str, node: yaml.Node) -> Any:
    match node:
        case yaml.ScalarNode():
            return {f"!{tag}": loader.construct_scalar(node)}
        case yaml.SequenceNode():
            parts = loader.construct_sequence(node, deep=True)
            if tag == "If" and parts[0] == "OnEmulator":
                return parts[2]  # what AWS gets
            return {f"!{tag}": parts}
        case _:
            raise TypeError(f"!{tag} of a mapping: teach this reader")


_Loader.add_multi_constructor("!", _function)


def _expanded(node: Any, maps: Mapping[str, Any], values: Mapping[str, str]) -> Any:
    """A node of a template with these mappings, where the loops around it have these values."""
    if isinstance(node, list):
        return [_expanded(each, maps, values) for each in node]
    if not isinstance(node, dict):
        return node
    entries: dict[str, Any] = {}
    for key, value in node.items():
        if not key.startswith(_LOOP):
            entries[_filled(key, values)] = _expanded(value, maps, values)
            continue
        name, over, body = value
        for each in LISTS[over["!Ref"]] if isinstance(over, dict) else over:
            entries |= _expanded(body, maps, {**values, name: each})
    return _resolved(entries, maps, values)


def _resolved(node: dict[str, Any], maps: Mapping[str, Any], values: Mapping[str, str]) -> Any:
    result: Any = node
    match node:
        case {"!Ref": str(name)}:
            result = values.get(name, node)
        case {"Ref": str(name)}:
            result = {"!Ref": name}
        case {"!GetAtt": [str(name), str(attribute)]}:
            result = {"!GetAtt": f"{name}.{attribute}"}
        case {"!Sub": str(text)}:
            filled = _filled(text, values)
            result = {"!Sub": filled} if "${" in filled else filled
        case {"!FindInMap": [str(table), str(row), str(name), *other]}:
            result = maps[table][row].get(name, *(each["DefaultValue"] for each in other))
        case {"!Select": [int(index), list(parts)]}:
            result = parts[index]
    return result


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
        text = text.replace(f"&{{{name}}}", "".join(filter(str.isalnum, value)))
    return text


@cache
def template(path: str) -> dict[str, Any]:
    """The template at that path of the project, its loops written out; not to be changed."""
    raw = yaml.load((ROOT / path).read_text(), Loader=_Loader)
    expanded: dict[str, Any] = _expanded(raw, raw.get("Mappings", {}), {})
    return expanded


def resources(path: str, kind: str) -> dict[str, dict[str, Any]]:
    """The template's resources of that type, by logical id."""
    found = template(path)["Resources"].items()
    return {name: resource for name, resource in found if resource["Type"] == kind}
