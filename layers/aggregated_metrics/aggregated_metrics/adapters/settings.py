"""The functions' environment, validated once."""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import ValidationError

from aggregated_metrics.adapters.appsync import is_safe, region_of
from aggregated_metrics.adapters.pending_hours import HOLD_SECONDS
from aggregated_metrics.core.declarations import Document
from aggregated_metrics.core.errors import SettingsError, UncountableError
from aggregated_metrics.core.models import BUILT_IN, Models

_LEAST_SETTLE = 10
"""A record's creation time has whole seconds: closer passes leave no room for T between them."""
_WINDOW_SECONDS = 110
"""How long a batch may take from its window's end until it is applied, as a rule."""
_LOCAL_HOLD_SECONDS = 5
_STREAM = re.compile(r"(?:arn:[^/]+:table/)?([\w.-]+)(?:/stream)?/([^/]+)")
ALL = "all"


def _safe(endpoint: str) -> str:
    if is_safe(endpoint):
        return endpoint
    raise ValueError(
        "must be the https:// URL of the GraphQL API (amplify_outputs.json: data.url); "
        "http:// is only for the loopback and the container host"
    )


def _short(streams: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [stream for stream in streams if not _STREAM.fullmatch(stream)]:
        raise ValueError(f"{wrong[0]!r} is not the ARN of a table's stream")
    return tuple(_STREAM.sub(r"\1/\2", stream) for stream in streams)


def _declared(text: str) -> Models:
    return BUILT_IN.declaring(Document.of_variable(text)) if text else BUILT_IN


type _Names = Annotated[tuple[str, ...], BeforeValidator(re.compile(r"[^,\s]+").findall)]
type _Json[Value] = Annotated[
    dict[str, Value], BeforeValidator(lambda text: json.loads(text or "{}"))
]


class Settings(BaseModel, frozen=True, arbitrary_types_allowed=True):
    """The functions' settings; field names are the variables' names.

    Of a stream's ARN only the table and the label are kept: `table/label`.
    """

    GRAPHQL_ENDPOINT: Annotated[str, AfterValidator(_safe)]
    AWS_REGION: str = "us-east-1"
    PENDING_HOURS_TABLE: str = Field(min_length=1)
    QUARANTINE_QUEUE_URL: str = ""
    FAILED_BATCHES_QUEUE_URL: str = ""
    GRACE_SECONDS: int = Field(default=120, ge=0, le=86_400)
    BATCHING_WINDOW_SECONDS: int = Field(default=10, ge=0, le=300)
    SETTLE_SECONDS: int = Field(default=60, ge=1, le=300)
    CHECK_ROWS_LIMIT: int = Field(default=200_000, ge=1_000)
    MAX_REQUEST_BYTES: int = Field(default=0, ge=0, le=1_000_000)
    MODELS: Annotated[Models, BeforeValidator(_declared)] = BUILT_IN
    STREAM_FUNCTION: str = ""
    STREAM_ARNS: Annotated[_Names, AfterValidator(_short)] = ()
    BACKFILL_BUCKET: str = ""
    BACKFILL_READ_UNITS: float = Field(default=1_000, gt=0)
    BACKFILL_CONCURRENCY: int = Field(default=4, ge=1, le=40)
    SOURCE_TABLES: _Json[str] = Field(default_factory=dict)
    SOURCE_LIFETIME_DAYS: _Json[float] = Field(default_factory=dict)
    BREAKDOWNS: _Names = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.SETTLE_SECONDS < _LEAST_SETTLE and not self._is_local:
            raise ValueError(
                f"SETTLE_SECONDS must be at least {_LEAST_SETTLE}: T lies between two passes"
            )
        models, breakdowns = [model.name for model in self.MODELS], [*self.MODELS.breakdowns]
        for name, given, known in (
            ("SOURCE_TABLES", self.SOURCE_TABLES.values(), models),
            ("SOURCE_LIFETIME_DAYS", self.SOURCE_LIFETIME_DAYS, models),
            ("BREAKDOWNS", () if self.BREAKDOWNS == (ALL,) else self.BREAKDOWNS, breakdowns),
        ):
            if unknown := sorted(set(given).difference(known)):
                raise ValueError(f"{name} names the unknown {unknown[0]!r}: use {', '.join(known)}")
        return self

    @cached_property
    def models(self) -> Models:
        """Every model, with the breakdowns that are switched on."""
        return self.MODELS if self.BREAKDOWNS == (ALL,) else self.MODELS.only(self.BREAKDOWNS)

    @property
    def _is_local(self) -> bool:
        """Whether this is the tests' emulator: http is only for this machine."""
        return self.GRAPHQL_ENDPOINT.startswith("http:")

    @property
    def complete_after(self) -> int:
        """How many seconds after its end a bucket may be complete."""
        if self._is_local:
            return self.GRACE_SECONDS
        return max(self.GRACE_SECONDS, self.BATCHING_WINDOW_SECONDS + _WINDOW_SECONDS)

    @property
    def hold_seconds(self) -> int:
        """How long a late batch, or a mapping that was modified, keeps buckets from completing."""
        return _LOCAL_HOLD_SECONDS if self._is_local else HOLD_SECONDS

    @cached_property
    def streams(self) -> dict[str, str]:
        """Model name to its table's stream: `table/label`."""
        try:
            return {
                self.models.of_table(stream.partition("/")[0], self.SOURCE_TABLES).name: stream
                for stream in self.STREAM_ARNS
            }
        except UncountableError as error:
            raise SettingsError(f"STREAM_ARNS: {error}") from error

    @property
    def region(self) -> str:
        """The region to sign for: the endpoint's own, otherwise the function's."""
        return region_of(self.GRAPHQL_ENDPOINT) or self.AWS_REGION

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check the settings; the error names each wrong variable and its remedy."""
        try:
            return cls.model_validate(dict(environment))
        except ValidationError as error:
            lines = (
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors()
            )
            raise SettingsError(
                "the function's environment is not usable; set these variables "
                f"(template.yaml does): {'; '.join(lines)}"
            ) from error
