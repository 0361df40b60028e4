"""What the command line takes."""

import argparse
from collections.abc import Sequence
from datetime import UTC, date, tzinfo
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from aggregated_metrics.core import buckets

from aggregated_metrics_cli.output import printable

CONFIG = Path(__file__).resolve().parents[1] / "samconfig.toml"
_DATE = len("2026-11-22")
_TIME = "2026-11-22, or 2026-11-22T10:00:00Z"


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)} (--help shows what there is)\n")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options as given; exits with 2 and one line where they are not understood."""
    parser = _Parser(
        prog="aggregated-metrics",
        description="Attach to an application; show, check, repair and fill its counts.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text, *parts in (
        ("attach", "find an application's API and tables; write samconfig.toml", _attach),
        ("show", "what was counted, in the terminal", _days, _show),
        ("report", "the same as one HTML file", _days, _report),
        ("verify", "compare counts with the source rows; write nothing", _range, _tables, _running),
        ("repair", "compare, and repair what both passes agree on", _range, _queues, _running),
        ("backfill", "count the rows of whole tables", _tables, _running),
    ):
        command = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
        for part in parts:
            part(command)
        command.add_argument("--region", help="AWS region; default: AWS_REGION, then the profile's")
        command.add_argument("--profile", help="AWS profile; default: AWS_PROFILE")
        command.add_argument("--json", action="store_true", help="JSON for machines on stdout")
    return parser.parse_args(arguments or ["--help"])


def _attach(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "outputs", nargs="?", type=Path, help="the application's amplify_outputs.json"
    )
    command.add_argument("--api-id", help="the AppSync API's id, instead of that file")
    command.add_argument("--endpoint", metavar="URL", help="the API, if not at its own URL")
    command.add_argument("--env", default="default", help="the environment of samconfig.toml")
    command.add_argument(
        "--models", type=Path, metavar="FILE", help="models of your own (docs/custom-models.md)"
    )
    command.add_argument("--config", type=Path, default=CONFIG, help="the samconfig.toml")
    command.add_argument("--dry-run", action="store_true", help="report only; write nothing")


def _show(command: argparse.ArgumentParser) -> None:
    _record_types(command, "only this one, or this breakdown")
    command.add_argument(
        "--minutes",
        type=int,
        choices=buckets.SIZES,
        help="how far apart the points are; default: by the range",
    )
    command.add_argument("--csv", action="store_true", help="rows for a spreadsheet on stdout")
    command.add_argument(
        "--explain",
        action="store_true",
        help="what is stored of the hour that holds --start: buckets, metadata, pending checks",
    )
    command.add_argument(
        "--breakdown-id", metavar="ID", help="--explain: a breakdown's scorecard or score"
    )


def _report(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--output", type=Path, metavar="FILE", help="default: counts-ACCOUNT-START.html here"
    )


def _days(command: argparse.ArgumentParser) -> None:
    command.add_argument("--stack", help="the CloudFormation stack")
    command.add_argument("--endpoint", metavar="URL", help="the GraphQL API, without a stack")
    command.add_argument("--account", required=True, help="the application's account")
    command.add_argument("--day", type=_day, help="one day of --zone, such as 2026-11-22")
    _span(command)
    command.add_argument(
        "--zone", type=_zone, default=UTC, metavar="NAME", help="such as Europe/Berlin; default UTC"
    )


def _span(command: argparse.ArgumentParser) -> None:
    command.add_argument("--start", type=moment, metavar="TIME", help=_TIME)
    command.add_argument("--end", type=moment, metavar="TIME", help="not included")


def _record_types(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument(
        "--record-type",
        action="append",
        dest="record_types",
        default=[],
        metavar="NAME",
        help=f"{text}; may be repeated",
    )


def _range(command: argparse.ArgumentParser) -> None:
    command.add_argument("--account", help="the application's account, with --start and --end")
    _span(command)
    _record_types(command, "default: all that are counted")


def _queues(command: argparse.ArgumentParser) -> None:
    queues = command.add_mutually_exclusive_group()
    for option, queue, text in (
        ("--quarantine", "quarantine", "the hours of the records in quarantine"),
        ("--failed-batches", "failedBatches", "the hours of batches that aged out"),
    ):
        queues.add_argument(option, dest="queue", action="store_const", const=queue, help=text)


def _tables(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("whole tables")
    group.add_argument("--models", type=_names, metavar="NAME,…", help="default: all attached")
    group.add_argument("--plan", action="store_true", help="show what it costs, and stop")
    group.add_argument("--yes", action="store_true", help="do not ask before it starts")


def _running(command: argparse.ArgumentParser) -> None:
    command.add_argument("--stack", required=True, help="the CloudFormation stack")
    running = command.add_mutually_exclusive_group()
    running.add_argument("--follow", metavar="NAME", help="follow an execution that is running")
    running.add_argument("--stop", metavar="NAME", help="stop an execution")


def moment(text: str) -> str:
    """A time as events name it; a date is its midnight in UTC."""
    whole = f"{text}T00:00:00Z" if len(text) == _DATE else text
    try:
        return buckets.iso(buckets.to_minute(buckets.parse(whole)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as {_TIME}") from error


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-11-22") from error


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{name!r} is no time zone such as UTC") from error


def _names(text: str) -> list[str]:
    return [name for each in text.split(",") if (name := each.strip())]
