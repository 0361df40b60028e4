"""What a run over whole tables keeps in the stack's bucket, under runs/<name>/.

    run.json                              the plan
    blocks/<any name>                     the totals of a part, by partition
    <pass>/<model>/<segment>/<number>     a scanner's parts
    reduced/<partition>-<number>.json     what reducers have found
    report.json                           the report

A part names its blocks, and the key where its scan continues: it is the result and the checkpoint
in one. Parts are never written twice: of two scanners of a segment one is first, and the other
continues from what that one has written.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import ClientError

from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.core.errors import RunError, SettingsError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


@dataclass(frozen=True, slots=True)
class Run:
    """The plan of one run, which has its execution's name.

    By model: in how many `segments` its table is scanned, and the `read_units` a second of one
    scanner. The totals are reduced in so many `partitions`. `checks` are the tokens of the open
    checks before pass 1.
    """

    name: str
    began: float
    repair: bool
    segments: Mapping[str, int]
    partitions: int
    read_units: Mapping[str, float]
    breakdowns: Sequence[str]
    checks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Part:
    """What a scanner has read of its segment at once.

    `next` is DynamoDB's key to continue from, None at the segment's end; `rows` counts those of the
    whole segment so far, `uncountable` the others by reason. `blocks` is the key of the totals,
    `offsets` where each partition's block begins there, and where the last one ends.
    """

    model: str
    number: int
    next: Mapping[str, Any] | None
    rows: int
    began: float
    ended: float
    uncountable: Mapping[str, int]
    blocks: str = ""
    offsets: Sequence[int] = ()

    @property
    def done(self) -> bool:
        """Whether the segment is read to its end."""
        return self.next is None


class RunFiles:
    """The files of runs; RunError if one does not exist (any more)."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        if not bucket:
            raise SettingsError("BACKFILL_BUCKET is empty: name the bucket of template.yaml")
        self._client = client
        self._bucket = bucket

    def run(self, name: str) -> Run:
        """A run's plan."""
        return Run(**self.get(name, "run.json"))

    def put_part(self, run: str, place: str, part: Part, blocks: Sequence[bytes]) -> bool:
        """Write a part, a block a partition; False if another scanner was first.

        `place` is its pass, model and segment: `1/Item/0000`.
        """
        name, offsets = f"blocks/{uuid4().hex}", [*accumulate(map(len, blocks), initial=0)]
        self._put(run, name, b"".join(blocks))
        head = asdict(replace(part, blocks=name, offsets=offsets))
        try:
            self._put(run, f"{place}/{part.number:06}", json.dumps(head).encode(), IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] in _EXISTS:
                return False
            raise
        return True

    def last_part(self, run: str, place: str) -> Part | None:
        """The newest part of a segment."""
        names = self._names(run, f"{place}/")
        return Part(**self.get(run, names[-1])) if names else None

    def parts(self, run: str, number: int) -> list[Part]:
        """All parts of a pass."""
        names = self._names(run, f"{number}/")
        return [Part(**part) for part in map_concurrently(partial(self.get, run), names)]

    def blocks(self, run: str, parts: Sequence[Part], partition: int) -> list[bytes]:
        """The blocks of a partition in some parts (totals.unpack)."""
        return list(map_concurrently(partial(self._block, run, partition), parts))

    def put(self, run: str, name: str, content: Any) -> None:
        """Write a document."""
        self._put(run, name, json.dumps(content).encode())

    def get(self, run: str, name: str) -> Any:
        """A document."""
        try:
            return json.loads(self._get(run, name))
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            place = f"s3://{self._bucket}/runs/{run}/{name}"
            raise RunError(f"{place} does not exist: start the run again") from error

    def reduced(self, run: str) -> list[Any]:
        """What the reducers have found."""
        return [self.get(run, name) for name in self._names(run, "reduced/")]

    def _block(self, run: str, partition: int, part: Part) -> bytes:
        first, end = part.offsets[partition : partition + 2]
        return self._get(run, part.blocks, Range=f"bytes={first}-{end - 1}") if first < end else b""

    def _get(self, run: str, name: str, **more: Any) -> bytes:
        key = f"runs/{run}/{name}"
        return self._client.get_object(Bucket=self._bucket, Key=key, **more)["Body"].read()

    def _put(self, run: str, name: str, body: bytes, **more: Any) -> None:
        key = f"runs/{run}/{name}"
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body, **more)

    def _names(self, run: str, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._bucket, Prefix=f"runs/{run}/{prefix}")
        keys = [entry["Key"] for page in found for entry in page.get("Contents", ())]
        return [key.removeprefix(f"runs/{run}/") for key in keys]
