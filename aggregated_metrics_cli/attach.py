"""Attaches the stack to an application: finds its API, tables and streams, says what is missing.

    aggregated-metrics attach amplify_outputs.json
    aggregated-metrics attach --api-id abcdefghijklmnop --region eu-central-1 --env staging

It reads the account and writes one file, samconfig.toml: the parameter_overrides of one
environment. Other overrides, and comments, stay as they are. Nothing is deployed.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tomlkit
from aggregated_metrics.adapters.appsync import AppSyncClient, Client, SigV4, open_session
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from tomlkit.items import AbstractTable

from aggregated_metrics_cli.application import Application, find_api, inspect, outputs_of
from aggregated_metrics_cli.findings import ApplicationError
from aggregated_metrics_cli.identity import RegionError, acting_on, session_of

CONFIG = Path(__file__).resolve().parents[1] / "samconfig.toml"
_MARKS = {"good": "[green]✓[/]", "note": "[yellow]![/]", "wrong": "[red]✗[/]"}


def main(arguments: Sequence[str], *, console: Console | None = None) -> int:
    """Run the command; returns 0 when the application is ready, 1 when something is missing."""
    console = console or Console()
    asked = _parser().parse_args(arguments)
    try:
        found = _find(asked, console)
    except (ApplicationError, RegionError, BotoCoreError, ClientError) as error:
        console.print(f"[red]attach:[/] {error}", highlight=False, soft_wrap=True)
        return 2
    console.print(report(found))
    if not asked.dry_run:
        write(asked.config, asked.env, found.region, found.parameters())
        console.print(f"{asked.config.name}: parameter_overrides of {asked.env} written")
    if found.is_ready:
        console.print(
            f"Now: make build ENV={asked.env} && "
            f".tools/sam/bin/sam deploy --config-env {asked.env}",
            soft_wrap=True,
        )
        return 0
    nevertheless = "" if asked.dry_run else f" {asked.config.name} was written nevertheless."
    console.print(
        "[red]Something is missing:[/] follow the remedies above, then run this again."
        + nevertheless
    )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aggregated-metrics attach",
        description="Finds an application's API, tables and streams, says what is missing, and "
        "writes the parameters into samconfig.toml.",
    )
    parser.add_argument(
        "outputs", nargs="?", type=Path, help="the application's amplify_outputs.json"
    )
    parser.add_argument("--api-id", help="the AppSync API's id, instead of that file")
    parser.add_argument("--region", help="the API's region")
    parser.add_argument(
        "--endpoint", metavar="URL", help="where to try the API, if not at its own URL"
    )
    parser.add_argument("--profile", help="the AWS profile to read with")
    parser.add_argument("--env", default="default", help="the environment of samconfig.toml")
    parser.add_argument("--config", type=Path, default=CONFIG, help="the samconfig.toml")
    parser.add_argument("--dry-run", action="store_true", help="say what is missing, write nothing")
    return parser


def _find(asked: argparse.Namespace, console: Console) -> Application:
    url, region, api_id = None, asked.region, asked.api_id
    if asked.outputs is not None:
        url, named, exported = outputs_of(asked.outputs)
        region, api_id = region or named, api_id or exported
    elif not api_id:
        raise ApplicationError("say which: `make attach APP=…`, or with API_ID=… REGION=…")
    session = session_of(asked.profile, region)
    console.print(f"attach: {acting_on(session)}", highlight=False)
    aws = cache(session.client)
    api_id = api_id or find_api(aws("appsync"), str(url))

    def connect(endpoint: str) -> Client:
        signer = SigV4(session.get_credentials(), session.region_name)
        return AppSyncClient(asked.endpoint or endpoint, open_session(signer))

    return inspect(aws, api_id, connect, _stack(asked.config, asked.env))


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
    table = Table(title=found.endpoint, title_justify="left", show_lines=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in found.findings:
        table.add_row(_MARKS[finding.state], finding.what, finding.said, finding.remedy)
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
