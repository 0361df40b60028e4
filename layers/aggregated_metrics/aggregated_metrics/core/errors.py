"""Every error that this package raises, as one tree.

AggregatedMetricsError
├── SettingsError             a setting is missing or wrong; the message names the variable
├── DeclarationError          a custom model is declared wrongly; says what to write
├── EventError                an invocation's event is not what its function takes
├── NaiveDatetimeError        a datetime without an offset was passed in (also a ValueError)
├── RangeError                a range or step of time that cannot be read (also a ValueError)
├── RecordTypeError           a record type is not counted, or lacks its ids (also a ValueError)
├── UnreadableBucketError     the API cannot give a stored bucket that a sum needs
├── UncountableError          an image cannot be counted; its record goes to quarantine
├── ApiError                  a request to the API failed; keeps `data`, `errors`, `failed` aliases
│   ├── TransportError        no answer: connection, time-out, 5xx, after bounded retries
│   ├── AuthorizationError    401, 403, or a field that the role may not call
│   └── GraphQLError          an answer with errors
│       ├── ConditionFailedError   some aliases failed their condition, the others were done
│       └── ThrottledError         some or all of the request was throttled
├── ServiceError              an AWS service other than the API did not answer as it should
├── ContentionError           the time ran out before every request had got through
├── ChecksFailedError         some groups of hours could not be checked; the others were
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
    """A range that ends before it begins, or a wrong step."""


class RecordTypeError(AggregatedMetricsError, ValueError):
    """A record type that nothing counts, or a breakdown without its scorecard_id or score_id."""


class UnreadableBucketError(AggregatedMetricsError):
    """The API cannot give a stored bucket that a sum needs; the message names its key."""


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


class ChecksFailedError(AggregatedMetricsError):
    """Some groups of hours could not be checked; what was found of the others is reported."""


class RunError(AggregatedMetricsError):
    """A run over whole tables cannot go on: a file, or a part of a table, is missing."""
