"""The functions' environment, validated once."""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

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


def _parsed(value: Any) -> Any:
    return json.loads(value or "{}") if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    """Names from a list, a JSON list or a comma list."""
    if isinstance(value, str):
        text = value.strip()
        value = json.loads(text) if text.startswith("[") else text.split(",")
        value = [name.strip() for name in value if name.strip()]
    return value


type _Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Settings(BaseModel):
    """The functions' settings; field names are the variables' names.

    Of a stream's ARN only the table and the label are kept: `table/label`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    GRAPHQL_ENDPOINT: str
    AWS_REGION: str = "us-east-1"
    PENDING_HOURS_TABLE: str = Field(min_length=1)
    QUARANTINE_QUEUE_URL: str = ""
    FAILED_BATCHES_QUEUE_URL: str = ""
    GRACE_SECONDS: int = Field(default=120, ge=0, le=86_400)
    BATCHING_WINDOW_SECONDS: int = Field(default=10, ge=0, le=300)
    SETTLE_SECONDS: int = Field(default=60, ge=1, le=300)
    CHECK_ROWS_LIMIT: int = Field(default=200_000, ge=1_000)
    MAX_REQUEST_BYTES: int = Field(default=0, ge=0, le=1_000_000)
    MODELS: str = ""
    STREAM_FUNCTION: str = ""
    STREAM_ARNS: _Names = ()
    BACKFILL_BUCKET: str = ""
    BACKFILL_READ_UNITS: float = Field(default=1_000, gt=0)
    BACKFILL_CONCURRENCY: int = Field(default=4, ge=1, le=40)
    SOURCE_TABLES: Annotated[dict[str, str], BeforeValidator(_parsed)] = Field(default_factory=dict)
    SOURCE_LIFETIME_DAYS: Annotated[dict[str, float], BeforeValidator(_parsed)] = Field(
        default_factory=dict
    )
    BREAKDOWNS: _Names = ()

    @field_validator("GRAPHQL_ENDPOINT")
    @classmethod
    def _is_safe_endpoint(cls, value: str) -> str:
        if is_safe(value):
            return value
        raise ValueError(
            "must be the https:// URL of the GraphQL API (amplify_outputs.json: data.url); "
            "http:// is only for the loopback and the container host"
        )

    @field_validator("SETTLE_SECONDS")
    @classmethod
    def _leaves_room_for_t(cls, value: int, info: ValidationInfo) -> int:
        if value < _LEAST_SETTLE and not _is_local(info.data.get("GRAPHQL_ENDPOINT", "")):
            raise ValueError(f"must be at least {_LEAST_SETTLE}: T lies between two passes")
        return value

    @field_validator("MODELS")
    @classmethod
    def _declares_models(cls, value: str) -> str:
        try:
            BUILT_IN.declaring(Document.of_variable(value))
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("STREAM_ARNS")
    @classmethod
    def _are_of_tables(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [stream for stream in value if not _STREAM.fullmatch(stream)]:
            raise ValueError(f"{wrong[0]!r} is not the ARN of a table's stream")
        return tuple(_STREAM.sub(r"\1/\2", stream) for stream in value)

    @model_validator(mode="after")
    def _names_known_models(self) -> Self:
        for name in ("SOURCE_TABLES", "SOURCE_LIFETIME_DAYS"):
            given = getattr(self, name)
            named = given.values() if name == "SOURCE_TABLES" else given
            if unknown := sorted(set(named) - {model.name for model in self._every_model}):
                known = ", ".join(model.name for model in self._every_model)
                raise ValueError(f"{name} names the unknown model {unknown[0]!r}: use {known}")
        named = set() if self.BREAKDOWNS == (ALL,) else {*self.BREAKDOWNS}
        if unknown := sorted(named - {*self._every_model.breakdowns}):
            known = ", ".join(self._every_model.breakdowns)
            raise ValueError(
                f"BREAKDOWNS names the unknown breakdown {unknown[0]!r}: use {ALL}, or some of "
                f"{known} (a comma list)"
            )
        return self

    @cached_property
    def _every_model(self) -> Models:
        return BUILT_IN.declaring(Document.of_variable(self.MODELS))

    @cached_property
    def models(self) -> Models:
        """Every model, with the breakdowns that are switched on."""
        if self.BREAKDOWNS == (ALL,):
            return self._every_model
        return self._every_model.only(self.BREAKDOWNS)

    @property
    def complete_after(self) -> int:
        """How many seconds after its end a bucket may be complete."""
        if _is_local(self.GRAPHQL_ENDPOINT):
            return self.GRACE_SECONDS
        return max(self.GRACE_SECONDS, self.BATCHING_WINDOW_SECONDS + _WINDOW_SECONDS)

    @property
    def hold_seconds(self) -> int:
        """How long a late batch, or a mapping that was modified, keeps buckets from completing."""
        return _LOCAL_HOLD_SECONDS if _is_local(self.GRAPHQL_ENDPOINT) else HOLD_SECONDS

    @cached_property
    def streams(self) -> dict[str, str]:
        """Model name to its table's stream: `table/label`.

        Raises:
            SettingsError: no model is known for a table.
        """
        try:
            return {
                self.models.of_table(stream.partition("/")[0], self.SOURCE_TABLES).name: stream
                for stream in self.STREAM_ARNS
            }
        except UncountableError as error:
            raise SettingsError(f"STREAM_ARNS: {error}") from error

    @property
    def tables(self) -> dict[str, str]:
        """Model name to the name of its table.

        Raises:
            SettingsError: no model is known for a table.
        """
        return {model: stream.partition("/")[0] for model, stream in self.streams.items()}

    @property
    def region(self) -> str:
        """The region to sign for: the endpoint's own, otherwise the function's."""
        return region_of(self.GRAPHQL_ENDPOINT) or self.AWS_REGION

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check the settings.

        Raises:
            SettingsError: a variable is missing or wrong; the message names each and its remedy.
        """
        try:
            return cls.model_validate(
                {name: environment[name] for name in cls.model_fields if name in environment}
            )
        except ValidationError as error:
            lines = (
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors()
            )
            raise SettingsError(
                "the function's environment is not usable; set these variables "
                f"(template.yaml does): {'; '.join(lines)}"
            ) from error


def _is_local(endpoint: str) -> bool:
    """Whether this is the tests' emulator: http is only for this machine, and no clocks differ."""
    return endpoint.startswith("http:")
