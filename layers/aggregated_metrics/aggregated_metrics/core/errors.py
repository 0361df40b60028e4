"""Every error that this package raises."""

from collections.abc import Iterable, Mapping
from typing import Any


class AggregatedMetricsError(Exception):
    """The base of every error of this package."""


class SettingsError(AggregatedMetricsError, ValueError):
    """An environment variable, or a custom model's declaration, is missing or wrong."""


class EventError(AggregatedMetricsError, ValueError):
    """A function was invoked with an event that it does not take."""


class ArgumentError(AggregatedMetricsError, ValueError):
    """What a reader asks for makes no sense; the message says what to pass.

    A time without an offset, a range that ends before it begins, a wrong step, a record type that
    nothing counts, a breakdown without its ids.
    """


class UncountableError(AggregatedMetricsError):
    """An image cannot be counted; `str()` is the reason, for the quarantine."""


class ApiError(AggregatedMetricsError):
    """A request to the GraphQL API failed.

    Attributes:
        operation: the name of the GraphQL operation.
        errors: the answer's `errors`, as received.
        data: the answer's `data`; aliases that went through are in it.
        failed: the aliases (first element of each error's `path`) that did not go through.
            Empty when the request was refused whole.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: str,
        errors: Iterable[Mapping[str, Any]] = (),
        data: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{operation}: {message}")
        self.operation = operation
        self.errors = list(errors)
        self.data = dict(data or {})
        self.failed = frozenset(str(error["path"][0]) for error in self.errors if error.get("path"))


class TransportError(ApiError):
    """No usable answer came, and the bounded retries are used up."""


class AuthorizationError(ApiError):
    """The API refused the caller. Retrying cannot help."""


class GraphQLError(ApiError):
    """The API answered with errors."""


class ConditionFailedError(GraphQLError):
    """The only failures are conditions: the key was there, was not, or had another version."""


class ThrottledError(GraphQLError):
    """The API asked for a slower pace; aliases in `failed` were not carried out."""


class ContentionError(AggregatedMetricsError):
    """The time was over before every request had got through; what was saved is valid."""


class ServiceError(AggregatedMetricsError):
    """An AWS service other than the API did not answer as it should; the message has the remedy."""


class RunError(AggregatedMetricsError):
    """A backfill lacks a file or a part of a table, or a check could not check everything."""
