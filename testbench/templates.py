"""Reads the project's CloudFormation templates as they stand."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]


class _Loader(yaml.CSafeLoader):
    """Reads short functions too: `!Sub text` as `{"!Sub": text}`.

    What differs on the emulator is read as it is on AWS.
    """


def _function(loader: yaml.CSafeLoader, tag: str, node: yaml.Node) -> Any:
    match node:
        case yaml.ScalarNode():
            return {f"!{tag}": loader.construct_scalar(node)}
        case yaml.SequenceNode():
            parts = loader.construct_sequence(node, deep=True)
            if tag == "If" and parts[0] == "OnEmulator":
                return parts[2]
            return {f"!{tag}": parts}
        case _:
            raise TypeError(f"!{tag} of a mapping: teach this reader")


_Loader.add_multi_constructor("!", _function)


@cache
def template(path: str) -> dict[str, Any]:
    """The template at that path of the project: read once, so nobody changes it."""
    read: dict[str, Any] = yaml.load((ROOT / path).read_text(), Loader=_Loader)
    return read


def resources(path: str, kind: str) -> dict[str, dict[str, Any]]:
    """The template's resources of that type, by logical id."""
    found = template(path)["Resources"].items()
    return {name: resource for name, resource in found if resource["Type"] == kind}
