"""The rules, each removable: a harness that still passes without one proves nothing.

Every entry of MUTATIONS replaces one small thing of the engine in a worker process, and the truth
test must then fail within three seeds. Another engine brings another table, and nothing else of
tests/truth changes; the engine that knows two subtotals has to fill the one that TO_FILL names.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from aggregated_metrics.adapters import hour_store as store
from aggregated_metrics.adapters import source_rows
from aggregated_metrics.core import comparing, groups, hours, metadata
from aggregated_metrics.jobs import checker, closed_hours, reconciler

_HOUR: Any = hours.Hour
_STORE: Any = store.HourStore
_FENCE: Any = metadata.Fence
_CHECKER: Any = checker.Checker
_RECONCILER: Any = reconciler.Reconciler
_CHECKER_MODULE: Any = checker
_CLOSED_HOURS: Any = closed_hours.ClosedHours
_COMPARING: Any = comparing
_SOURCE_ROWS: Any = source_rows


def apply(name: str) -> None:
    """Remove one safeguard from this process."""
    MUTATIONS[name].remove()


def _no_ledger() -> None:
    apply = hours.Hour.apply

    def forgetful(self: hours.Hour, minute: int, *args: Any) -> hours.Tally:
        bucket = self.get(minute)
        if bucket is not None:
            bucket.metadata.ledger.clear()
        return apply(self, minute, *args)

    _HOUR.apply = forgetful


def _no_condition() -> None:
    write = hours.Hour._write

    def unconditional(self: hours.Hour, *args: Any) -> hours.Write:
        made = write(self, *args)
        return made if made.condition is None else made._replace(condition={})

    _HOUR._write = unconditional


def _no_mark_before_the_write() -> None:
    update = store.HourStore.update

    def unmarked(self: store.HourStore, ids: Any, edit: Any, **_: Any) -> store.Outcome:
        return update(self, ids, edit)

    _STORE.update = unmarked


def _no_second_create() -> None:
    """A lost race of two creates is taken for done."""
    send = store.HourStore._send

    def once(self: store.HourStore, part: Any) -> frozenset[str]:
        lost = send(self, part)
        return frozenset(alias for alias in lost if part[int(alias[1:])].condition is not None)

    _STORE._send = once


def _no_sequence_comparison() -> None:
    """A shard that the ledger knows is applied, whatever its numbers say."""
    apply = hours.Hour.apply

    def by_name_only(
        self: hours.Hour, minute: int, shard: str, last: int, deltas: Any, now: Any
    ) -> hours.Tally:
        bucket = self.get(minute)
        if bucket is not None and shard in bucket.metadata.ledger:
            return hours.Tally()
        return apply(self, minute, shard, last, deltas, now)

    _HOUR.apply = by_name_only


def _no_fence() -> None:
    """What was counted by a repair is applied again when the stream brings it."""
    _FENCE.holds = lambda *_: False


def _no_second_look() -> None:
    """What one reading finds is set, and nobody waits for another."""
    count = _CHECKER._count
    read: dict[int, Any] = {}

    def once(self: Any, group: Any, *args: Any) -> Any:
        known = read.pop(id(group), None)
        if known is None:
            known = read[id(group)] = count(self, group, *args)
        return known

    _CHECKER._count = once
    _CHECKER.wait = lambda *_: None


class _AnyVersion(str):
    """Equal to every version."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, _: object) -> bool:
        return True


def _no_version_condition() -> None:
    """A minute is set whoever has written it since it was loaded."""
    make = _COMPARING._drift

    def drift(*args: Any) -> Any:
        return replace(make(*args), version=_AnyVersion())

    _COMPARING._drift = drift


def _no_unsure_rows() -> None:
    """Rows that were updated since a check began are as good as others."""
    count = _SOURCE_ROWS._count

    def sure(counted: Any, *args: Any) -> None:
        count(counted, *args)
        counted.unsure.clear()

    _SOURCE_ROWS._count = sure


def _no_listed_range() -> None:
    """Rows are looked for in their hours' own ranges only."""
    ranges = groups.ranges_of
    _CHECKER_MODULE.ranges_of = lambda model, stored, *_: ranges(
        model, [hours.Hour(hour.id) for hour in stored]
    )


def _no_isolation() -> None:
    """The first group that fails ends the check."""

    def together(*_: Any) -> None:
        raise RuntimeError("a group failed")

    _CLOSED_HOURS._postpone = _CLOSED_HOURS._set_aside = together


def _no_lifetime() -> None:
    """Rows that have expired are taken for rows that never were."""
    _COMPARING.is_expired = lambda *_: False


def _no_reconciler() -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("it always fails")

    _RECONCILER.run = refuse


class Mutation(NamedTuple):
    """A rule that can be removed, and the smallest run that misses it.

    `repairs` is the kind of the run; `rows`, `shards` and `seed` are its size and its first seed.
    """

    remove: Callable[[], None]
    repairs: str = "off"
    rows: int = 600
    shards: int = 4
    seed: int = 5

    @property
    def size(self) -> tuple[str, int, int, int]:
        """Kind, rows, shards a table and first seed of that run."""
        return self.repairs, self.rows, self.shards, self.seed


MUTATIONS: Mapping[str, Mutation] = {
    "no ledger": Mutation(_no_ledger),
    "no condition on update": Mutation(_no_condition),
    "no pending mark before the write": Mutation(_no_mark_before_the_write),
    "no second create attempt": Mutation(_no_second_create),
    "no sequence comparison": Mutation(_no_sequence_comparison),
    "no fence": Mutation(_no_fence, "on", 80, 2, 3),
    "no second look": Mutation(_no_second_look, "on", 80, 2, 3),
    "no version condition": Mutation(_no_version_condition, "on", 80, 2, 3),
    "no unsure rows": Mutation(_no_unsure_rows, "on", 80, 2, 3),
    "no listed range": Mutation(_no_listed_range, "on", 80, 2, 3),
    "no isolation of groups": Mutation(_no_isolation, "on", 150, 2, 1),
    "no lifetime": Mutation(_no_lifetime, "on", 150, 2, 1),
    "no reconciler": Mutation(_no_reconciler, "on", 150, 2, 1),
}

TO_FILL: Mapping[str, str] = {
    # what the streams alone need
    "checkpoint": "A shard's records count once: only greater sequence numbers than a minute has.",
    "sequence numbers": "They are compared as integers, and not by the shard's name alone.",
    "condition on update": "A bucket is updated only if its version is the one that was loaded.",
    "second create": "A create that finds the key present is loaded and applied again.",
    "entry before write": "The hour's entry is there before its buckets: after any crash somebody"
    " comes to complete and to check it.",
    "as of": "Nothing is completed beyond the time up to which its model's stream is applied: with"
    " a mapping off, a bucket waits.",
    # what a repair needs
    "T": "`apply` skips what was created at or before countedUntil: a repair has counted it.",
    "one T for both": "An index check's T holds for the indexed subtotal only: the unindexed part"
    " of a delta that comes later still counts.",
    "version": "A minute is set only if its stored version was written at or before T, and is the"
    " one that was loaded.",
    "second pass": "What one pass finds is not set: a row may come between its page and the write.",
    "fingerprint": "Equal sums of two passes are not enough: two rows may change places.",
    "tail before judging": "What was updated while a part was read is read before the part is"
    " compared: a row that is touched every second is else missed by both passes.",
    "flips": "An update that moves a row in or out of its hour's range moves what it adds from one"
    " subtotal to the other, also if it changes nothing else.",
    "foreign": "apply to a minute with neither checkpoints nor countedUntil marks it foreign, and"
    " an index check defers its hour: the unindexed subtotal is not known.",
    "deferred flag": "Only a Scan deletes a deferred open check: an index check that finds the"
    " hour right does not.",
    "tokens": "An entry and an open check are deleted only if both tokens are those that were read"
    " before pass 1: a touch meanwhile keeps them.",
    "lifetime": "An hour older than its model's lifetime is never lowered: its rows have expired.",
    "isolation": "Each account and model fails alone.",
    "reconciler": "Something checks at all.",
}
"""The rules of the next design, whose patches its engine has to bring."""
