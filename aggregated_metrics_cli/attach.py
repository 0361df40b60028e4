"""Attaches the stack to an application: finds its API, tables and streams, says what is missing.

    aggregated-metrics attach amplify_outputs.json
    aggregated-metrics attach --api-id abcdefghijklmnop --region eu-central-1 --env staging
    aggregated-metrics attach amplify_outputs.json --models models.toml

It reads the account and writes one file, samconfig.toml: the parameter_overrides of one
environment. Other overrides, and comments, stay as they are. Nothing is deployed.
"""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from aggregated_metrics.adapters.appsync import AppSyncClient, Client, open_session
from aggregated_metrics.core.declarations import Document
from aggregated_metrics.core.errors import SettingsError
from rich.table import Table

from aggregated_metrics_cli import samconfig
from aggregated_metrics_cli.application import Application, find_api, inspect, outputs_of
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.exit_codes import DONE, LEFT
from aggregated_metrics_cli.model_file import read_toml
from aggregated_metrics_cli.output import Output, styled
from aggregated_metrics_cli.tables import table

_FORM = "MODELS (--models) names a TOML file of declarations: docs/custom-models.md has an example"
_MARKS = {"good": ("✓", "green"), "note": ("!", "yellow"), "wrong": ("✗", "red")}


def prepare(options: Namespace) -> None:
    """Read the files, before anything asks for credentials: their mistakes need none.

    It sets what the files say: the region that the application's outputs name, unless the caller
    names one, the overrides of before, and the declarations.

    Raises:
        CommandError: a file is missing or malformed; names it, and says what to do.
    """
    if options.outputs is not None:
        options.region = options.region or outputs_of(options.outputs)[1]
    options.before = samconfig.overrides(options.config, options.env)
    options.document = declarations(options.models, options.before)


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Report, and write the parameters; returns 0 if the application is ready, 1 if not."""
    before, found = options.before, _find(options, deployment)
    parameters, findings = found.parameters(before), [each._asdict() for each in found.findings]
    shown = {"endpoint": found.endpoint, "parameters": parameters, "findings": findings}
    output.show(shown, report(found))
    if not options.dry_run:
        region = found.arn.split(":")[3]
        samconfig.write(options.config, options.env, region, {**before, **parameters})
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
        raise CommandError("say which: `make attach APP=…`, or with API_ID=… REGION=…")
    api_id = api_id or find_api(aws("appsync"), str(url))

    def connect(endpoint: str) -> Client:
        http = open_session(session.get_credentials(), session.region_name)
        return AppSyncClient(options.endpoint or endpoint, http)

    return inspect(aws, api_id, connect, options.document)


def declarations(models: Path | None, before: Mapping[str, str]) -> Document:
    """The file's; without one those that were attached before stay. Raises as `prepare`."""
    if models is None:
        return Document.of_variable(before.get("Models", ""))
    try:
        return read_toml(models.read_text("utf-8"))
    except SettingsError as error:
        raise CommandError(f"{models}: {error}\n{_FORM}") from error
    except (OSError, ValueError) as error:
        raise CommandError(f"{models} cannot be read ({error}): {_FORM}") from error


def report(found: Application) -> Table:
    """What was found, as a table."""
    made = table(found.endpoint, "", "what", "found", "what to do")
    for finding in found.findings:
        made.add_row(styled(*_MARKS[finding.state]), finding.what, finding.found, finding.remedy)
    return made
