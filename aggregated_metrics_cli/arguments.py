"""What the command line takes."""

import argparse
from collections.abc import Sequence
from datetime import UTC, date, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from aggregated_metrics.core import buckets
from aggregated_metrics.core.record_types import BREAKDOWNS, RECORD_TYPES

_DATE = len("2026-11-22")
_LONGEST_POLL = 20
"""What SQS allows. Without a wait it asks some of its servers only, and falsely answers: none."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options as given; exits with 2 and a usage line where they are not understood."""
    parser = argparse.ArgumentParser(
        prog="aggregated-metrics",
        description="Check, repair, fill and look at the counts of aggregated-metrics.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common()
    for name, text in (
        ("verify", "compare the counts with the source rows; write nothing"),
        ("repair", "compare, and set right what is wrong"),
    ):
        command = commands.add_parser(name, parents=[common], help=text, description=_CHECKED)
        _add_range(command, required=False)
    command = commands.add_parser(
        "backfill",
        parents=[common],
        help="count whole tables; with --account one range",
        description="Repair a long range of one account, the newest day first.",
        epilog="Without --account and a range: whole tables. Its options: backfill --help.",
    )
    _add_range(command, required=True)
    _add_show(commands.add_parser("show", parents=[common], help="the buckets of a range"))
    _add_report(
        commands.add_parser(
            "report", parents=[common], help="a page with what was counted, as one HTML file"
        )
    )
    _add_redrive(
        commands.add_parser(
            "redrive",
            parents=[common],
            help="repair the hours of the records in quarantine; delete those that are done",
        )
    )
    _add_repair_batches(
        commands.add_parser(
            "repair-batches", parents=[common], help="repair the hours of batches that aged out"
        )
    )
    commands.add_parser(  # main hands it on
        "attach", help="find an application's API, tables and streams; write samconfig.toml"
    )
    return parser.parse_args(arguments)


_CHECKED = "Without --account and a range: the hours that are closed and wait to be checked."

_ELSE = "else the variable {}"


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    where = common.add_argument_group(
        "where", "An option wins over --stack, and that over the environment's variables."
    )
    where.add_argument("--stack", help="read the rest from this CloudFormation stack")
    where.add_argument("--endpoint", help=_ELSE.format("GRAPHQL_ENDPOINT"))
    where.add_argument("--pending-table", help=_ELSE.format("PENDING_HOURS_TABLE"))
    where.add_argument(
        "--quarantine-queue", metavar="URL", help=_ELSE.format("QUARANTINE_QUEUE_URL")
    )
    where.add_argument("--settle", type=int, metavar="SECONDS", help=_ELSE.format("SETTLE_SECONDS"))
    where.add_argument("--region", help="AWS region; else the credentials' own")
    where.add_argument("--profile", help="AWS profile")
    common.add_argument("--json", action="store_true", help="JSON for machines on stdout")
    return common


def _add_range(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--account", required=required, help="the account's id")
    command.add_argument("--start", type=moment, required=required, help=_TIME)
    command.add_argument("--end", type=moment, required=required, help=f"{_TIME}; not included")
    command.add_argument(
        "--record-types",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        default=[],
        metavar="NAME,…",
        help=f"of {', '.join((*RECORD_TYPES, *BREAKDOWNS))}; all that are counted if not given",
    )


_TIME = "2026-11-22, or 2026-11-22T10:00:00Z"


def _add_show(command: argparse.ArgumentParser) -> None:
    _add_days(command)
    command.add_argument(
        "--record-type", choices=RECORD_TYPES, help="its buckets; without it everything, summed up"
    )
    command.add_argument("--minutes", type=int, choices=buckets.SIZES, default=buckets.HOUR)
    command.add_argument(
        "--explain",
        action="store_true",
        help="why the bucket of --minutes that holds --start is as it is",
    )


def _add_days(command: argparse.ArgumentParser) -> None:
    command.add_argument("--account", required=True, help="the account's id")
    command.add_argument("--day", type=date.fromisoformat, help="one day of --zone, as 2026-11-22")
    command.add_argument("--start", type=moment, help=_TIME)
    command.add_argument("--end", type=moment, help=f"{_TIME}; not included")
    command.add_argument(
        "--zone", type=_zone, default=UTC, metavar="NAME", help="such as Europe/Berlin; else UTC"
    )


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{name!r} is no time zone such as UTC") from error


def _add_report(command: argparse.ArgumentParser) -> None:
    _add_days(command)
    command.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where the page goes; else counts-ACCOUNT-START.html here",
    )


def _add_redrive(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dry-run", action="store_true", help="say what would happen; change nothing"
    )
    _add_polling(command, "records")


def _add_repair_batches(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "places",
        nargs="*",
        metavar="FILE|s3://…",
        help="on-failure objects; all that the queue's notes are about if not given",
    )
    command.add_argument(
        "--failed-batches-queue", metavar="URL", help=_ELSE.format("FAILED_BATCHES_QUEUE_URL")
    )
    _add_polling(command, "notes")


def _add_polling(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--limit", type=int, default=1000, help=f"at most so many {what}")
    command.add_argument(
        "--wait",
        type=int,
        default=_LONGEST_POLL,
        metavar="SECONDS",
        help="how long to wait for a message before the queue is called empty",
    )


def moment(text: str) -> str:
    """A time as events name it; a date is its midnight in UTC."""
    whole = f"{text}T00:00:00Z" if len(text) == _DATE else text
    try:
        buckets.to_minute(buckets.parse(whole))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as {_TIME}") from error
    return whole
