"""A run over whole tables: what is scanned, what is reduced, and what the scanners put down. Pure.

A run has two looks. In each, every table is read in segments; a scanner puts down what it has
counted in *parts*, numbered from 0. A part also says where the scan goes on, so it is the result
and the checkpoint in one, and it is written once.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.metadata import Fence
from aggregated_metrics.core.ranges import repair_of
from aggregated_metrics.core.record_types import MODELS, model_of
from aggregated_metrics.core.row_sums import Groups, pack, partition_of
from aggregated_metrics.core.source_models import Model

LOOKS = (1, 2)
SAMPLED = 100
"""So many rows of each reason are named that cannot be counted."""
_ROWS_A_SEGMENT = 100_000
_ROWS_A_PARTITION = 100_000
_MOST_SEGMENTS = 64
_PARTITIONS = (4, 256)
_ASKED = ("run", "repair", "models", "segments", "partitions")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_LENGTH = 4


@dataclass(frozen=True, slots=True)
class Run:
    """What one run does.

    Attributes:
        name: its name, that of the execution.
        began: epoch seconds, before anything was read.
        repair: whether what is wrong is set right.
        segments: model to the number of segments that its table is read in.
        partitions: how many parts are reduced.
        read_units: model to the read units a second that one scanner may use.
        items: model to about how many rows there are.
        breakdowns: the record types by scorecard or score that are counted too.
    """

    name: str
    began: float
    repair: bool
    segments: Mapping[str, int]
    partitions: int
    read_units: Mapping[str, float]
    items: Mapping[str, int]
    breakdowns: Sequence[str] = ()

    def model(self, name: str) -> Model:
        """How rows of a model are counted in this run, in both looks alike."""
        return MODELS[name].only(self.breakdowns)

    def counts(self, record_type: str) -> bool:
        """Whether the run counts a record type; it does not if nobody does."""
        try:
            name = model_of(record_type).name
        except KeyError:
            return False
        return name in self.segments and record_type in self.model(name).counts_into

    def units(self, look: int) -> list[dict[str, Any]]:
        """What the scanners of a look are told."""
        return [
            {"run": self.name, "look": look, "model": model, "segment": segment}
            for model, number in self.segments.items()
            for segment in range(number)
        ]

    def as_json(self) -> str:
        """To be kept."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """As it was kept."""
        return cls(**json.loads(text))


class Segment(NamedTuple):
    """One scanner's work."""

    run: str
    look: int
    model: str
    number: int


class Table(NamedTuple):
    """What is known of a source table: about how many rows, and how fast it may be read."""

    items: int
    provisioned: int | None = None


def plan_run(
    asked: Mapping[str, Any],
    tables: Mapping[str, Table],
    *,
    began: float,
    read_units: float,
    concurrency: int,
    breakdowns: Collection[str] = (),
) -> Run:
    """A run as it is asked for: {"run", "repair"?, "models"?, "segments"?, "partitions"?}.

    `read_units` are for a table, all scanners together; of a table with provisioned capacity no
    more than a quarter is used.

    Raises:
        EventError: a field is missing, wrong or not known.
    """
    # A range with a misspelt name would else be all tables, and be repaired.
    if unknown := [name for name in asked if name not in _ASKED]:
        raise EventError(
            f"{unknown[0]!r} is not known: a run takes {', '.join(_ASKED)}; "
            "a range of one account takes accountId, start and end"
        )
    name = asked.get("run")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise EventError(f"run is {name!r}, not the name of an execution")
    models = _models(asked.get("models"), tables)
    repair = repair_of(asked, otherwise=True)
    segments = {
        model: _number(asked, "segments")
        or min(_MOST_SEGMENTS, max(1, -(-tables[model].items // _ROWS_A_SEGMENT)))
        for model in models
    }
    least, most = _PARTITIONS
    rows = sum(tables[model].items for model in models)
    return Run(
        name,
        began,
        repair,
        segments,
        _number(asked, "partitions") or min(most, max(least, -(-rows // _ROWS_A_PARTITION))),
        {
            model: _rate(tables[model], read_units) / min(concurrency, segments[model])
            for model in models
        },
        {model: tables[model].items for model in models},
        sorted(breakdowns),
    )


def _rate(table: Table, read_units: float) -> float:
    return read_units if table.provisioned is None else min(read_units, table.provisioned / 4)


def _models(asked: Any, tables: Mapping[str, Table]) -> list[str]:
    if not asked:
        return [model for model in MODELS if model in tables]
    if not isinstance(asked, Sequence) or isinstance(asked, str):
        raise EventError(f"models is {asked!r}, not a list such as {list(tables)[:2]}")
    if unknown := [model for model in asked if model not in tables]:
        raise EventError(f"no table of {unknown[0]!r} is attached: use {', '.join(tables)}")
    return list(dict.fromkeys(asked))


def _number(asked: Mapping[str, Any], name: str) -> int | None:
    value = asked.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= 1000:  # noqa: PLR2004 - said in the message
        raise EventError(f"{name} is {value!r}, not a number from 1 to 1000")
    return value


def segment_of(event: Any) -> Segment:
    """The segment that an event names.

    Raises:
        EventError: it names none.
    """
    try:
        segment = Segment(
            str(event["run"]), int(event["look"]), str(event["model"]), int(event["segment"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EventError(f"run, look, model and segment are needed ({error})") from error
    if segment.look not in LOOKS or segment.model not in MODELS:
        raise EventError(f"{segment} is no segment of a run")
    return segment


@dataclass(frozen=True, slots=True)
class Part:
    """What a scanner has put down once; numbers are of the whole segment so far.

    Attributes:
        number: from 0.
        next: DynamoDB's key to go on from; None at the segment's end.
        rows, units: rows read, and read units consumed.
        began, ended: when this part's rows were read: epoch seconds.
        uncountable: reason to how many rows, and the ids of the first of them.
        offsets: where each partition's block begins, and where the last one ends.
    """

    number: int
    next: Mapping[str, Any] | None
    rows: int
    units: float
    began: float
    ended: float
    uncountable: Mapping[str, tuple[int, Sequence[str]]] = field(default_factory=dict)
    offsets: Sequence[int] = ()

    @property
    def done(self) -> bool:
        """Whether the segment is read to its end."""
        return self.next is None


def encode(part: Part, groups: Groups, partitions: int) -> bytes:
    """A part with its groups: the head's length, the head, and a block for each partition."""
    split: list[Groups] = [{} for _ in range(partitions)]
    for key, sums in groups.items():
        split[partition_of(key.account_id, key.day, partitions)][key] = sums
    blocks = [pack(each) if each else b"" for each in split]
    offsets = [0]
    for block in blocks:
        offsets.append(offsets[-1] + len(block))
    head = json.dumps(asdict(part) | {"offsets": offsets}, separators=(",", ":")).encode()
    return b"".join([len(head).to_bytes(_LENGTH), head, *blocks])


def head_length(content: bytes) -> int:
    """How many bytes of an encoded part come before its blocks."""
    return _LENGTH + int.from_bytes(content[:_LENGTH])


def decode_head(content: bytes) -> Part:
    """A part, from at least `head_length` bytes of it."""
    given = json.loads(content[_LENGTH : head_length(content)])
    given["uncountable"] = {name: (n, ids) for name, (n, ids) in given["uncountable"].items()}
    return Part(**given)


class Reading(NamedTuple):
    """When a look at one table was taken: epoch seconds."""

    began: float
    ended: float


def fence_of(run: Run, first: Reading, second: Reading, settle: float) -> Fence:
    """The fence between two looks at a whole table.

    Raises:
        EventError: the looks are not so far apart as they must be.
    """
    if second.began - first.ended < settle:
        raise EventError(
            f"the second look began {second.began - first.ended:.1f} s after the first had ended: "
            f"SETTLE_SECONDS is {settle}"
        )
    return Fence.between(run.began, first.ended, second.began, second.ended, read=None)


def add_uncountable(
    found: dict[str, tuple[int, Sequence[str]]],
    more: Mapping[str, tuple[int, Sequence[str]]],
) -> None:
    """Add rows that cannot be counted, by reason; only the first of each are named."""
    for reason, (number, ids) in more.items():
        before, named = found.get(reason, (0, []))
        found[reason] = (before + number, [*named, *ids][:SAMPLED])


def reason_of(error: Exception) -> str:
    """Why a row cannot be counted, without what is the row's own."""
    return _QUOTED.sub("…", str(error))
