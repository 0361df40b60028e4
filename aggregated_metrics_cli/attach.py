"""Attaches the stack to an application: finds its API, tables and streams, says what is missing.

    aggregated-metrics attach amplify_outputs.json
    aggregated-metrics attach --api-id abcdefghijklmnop --region eu-central-1 --env staging

It reads the account and writes one file, samconfig.toml: the parameter_overrides of one
environment. Other overrides, and comments, stay as they are. Nothing is deployed.
"""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from aggregated_metrics.adapters.appsync import AppSyncClient, Client, SigV4, open_session
from rich.table import Table
from tomlkit.items import AbstractTable

from aggregated_metrics_cli.application import Application, find_api, inspect, outputs_of
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.exit_codes import DONE, LEFT
from aggregated_metrics_cli.findings import ApplicationError
from aggregated_metrics_cli.output import Output, printable, styled

_MARKS = {"good": ("✓", "green"), "note": ("!", "yellow"), "wrong": ("✗", "red")}


def region_of(options: Namespace) -> str | None:
    """The region that the application's outputs name; None without them.

    Raises:
        ApplicationError: the file is not there, or names no API.
    """
    return outputs_of(options.outputs).region if options.outputs is not None else None


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Report, and write the parameters; returns 0 if the application is ready, 1 if not.

    Raises:
        ApplicationError: the API could not be found or read.
    """
    found = _find(options, deployment)
    output.show(found.as_json(), report(found))
    if not options.dry_run:
        write(options.config, options.env, found.region, found.parameters())
        output.say(f"{options.config.name}: parameter_overrides of {options.env} written")
    if found.is_ready:
        output.say(
            f"Now: make build ENV={options.env} && "
            f".tools/sam/bin/sam deploy --config-env {options.env}"
        )
        return DONE
    output.say("Something is missing: follow the remedies above, then run this again.")
    return LEFT


def _find(options: Namespace, deployment: Deployment) -> Application:
    aws, session = deployment.aws, deployment.session
    url, api_id = None, options.api_id
    if options.outputs is not None:
        url, _, exported = outputs_of(options.outputs)
        api_id = api_id or exported
    elif not api_id:
        raise ApplicationError("say which: `make attach APP=…`, or with API_ID=… REGION=…")
    api_id = api_id or find_api(aws("appsync"), str(url))

    def connect(endpoint: str) -> Client:
        signer = SigV4(session.get_credentials(), session.region_name)
        return AppSyncClient(options.endpoint or endpoint, open_session(signer))

    return inspect(aws, api_id, connect, _stack(options.config, options.env))


def _stack(config: Path, env: str) -> str:
    """The stack's name in that environment of samconfig.toml."""
    document = tomlkit.parse(config.read_text()).unwrap() if config.exists() else {}
    for name in (env, "default"):
        found = document.get(name, {}).get("global", {}).get("parameters", {}).get("stack_name")
        if found:
            return str(found)
    return "aggregated-metrics"


def report(found: Application) -> Table:
    """What was found, as a table."""
    table = Table(title=printable(found.endpoint), title_justify="left", show_lines=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in found.findings:
        table.add_row(styled(*_MARKS[finding.state]), finding.what, finding.said, finding.remedy)
    return table


def write(config: Path, env: str, region: str, parameters: Mapping[str, str]) -> None:
    """Put the parameters into an environment's parameter_overrides; all else stays as it is.

    They stand under `global`, where `sam build` finds the architecture and `sam deploy` the rest.
    """
    document = tomlkit.parse(config.read_text()) if config.exists() else tomlkit.document()
    document.setdefault("version", 0.1)
    shared = _table(_table(_table(document, env), "global"), "parameters")
    older = document[env].get("deploy", {}).get("parameters", {})
    kept = {
        name: text
        for given in (older, shared)  # where deployments alone would read them
        for name, text in _overrides(given.get("parameter_overrides"))
        if name not in parameters
    }
    given = {name: f"{name}={_quoted(value)}" for name, value in parameters.items()}
    lines = tomlkit.array()
    lines.extend([*given.values(), *kept.values()])
    shared["parameter_overrides"] = lines.multiline(multiline=True)
    for name in ("parameter_overrides", "region"):
        older.pop(name, None)
    shared["region"] = region
    config.write_text(tomlkit.dumps(document))


def _table(parent: Any, name: str) -> AbstractTable:
    if name not in parent:
        parent[name] = tomlkit.table(is_super_table=name != "parameters")
    child: AbstractTable = parent[name]
    return child


def _overrides(given: Any) -> list[tuple[str, str]]:
    """The overrides that are there, name and text: SAM takes a list, or one string."""
    parts = str(given).split() if isinstance(given, str) else list(map(str, given or ()))
    return [(part.split("=", 1)[0], part) for part in parts]


def _quoted(value: str) -> str:
    """As SAM reads it: a value with quotes or spaces, or an empty one, stands in quotes."""
    if value and not any(letter in value for letter in ' "'):
        return value
    escaped = value.replace('"', '\\"')
    return f'"{escaped}"'
