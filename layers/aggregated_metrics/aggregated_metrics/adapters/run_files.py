"""What a run over whole tables keeps in the stack's bucket, under runs/<name>/.

    run.json                              the plan
    checks/<partition>.json               the open checks before pass 1
    <pass>/<model>/<segment>/<number>     a scanner's parts
    gathered.json                         the keys of all parts, and when each pass was
    reduced/<partition>-<number>.json     what reducers have found
    report.json, uncountable.json         the report, and samples of the rows that cannot be counted

A part holds totals, and the key where its scan continues: it is the result and the checkpoint in
one. Parts are never written twice: of two scanners of a segment one is first, and the other
continues from what that one has written.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.core.errors import RunError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_HEAD = 16_384
_LENGTH = 4
_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_MISSING = frozenset({"NoSuchKey", "404"})

type Uncountable = Mapping[str, tuple[int, Sequence[str]]]
"""Reason to the number of rows that cannot be counted, and the ids of the first of them."""


@dataclass(frozen=True, slots=True)
class Run:
    """The plan of one run.

    Attributes:
        name: the execution's.
        began: epoch seconds, before anything was read.
        repair: whether drift is repaired.
        segments: model to the number of segments that its table is scanned in.
        partitions: how many parts the totals are reduced in.
        read_units: model to the read units a second of one scanner.
        breakdowns: the breakdowns that are counted.
    """

    name: str
    began: float
    repair: bool
    segments: Mapping[str, int]
    partitions: int
    read_units: Mapping[str, float]
    breakdowns: Sequence[str] = ()

    def units(self) -> list[dict[str, Any]]:
        """The scanners' events, without the pass."""
        return [
            {"run": self.name, "model": model, "segment": segment}
            for model, number in self.segments.items()
            for segment in range(number)
        ]


def segment_prefix(run: str, number: int, model: str, segment: int) -> str:
    """What the keys of one scanner's parts begin with: of a table's segment in pass 1 or 2."""
    return f"runs/{run}/{number}/{model}/{segment:04}/"


@dataclass(frozen=True, slots=True)
class Part:
    """The head of a scanner's part.

    Attributes:
        number: from 0.
        next: DynamoDB's key to continue from; None at the segment's end.
        rows: how many were read of the whole segment so far.
        began, ended: when this part's rows were read: epoch seconds.
        uncountable: of this part.
        offsets: where each partition's block begins, and where the last one ends.
    """

    number: int
    next: Mapping[str, Any] | None
    rows: int
    began: float
    ended: float
    uncountable: Uncountable = field(default_factory=dict)
    offsets: Sequence[int] = ()

    @property
    def done(self) -> bool:
        """Whether the segment is read to its end."""
        return self.next is None

    def encode(self, blocks: Sequence[bytes]) -> bytes:
        """The part with a block for each partition: the head's length, the head, the blocks."""
        offsets = [0]
        for block in blocks:
            offsets.append(offsets[-1] + len(block))
        head = json.dumps(asdict(self) | {"offsets": offsets}, separators=(",", ":")).encode()
        return b"".join([len(head).to_bytes(_LENGTH), head, *blocks])

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """A part, of at least its head's bytes."""
        return cls(**json.loads(content[_LENGTH : _head_length(content)]))


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
        """Keep a run's plan; returns the one that was written first."""
        self._put_once(f"runs/{run.name}/run.json", json.dumps(asdict(run)).encode())
        return self.run(run.name)

    def run(self, name: str) -> Run:
        """A run's plan.

        Raises:
            RunError: it does not exist.
        """
        return Run(**self.get(name, "run.json"))

    def put_part(self, prefix: str, number: int, content: bytes) -> bool:
        """Write a part of a segment; False if another scanner was first."""
        return self._put_once(f"{prefix}{number:06}", content)

    def last_part(self, prefix: str) -> Part | None:
        """The newest part of a segment."""
        keys = list(self._keys(prefix))[-1:]
        return next((part for _, part in self.heads(keys)), None)

    def parts(self, run: str, number: int) -> list[str]:
        """The keys of all parts of a pass."""
        return list(self._keys(f"runs/{run}/{number}/"))

    def heads(self, keys: Sequence[str]) -> Iterator[tuple[str, Part]]:
        """Each part's model, and the part without its blocks."""
        parts = map_concurrently(lambda key: Part.decode(self._start(key)), keys)
        return zip((key.split("/")[3] for key in keys), parts, strict=True)

    def blocks(self, keys: Sequence[str], partition: int) -> list[bytes]:
        """The blocks of a partition in these parts (totals.unpack), some of them empty."""
        return list(map_concurrently(partial(self._block, partition), keys))

    def put(self, run: str, name: str, content: Any) -> None:
        """Write a document."""
        body = json.dumps(content).encode()
        self._client.put_object(Bucket=self._bucket, Key=f"runs/{run}/{name}", Body=body)

    def get(self, run: str, name: str) -> Any:
        """A document.

        Raises:
            RunError: it does not exist.
        """
        return self._document(f"runs/{run}/{name}")

    def reduced(self, run: str) -> Iterator[Mapping[str, Any]]:
        """What the reducers have found."""
        return map(self._document, self._keys(f"runs/{run}/reduced/"))

    def _block(self, partition: int, key: str) -> bytes:
        start = self._start(key)
        before, offsets = _head_length(start), Part.decode(start).offsets
        first, end = before + offsets[partition], before + offsets[partition + 1]
        if first == end:
            return b""
        return start[first:end] if end <= len(start) else self._bytes(key, first, end)

    def _start(self, key: str) -> bytes:
        start = self._bytes(key, 0, _HEAD)
        length = _head_length(start)
        return start if length <= len(start) else self._bytes(key, 0, length)

    def _bytes(self, key: str, first: int, end: int) -> bytes:
        answer = self._client.get_object(
            Bucket=self._bucket, Key=key, Range=f"bytes={first}-{end - 1}"
        )
        return answer["Body"].read()

    def _document(self, key: str) -> Any:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                raise RunError(f"s3://{self._bucket}/{key} does not exist") from error
            raise
        return json.loads(answer["Body"].read())

    def _keys(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                yield entry["Key"]

    def _put_once(self, key: str, content: bytes) -> bool:
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] in _EXISTS:
                return False
            raise
        return True


def _head_length(content: bytes) -> int:
    """How many bytes of an encoded part precede its blocks."""
    return _LENGTH + int.from_bytes(content[:_LENGTH])
