"""What attach reports of one thing that it looked at, and how it reads what it looks at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from botocore.exceptions import ClientError

from aggregated_metrics_cli.errors import CommandError

COUNTS = "AggregatedMetrics"
"""The model of the counts."""
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedException"})

type Aws = Callable[[str], Any]
"""Gives boto3's client for a service."""


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        what: such as `Item: stream`.
        state: `wrong` makes batches fail; `note` is for a person to decide.
        found: what was found.
        remedy: what to do about it; empty when there is nothing to do.
    """

    what: str
    state: Literal["good", "note", "wrong"]
    found: str
    remedy: str = ""


@contextmanager
def reading(service: str) -> Iterator[None]:
    """Name the permission that is missing where AWS denies a call.

    Raises:
        CommandError: AWS has denied it.
    """
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in _DENIED:
            raise
        raise CommandError(
            f"a permission is missing: attach needs {service}:{error.operation_name} ({error})"
        ) from error
