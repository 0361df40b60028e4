"""The functions' environment, validated once."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from aggregated_metrics.adapters.endpoints import is_safe, region_of
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.record_types import BREAKDOWNS, MODELS, checkable, own_models


def _parsed(value: Any) -> Any:
    return json.loads(value or "{}") if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    """Names from a list, a JSON list or a comma list; `all` stands for all."""
    if isinstance(value, str):
        text = value.strip()
        value = json.loads(text) if text.startswith("[") else text.split(",")
        value = [name.strip() for name in value if name.strip()]
    return BREAKDOWNS if value == ["all"] else value


def _models(value: Any) -> Any:
    """The models whose streams come in, from a comma list; the third declared one is Own3."""
    if not isinstance(value, str):
        return value
    own = {f"Own{i}": name for i, name in enumerate(own_models(), 1)}
    names = (name.strip() for name in value.split(","))
    return [own.get(name, name) for name in names if name]


class Settings(BaseModel):
    """What the functions are told by their environment; field names are the variables' names."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    GRAPHQL_ENDPOINT: str
    AWS_REGION: str = "us-east-1"
    PENDING_HOURS_TABLE: str = Field(min_length=1)
    QUARANTINE_QUEUE_URL: str = ""
    GRACE_SECONDS: int = Field(default=120, ge=0, le=86_400)
    SETTLE_SECONDS: int = Field(default=60, ge=1, le=300)
    CHECK_ROWS_LIMIT: int = Field(default=200_000, ge=1_000)
    SOURCE_TABLES: Annotated[dict[str, str], BeforeValidator(_parsed)] = Field(default_factory=dict)
    SOURCE_LIFETIME_DAYS: Annotated[dict[str, float], BeforeValidator(_parsed)] = Field(
        default_factory=dict
    )

    COUNTED_MODELS: Annotated[frozenset[str], BeforeValidator(_models)] = frozenset(MODELS)
    BREAKDOWNS: Annotated[frozenset[str], BeforeValidator(_listed)] = frozenset()

    @field_validator("GRAPHQL_ENDPOINT")
    @classmethod
    def _is_safe_endpoint(cls, value: str) -> str:
        if is_safe(value):
            return value
        raise ValueError(
            "must be the https:// URL of the GraphQL API (amplify_outputs.json: data.url); "
            "http:// is only for the loopback and the container host"
        )

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
        """What a check is about if nobody says what: all that is counted and can be listed."""
        return checkable(self.COUNTED_MODELS, self.BREAKDOWNS)

    @property
    def region(self) -> str:
        """The region to sign for: the endpoint's own, else the function's."""
        return region_of(self.GRAPHQL_ENDPOINT) or self.AWS_REGION

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check the settings.

        Raises:
            SettingsError: a variable is missing or wrong; the message names each and its cure.
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
