"""One bucket of the API: what is stored, and what is to be. Pure."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.measures import ZERO, Measures, plus
from aggregated_metrics.core.metadata import MEMORY_SECONDS, Metadata

_BEYOND = "beyond"
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Bucket:
    """One bucket as it is known here.

    Attributes:
        start: epoch minute.
        size: minutes.
        measures: its exact sums, which may be more than its fields can show, or less.
        complete: whether nothing more is expected.
        version: `updatedAt` exactly as loaded or written; None while it is not stored.
        given: the record's metadata as loaded; only a bucket that is changed has to read it.
        created: `createdAt` as loaded; None while it is not stored, or where it is not known.
        dirty: whether it differs from what is stored.
        names: of the measures that are kept in metadata.
    """

    start: int
    size: int
    measures: Measures = ZERO
    complete: bool = False
    version: str | None = None
    given: Any = None
    dirty: bool = False
    parsed: Metadata | None = None
    created: str | None = None
    names: tuple[str, ...] = ()

    @property
    def metadata(self) -> Metadata:
        """The record's metadata, ledger included; to be changed in place."""
        if self.parsed is None:
            self.parsed = Metadata.parse(self.given, self.names)
        return self.parsed

    @property
    def metadata_text(self) -> str | None:
        """The same as AWSJSON; as it came, where nobody has read it."""
        if self.parsed is None and (self.given is None or isinstance(self.given, str)):
            return self.given
        return self.metadata.as_text()

    @property
    def end(self) -> int:
        """The first epoch minute after it."""
        return self.start + self.size

    def elapsed(self, now: datetime, grace: int) -> bool:
        """Whether its range and `grace` seconds more are over."""
        return self.due(grace) <= now.timestamp()

    def due(self, grace: int) -> int:
        """When it elapses, grace included: epoch seconds."""
        return self.end * 60 + grace

    @property
    def written(self) -> datetime:
        """When its version was written."""
        return buckets.parse(self.version or "")

    def next_version(self, now: datetime) -> str:
        """Always greater than the one loaded; where no datetime is (year 9999), another one."""
        moment = now
        if self.version is not None:
            with suppress(OverflowError):
                moment = max(now, self.written + _MICROSECOND)
        text = moment.astimezone(UTC).isoformat(timespec="microseconds")
        return text.replace("+00:00", "Z")

    def is_forgotten(self, now: datetime) -> bool:
        """Whether the stream remembers nothing that can have been in it when it was written."""
        return self.written < now - timedelta(seconds=MEMORY_SECONDS)

    def is_older(self, moment: datetime) -> bool:
        """Whether it was stored before; one of an unknown age may have been."""
        if self.version is None:
            return False
        return self.created is None or buckets.parse(self.created) < moment


def bucket_of(start: int, size: int, row: Mapping[str, Any], names: tuple[str, ...]) -> Bucket:
    """A bucket as the API gives it, with what its fields could not show.

    `names` are the measures that its record type keeps in metadata.
    """
    bucket = Bucket(
        start,
        size,
        complete=bool(row["complete"]),
        version=row["updatedAt"],
        given=row.get("metadata"),
        created=row.get("createdAt"),
        names=names,
    )
    extra = bucket.metadata.extra if names else ()
    bucket.measures = Measures(*[row.get(name) or 0 for name in Measures._fields], *extra)
    if _BEYOND in str(bucket.given):
        bucket.measures = plus(bucket.measures, bucket.metadata.beyond)
    return bucket
