"""The rules, each removable: a harness that still passes without one proves nothing.

Every entry of MUTATIONS replaces one small thing of the engine in a worker process, and the truth
test must then fail within three seeds. Another engine brings another table, and nothing else of
tests/truth changes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any, NamedTuple

from aggregated_metrics import wiring
from aggregated_metrics.adapters import hour_store, pending_hours
from aggregated_metrics.core import changes, findings, hour, metadata, totals
from aggregated_metrics.jobs import passes, reconciler, recount

_CHANGES: Any = changes
_FINDINGS: Any = findings
_HOUR: Any = hour.Hour
_BUCKET: Any = hour.Bucket
_METADATA: Any = metadata
_PASS: Any = passes.IndexPass
_PENDING: Any = pending_hours
_RECOUNT: Any = recount
_STORE: Any = hour_store.HourStore
_TOTALS: Any = totals
_WIRING: Any = wiring


def apply(name: str) -> None:
    """Remove one rule from this process."""
    MUTATIONS[name].remove()


# What the streams alone need ----------------------------------------------------------------------


def _no_checkpoint() -> None:
    real = hour.Hour.apply

    def forgetful(self: hour.Hour, minute: int, *args: Any) -> None:
        bucket = self.get(minute)
        if bucket is not None:
            bucket.metadata.checkpoints.clear()
        real(self, minute, *args)

    _HOUR.apply = forgetful


def _no_sequence_numbers() -> None:
    """A shard that has a checkpoint is not applied, whatever its numbers say."""
    real = hour.Hour.apply

    def by_name_only(self: hour.Hour, minute: int, shard: str, *args: Any) -> None:
        bucket = self.get(minute)
        if bucket is not None and shard in bucket.metadata.checkpoints:
            return
        real(self, minute, shard, *args)

    _HOUR.apply = by_name_only


def _no_condition() -> None:
    real = hour.Hour._write

    def unconditional(self: hour.Hour, *args: Any) -> hour.Write:
        return real(self, *args)._replace(condition=None)

    _HOUR._write = unconditional


def _no_second_create() -> None:
    """A lost race of two creates is believed to be won."""
    real = hour_store.HourStore._send

    def once(self: Any, part: Any) -> frozenset[str]:
        return frozenset(alias for alias in real(self, part) if not part[int(alias[1:])].is_new)

    _STORE._send = once


def _no_entry_before_the_write() -> None:
    real = hour_store.HourStore.update

    def untouched(self: Any, ids: Any, edit: Any, **more: Any) -> hour_store.Outcome:
        return real(self, ids, edit, **(more | {"before_save": lambda _: None}))

    _STORE.update = untouched


def _no_as_of() -> None:
    """Buckets are completed by the clock alone."""
    _WIRING._complete_until = lambda _: lambda _: inf


# What a repair needs ------------------------------------------------------------------------------


def _no_t() -> None:
    """What a repair has counted is applied again when the stream brings it."""
    _METADATA.CountedUntil.holds = lambda *_, **__: False


def _one_t_for_both() -> None:
    """An index check's T holds for unindexed rows too, which it did not read."""

    def holds(self: Any, created: float | None, *, indexed: bool) -> bool:
        del indexed
        return created is not None and created <= max(self)

    _METADATA.CountedUntil.holds = holds


def _no_version() -> None:
    """A minute is set whoever has written it after T."""
    _BUCKET.was_written_by = lambda *_: True


def _no_second_pass() -> None:
    """What one pass finds is set at once."""

    def at(self: Any, target: Any) -> Any:
        return self.second.at(target) or self.zero

    _FINDINGS.IndexCounted.at = at
    _RECOUNT.Recount.sleep = property(lambda _: lambda _: None, lambda *_: None)


def _no_fingerprint() -> None:
    """Passes are equal if their sums are."""
    real = totals.fingerprint
    _TOTALS.fingerprint = lambda _, measures, *, indexed: real("", measures, indexed=indexed)


def _no_tail() -> None:
    """Hours are compared before what was updated meanwhile has been read."""
    _PASS._read_tail = lambda _: None


def _no_flips() -> None:
    """An update that only moves a row in or out of its hour's range changes nothing."""
    real = changes._Stream._replace

    def replaced(self: Any, number: int, created: Any, before: Any, after: Any) -> Any:
        is_same = after is not None and before[:2] == after[:2]
        return None if is_same else real(self, number, created, before, after)

    _CHANGES._Stream._replace = replaced


def _no_foreign() -> None:
    """Another writer's sums are believed to have no unindexed part."""
    _BUCKET.is_foreign = property(lambda _: False)


def _no_deferred_flag() -> None:
    """A check through an index deletes deferred open checks, too."""
    real = recount.Recount._forget

    def forget(self: Any, *args: Any, scan: bool = False) -> None:
        del scan
        real(self, *args, scan=True)

    _RECOUNT.Recount._forget = forget


def _no_tokens() -> None:
    """What was read before is deleted, whoever has put it again since."""

    def anyway(_: str) -> dict[str, Any]:
        return {
            "ConditionExpression": "attribute_exists(#token)",
            "ExpressionAttributeNames": {"#token": "token"},
            "ExpressionAttributeValues": {},
        }

    _PENDING._under = anyway


def _no_lifetime() -> None:
    """Rows that have expired are believed never to have been."""
    _RECOUNT.Recount._is_expired = lambda *_: False


def _no_isolation() -> None:
    """The first account that fails ends the check."""

    @contextmanager
    def together(*_: Any) -> Iterator[None]:
        yield

    _RECOUNT._alone = together


def _no_reconciler() -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("it always fails")

    reconciler.Reconciler.run = refuse  # type: ignore[method-assign, assignment]


class Mutation(NamedTuple):
    """A rule that can be removed, and the smallest run that misses it.

    `repairs` is the kind of the run; `rows`, `shards` and `seed` are its size and its first seed,
    `hardships` what it has to survive.
    """

    remove: Callable[[], None]
    repairs: str = "off"
    rows: int = 600
    shards: int = 4
    seed: int = 5
    hardships: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[str, int, int, int, tuple[str, ...]]:
        """Kind, rows, shards a table, first seed and hardships of that run."""
        return self.repairs, self.rows, self.shards, self.seed, self.hardships


MUTATIONS: Mapping[str, Mutation] = {
    "no checkpoint": Mutation(_no_checkpoint),
    "no sequence numbers": Mutation(_no_sequence_numbers),
    "no condition on update": Mutation(_no_condition),
    "no second create": Mutation(_no_second_create),
    "no entry before the write": Mutation(_no_entry_before_the_write),
    "no as of": Mutation(_no_as_of, "on", 150, 2, 1),
    "no T": Mutation(_no_t, "on", 80, 2, 3),
    "one T for both": Mutation(_one_t_for_both, "on", 80, 2, 3, ("flips",)),
    "no version": Mutation(_no_version, "on", 80, 2, 3),
    "no second pass": Mutation(_no_second_pass, "on", 80, 2, 3),
    "no fingerprint": Mutation(_no_fingerprint, "on", 80, 2, 3),
    "no tail before judging": Mutation(_no_tail, "on", 80, 2, 3, ("touched",)),
    "no flips": Mutation(_no_flips, "on", 80, 2, 3, ("flips",)),
    "no foreign": Mutation(_no_foreign, "on", 80, 2, 3, ("foreign",)),
    "no deferred flag": Mutation(_no_deferred_flag, "on", 80, 2, 3, ("flips",)),
    "no tokens": Mutation(_no_tokens, "on", 80, 2, 3),
    "no lifetime": Mutation(_no_lifetime, "on", 150, 2, 1),
    "no isolation": Mutation(_no_isolation, "on", 150, 2, 1),
    "no reconciler": Mutation(_no_reconciler, "on", 150, 2, 1),
}
