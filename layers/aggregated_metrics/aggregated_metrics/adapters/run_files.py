"""What a run over whole tables keeps in the stack's bucket, under runs/<name>/.

    run.json                              the plan
    <look>/<model>/<segment>/<number>     a scanner's parts (runs.encode)
    gathered.json                         which parts there are, and the fences
    reduced/<partition>-<number>.json     what a reducer has done
    report.json, uncountable.json         what it all came to

Parts are never written twice: of two scanners of the same segment one is first, and the other goes
on from what that one has put down.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from aggregated_metrics.adapters.concurrency import map_concurrently
from aggregated_metrics.core.errors import RunError
from aggregated_metrics.core.runs import Part, Run, Segment, decode_head, head_length

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_HEAD = 16_384
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_MISSING = frozenset({"NoSuchKey", "404"})


class RunFiles:
    """The files of runs.

    Args:
        client: boto3's S3 client.
        bucket: the bucket's name.
    """

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def begin(self, run: Run) -> Run:
        """Keep a run's plan; returns the one that was there first."""
        key = f"runs/{run.name}/run.json"
        self._put_once(key, run.as_json().encode())
        return self.run(run.name)

    def run(self, name: str) -> Run:
        """A run's plan.

        Raises:
            RunError: there is none.
        """
        return Run.from_json(self._text(f"runs/{name}/run.json"))

    def put_part(self, segment: Segment, number: int, content: bytes) -> bool:
        """Put a part down; False if another scanner was first."""
        return self._put_once(f"{_prefix(segment)}{number:06}", content)

    def last_part(self, segment: Segment) -> Part | None:
        """The newest part of a segment."""
        keys = list(self._keys(_prefix(segment)))
        return self.head(keys[-1]) if keys else None

    def parts(self, run: str, look: int) -> Iterator[tuple[str, str]]:
        """Every part of a look: model and key, segment by segment in their order."""
        for key in self._keys(f"runs/{run}/{look}/"):
            yield key.split("/")[3], key

    def head(self, key: str) -> Part:
        """A part without its blocks."""
        return decode_head(self._start(key))

    def blocks(self, keys: Sequence[str], partition: int) -> list[bytes]:
        """What parts hold of a partition, packed (row_sums.unpack); empty if nothing."""
        return list(map_concurrently(partial(self._block, partition), keys))

    def _block(self, partition: int, key: str) -> bytes:
        start = self._start(key)
        before, offsets = head_length(start), decode_head(start).offsets
        first, end = before + offsets[partition], before + offsets[partition + 1]
        if first == end:
            return b""
        return start[first:end] if end <= len(start) else self._bytes(key, first, end)

    def put(self, run: str, name: str, content: Any) -> None:
        """Keep a document."""
        body = json.dumps(content).encode()
        self._client.put_object(Bucket=self._bucket, Key=f"runs/{run}/{name}", Body=body)

    def get(self, run: str, name: str) -> Any:
        """A document.

        Raises:
            RunError: there is none.
        """
        return json.loads(self._text(f"runs/{run}/{name}"))

    def reduced(
        self, run: str, known: Collection[str] = ()
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What the reducers have done, by key; nothing of what is known already."""
        for key in self._keys(f"runs/{run}/reduced/"):
            if key not in known:
                yield key, json.loads(self._text(key))

    def _start(self, key: str) -> bytes:
        start = self._bytes(key, 0, _HEAD)
        length = head_length(start)
        return start if length <= len(start) else self._bytes(key, 0, length)

    def _bytes(self, key: str, first: int, end: int) -> bytes:
        answer = self._client.get_object(
            Bucket=self._bucket, Key=key, Range=f"bytes={first}-{end - 1}"
        )
        return answer["Body"].read()

    def _text(self, key: str) -> str:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                raise RunError(f"s3://{self._bucket}/{key} is not there") from error
            raise
        return answer["Body"].read().decode()

    def _keys(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                yield entry["Key"]

    def _put_once(self, key: str, content: bytes) -> bool:
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] in _TAKEN:
                return False
            raise
        return True


def _prefix(segment: Segment) -> str:
    return f"runs/{segment.run}/{segment.look}/{segment.model}/{segment.number:04}/"
