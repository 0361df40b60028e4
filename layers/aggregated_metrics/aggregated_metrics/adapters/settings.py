"""The functions' environment, validated once."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from aggregated_metrics.adapters.endpoints import is_safe, region_of
from aggregated_metrics.core.changes import model_of_stream
from aggregated_metrics.core.errors import SettingsError, UncountableError
from aggregated_metrics.core.record_types import BREAKDOWNS, MODELS, checkable

_LEAST_SETTLE = 10
"""A record's creation time has whole seconds: closer looks leave no room for a safe fence."""
_STREAM = re.compile(r"arn:[^:]+:dynamodb:[^:]*:[^:]*:table/[^/]+/stream/.+")


def _parsed(value: Any) -> Any:
    return json.loads(value or "{}") if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    """Names from a list, a JSON list or a comma list."""
    if isinstance(value, str):
        text = value.strip()
        value = json.loads(text) if text.startswith("[") else text.split(",")
        value = [name.strip() for name in value if name.strip()]
    return value


def _breakdowns(value: Any) -> Any:
    """The same; `all` stands for all."""
    names = _listed(value)
    return BREAKDOWNS if names == ["all"] else names


class Settings(BaseModel):
    """What the functions are told by their environment; field names are the variables' names."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    GRAPHQL_ENDPOINT: str
    AWS_REGION: str = "us-east-1"
    PENDING_HOURS_TABLE: str = Field(min_length=1)
    QUARANTINE_QUEUE_URL: str = ""
    FAILED_BATCHES_QUEUE_URL: str = ""
    GRACE_SECONDS: int = Field(default=120, ge=0, le=86_400)
    SETTLE_SECONDS: int = Field(default=60, ge=1, le=300)
    CHECK_ROWS_LIMIT: int = Field(default=200_000, ge=1_000)
    MAX_REQUEST_BYTES: int = Field(default=0, ge=0, le=1_000_000)
    STREAM_FUNCTION: str = ""
    STREAM_ARNS: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    BACKFILL_BUCKET: str = ""
    BACKFILL_READ_UNITS: float = Field(default=1_000, gt=0)
    BACKFILL_CONCURRENCY: int = Field(default=4, ge=1, le=40)
    SOURCE_TABLES: Annotated[dict[str, str], BeforeValidator(_parsed)] = Field(default_factory=dict)
    SOURCE_LIFETIME_DAYS: Annotated[dict[str, float], BeforeValidator(_parsed)] = Field(
        default_factory=dict
    )

    BREAKDOWNS: Annotated[frozenset[str], BeforeValidator(_breakdowns)] = frozenset()

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
    def _leaves_room_for_a_fence(cls, value: int, info: ValidationInfo) -> int:
        # http is only of this machine: there the tests' emulator runs, and nobody waits so long
        if value < _LEAST_SETTLE and not info.data.get("GRAPHQL_ENDPOINT", "").startswith("http:"):
            raise ValueError(f"must be at least {_LEAST_SETTLE}: the fence is between two looks")
        return value

    @field_validator("STREAM_ARNS")
    @classmethod
    def _are_of_tables(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [arn for arn in value if not _STREAM.fullmatch(arn)]:
            raise ValueError(f"{wrong[0]!r} is not the ARN of a table's stream")
        return value

    @field_validator("SOURCE_TABLES")
    @classmethod
    def _names_known_models(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(set(value.values()) - set(MODELS)):
            raise ValueError(
                f"names the unknown model {unknown[0]!r}: "
                f"use one of {', '.join(MODELS)} (table name to model name)"
            )
        return value

    @field_validator("BREAKDOWNS")
    @classmethod
    def _names_known_breakdowns(cls, value: frozenset[str]) -> frozenset[str]:
        if unknown := sorted(value - set(BREAKDOWNS)):
            raise ValueError(
                f"names the unknown breakdown {unknown[0]!r}: use all, or some of "
                f"{', '.join(BREAKDOWNS)} (a comma list)"
            )
        return value

    @field_validator("SOURCE_LIFETIME_DAYS")
    @classmethod
    def _is_by_model(cls, value: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(value) - set(MODELS)):
            raise ValueError(
                f"has the unknown model {unknown[0]!r}: "
                f"use {', '.join(MODELS)} (model name to days that its rows live)"
            )
        return value

    @property
    def record_types(self) -> tuple[str, ...]:
        """What a check is about if nobody says what: all that is counted and can be listed.

        Those of the tables whose streams are attached; of every model if none is known to be.
        """
        tables = [arn.split("/")[1] for arn in self.STREAM_ARNS]
        models = {self.SOURCE_TABLES.get(table) or table.partition("-")[0] for table in tables}
        return checkable(models or MODELS, self.BREAKDOWNS)

    @property
    def tables(self) -> dict[str, str]:
        """Model name to the name of its table, by the ARNs of the streams.

        Raises:
            SettingsError: no model is known for a table.
        """
        try:
            return {
                model_of_stream(arn, self.SOURCE_TABLES).name: arn.split("/")[1]
                for arn in self.STREAM_ARNS
            }
        except UncountableError as error:
            raise SettingsError(f"STREAM_ARNS: {error}") from error

    @property
    def region(self) -> str:
        """The region to sign for: the endpoint's own, else the function's."""
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
