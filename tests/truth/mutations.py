"""The safeguards, each removable: a harness that still passes without one proves nothing.

Every entry replaces one small thing of the package in a worker process; docs/truth.md has the
result of running the truth test with each.
"""

from collections.abc import Callable
from typing import Any

from aggregated_metrics.adapters import hour_store as store
from aggregated_metrics.core import hours

_HOUR: Any = hours.Hour
_STORE: Any = store.HourStore


def apply(name: str) -> None:
    """Remove one safeguard from this process."""
    MUTATIONS[name]()


def _no_ledger() -> None:
    take_in = hours.Hour.take_in

    def forgetful(self: hours.Hour, minute: int, *args: Any) -> hours.Tally:
        bucket = self.get(minute)
        if bucket is not None:
            bucket.metadata = {}
        return take_in(self, minute, *args)

    _HOUR.take_in = forgetful


def _no_condition() -> None:
    write = hours.Hour._write

    def unconditional(self: hours.Hour, *args: Any) -> hours.Write:
        made = write(self, *args)
        return made if made.condition is None else made._replace(condition={})

    _HOUR._write = unconditional


def _no_mark_before_the_write() -> None:
    change = store.HourStore.change

    def unmarked(self: store.HourStore, ids: Any, change_: Any, **_: Any) -> store.Outcome:
        return change(self, ids, change_)

    _STORE.change = unmarked


def _no_second_create() -> None:
    """A lost race of two creates is taken for done."""
    send = store.HourStore._send

    def once(self: store.HourStore, part: Any) -> frozenset[str]:
        lost = send(self, part)
        return frozenset(alias for alias in lost if part[int(alias[1:])].condition is not None)

    _STORE._send = once


def _no_sequence_comparison() -> None:
    """A shard that the ledger knows is taken in, whatever its numbers say."""
    take_in = hours.Hour.take_in

    def by_name_only(
        self: hours.Hour, minute: int, shard: str, last: int, deltas: Any
    ) -> hours.Tally:
        bucket = self.get(minute)
        if bucket is not None and shard in dict(bucket.ledger):
            return hours.Tally()
        return take_in(self, minute, shard, last, deltas)

    _HOUR.take_in = by_name_only


MUTATIONS: dict[str, Callable[[], None]] = {
    "no ledger": _no_ledger,
    "no condition on update": _no_condition,
    "no pending mark before the write": _no_mark_before_the_write,
    "no second create attempt": _no_second_create,
    "no sequence comparison": _no_sequence_comparison,
}
