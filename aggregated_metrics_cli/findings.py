"""What attach says of one thing that it looked at, and how it reads what it looks at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from aggregated_metrics_cli.errors import CommandError

COUNTS = "AggregatedMetrics"
"""The model of the counts."""
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedException"})

type Aws = Callable[[str], Any]
"""Gives boto3's client for a service."""


class ApplicationError(CommandError):
    """The API could not be found or read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: such as `Item: stream`.
        state: `wrong` keeps the stack from counting right; `note` is for somebody to decide.
        said: what was found.
        remedy: what to do about it; empty when there is nothing to do. A command in it changes
            nothing but what it says.
    """

    what: str
    state: Literal["good", "note", "wrong"]
    said: str
    remedy: str = ""


@contextmanager
def reading(service: str) -> Iterator[None]:
    """Whoever may not read something learns which permission is missing.

    Raises:
        ApplicationError: AWS has denied it.
    """
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in DENIED:
            raise
        raise ApplicationError(
            f"a permission is missing: whoever attaches needs {service}:{error.operation_name} "
            f"({error})"
        ) from error


@contextmanager
def unless_denied(found: list[Finding], what: str, service: str) -> Iterator[None]:
    """What may not be looked at is a note: it is not known to be wrong, and not called good."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in DENIED:
            raise
        permission = f"{service}:{error.operation_name}"
        found.append(Finding(what, "note", "it may not be looked at", f"it needs {permission}"))
