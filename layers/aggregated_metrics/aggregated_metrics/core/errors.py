"""Every error that this package raises, as one tree.

AggregatedMetricsError
├── SettingsError             a setting is missing or wrong; the message names the variable
├── DeclarationError          a model is declared wrongly; the message says what to write
├── EventError                an invocation's event is not what its function takes
├── NaiveDatetimeError        a datetime without an offset was passed in (also a ValueError)
├── RangeError                a range or step of time that cannot be read (also a ValueError)
├── ScopeError                a breakdown is read without its scope (also a ValueError)
├── UncountableError          an image cannot be counted; its record goes to quarantine
├── ApiError                  a request to the GraphQL API failed; names the operation
│   ├── TransportError        no answer: connection, time-out, 5xx, after bounded retries
│   ├── AuthorizationError    401, 403, or a field that the role may not call
│   └── GraphQLError          an answer with errors; keeps `data`, `errors` and `failed` aliases
│       ├── ConditionFailedError   some aliases failed their condition, the others were done
│       └── ThrottledError         some or all of the request was throttled
├── ServiceError              an AWS service other than the API did not answer as it should
├── ContentionError           the time ran out before every request had got through
├── PendingHoursError         the table of pending hours did not take a mark
├── ChecksFailedError         some groups of hours could not be checked; the others were
├── TooManyRowsError          a check would list more rows than CHECK_ROWS_LIMIT
├── OutOfTimeError            reading the source rows took what time there was
└── RunError                  a run over whole tables does not find something that it needs
"""

from collections.abc import Iterable, Mapping
from typing import Any


class AggregatedMetricsError(Exception):
    """The base of every error of this package."""


class SettingsError(AggregatedMetricsError):
    """An environment variable is missing or wrong."""


class DeclarationError(AggregatedMetricsError):
    """A custom model is declared wrongly."""


class EventError(AggregatedMetricsError, ValueError):
    """A function was invoked with an event that it does not take."""


class NaiveDatetimeError(AggregatedMetricsError, ValueError):
    """A datetime without an offset: nobody knows which instant it means."""


class RangeError(AggregatedMetricsError, ValueError):
    """A range ends before it begins, or a chart's step is none."""


class ScopeError(AggregatedMetricsError, ValueError):
    """A breakdown is read without the scorecard or score that it is apart by; the message helps."""


class UncountableError(AggregatedMetricsError):
    """An image cannot be counted; `str()` is the reason, for the quarantine."""


class ApiError(AggregatedMetricsError):
    """A request to the GraphQL API failed.

    Attributes:
        operation: the name of the GraphQL operation.
    """

    def __init__(self, message: str, *, operation: str) -> None:
        super().__init__(f"{operation}: {message}")
        self.operation = operation


class TransportError(ApiError):
    """No usable answer came, and the bounded retries are used up."""


class AuthorizationError(ApiError):
    """The API refused the caller. Retrying cannot help."""


class GraphQLError(ApiError):
    """The API answered with errors.

    Attributes:
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
        errors: Iterable[Mapping[str, Any]],
        data: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(message, operation=operation)
        self.errors = list(errors)
        self.data = dict(data or {})
        self.failed = frozenset(str(error["path"][0]) for error in self.errors if error.get("path"))


class ConditionFailedError(GraphQLError):
    """The only failures are conditions: the key was there, was not, or had another version."""


class ThrottledError(GraphQLError):
    """The API asked for a slower pace; aliases in `failed` were not carried out."""


class ContentionError(AggregatedMetricsError):
    """The time was over before every request had got through; what was saved is valid."""


class ServiceError(AggregatedMetricsError):
    """An AWS service other than the API did not answer as it should; the message has the remedy."""


class PendingHoursError(AggregatedMetricsError):
    """The table of pending hours did not answer as it should."""


class ChecksFailedError(AggregatedMetricsError):
    """Some groups of hours could not be checked; what was found of the others is reported."""


class TooManyRowsError(AggregatedMetricsError):
    """Reading the rows of a group was given up, because it lists too many.

    Attributes:
        since: the sort-key text from which on to its end an index by updatedAt lists too many; None
            of an index by the time that counts.
    """

    def __init__(self, message: str, *, since: str | None = None) -> None:
        super().__init__(message)
        self.since = since


class OutOfTimeError(AggregatedMetricsError):
    """Reading the source rows took what time there was; what was repaired by then is valid."""


class RunError(AggregatedMetricsError):
    """A run over whole tables cannot go on: a file, or a part of a table, is missing."""
