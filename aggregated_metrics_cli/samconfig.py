"""samconfig.toml: an environment's parameter_overrides, in each form that SAM takes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from aggregated_metrics_cli.errors import CommandError

_KEY = r"([A-Za-z0-9\"']+)"
_VALUE = r"""("(?:\\.|[^"\\]+)*"|'(?:\\.|[^'\\]+)*'|(?:\\.|[^ "\\]+)+)"""
_GRAMMARS = (rf"ParameterKey={_KEY},ParameterValue={_VALUE}", rf" {_KEY}={_VALUE}")
"""SAM's own (samcli/cli/types.py): of a text the first that matches anything is used."""
_FILE = "file://"


def read(config: Path) -> tomlkit.TOMLDocument:
    """The file, or a new one.

    Raises:
        CommandError: it is no TOML.
    """
    try:
        return tomlkit.parse(config.read_text("utf-8")) if config.exists() else tomlkit.document()
    except (OSError, ValueError) as error:
        raise CommandError(
            f"{config} cannot be read ({error}): repair the file, or name another with --config"
        ) from error


def overrides_of(given: Any) -> dict[str, str]:
    r"""parameter_overrides by name, as SAM reads a table, a text, or a list of both.

    >>> overrides_of('Grace="300" Rate="rate(2 minutes)"')
    {'Grace': '300', 'Rate': 'rate(2 minutes)'}
    """
    if isinstance(given, Mapping):
        return {str(name): _text(value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return {name: text for each in given for name, text in overrides_of(each).items()}
    text = str(given or "").strip()
    if not text:
        return {}
    if text.startswith(_FILE):
        return {"$include": text}
    for grammar in _GRAMMARS:
        if pairs := re.findall(grammar, f" {text}"):
            return {_unquoted(name): _unquoted(value) for name, value in pairs}
    raise CommandError(f"samconfig.toml: SAM cannot read the parameter_overrides {text!r}")


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(str(each).strip() for each in value if each not in (None, ""))
    return "" if value is None else str(value)


def _unquoted(text: str) -> str:
    if text and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    return text.replace("\\ ", " ").replace('\\"', '"').replace("\\'", "'")


def overrides(config: Path, env: str) -> dict[str, str]:
    """An environment's parameter_overrides by name.

    Raises:
        CommandError: the file is no TOML, or SAM cannot read what stands there.
    """
    found = read(config).unwrap().get(env, {})
    parts = (found.get(part, {}).get("parameters", {}) for part in ("deploy", "global"))
    return overrides_of([part.get("parameter_overrides") for part in parts])


def write(config: Path, env: str, region: str, parameters: Mapping[str, str]) -> None:
    """Make parameters an environment's overrides, a table; all else stays as it was.

    They stand under `global`, where `sam build` finds the architecture and `sam deploy` the rest.

    Raises:
        CommandError: the file is no TOML.
    """
    document = read(config)
    document.setdefault("version", 0.1)
    shared = _table(_table(_table(document, env), "global"), "parameters")
    older = document[env].get("deploy", {}).get("parameters", {})
    for name in ("parameter_overrides", "region"):
        older.pop(name, None)
    shared.pop("parameter_overrides", None)
    shared["region"] = region
    shared["language_extensions"] = True  # `sam build` writes the template's loops out
    shared["parameter_overrides"] = dict(parameters)
    config.write_text(tomlkit.dumps(document), "utf-8")


def _table(parent: Any, name: str) -> Any:
    if name not in parent:
        parent[name] = tomlkit.table(is_super_table=name != "parameters")
    return parent[name]
