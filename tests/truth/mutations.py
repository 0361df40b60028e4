"""The rules, each removable: a harness that still passes without one proves nothing.

Every entry of MUTATIONS replaces one small thing of the engine in a process, and the truth test
must then fail: a random plan within three seeds, or a history that leads straight to the rule.
Another engine brings another table, and nothing else of tests/truth changes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from aggregated_metrics.adapters import consumers, hour_store, pending_hours
from aggregated_metrics.core import changes, findings, hour, metadata, totals
from aggregated_metrics.jobs import passes, recount

from tests.truth import directed
from tests.truth.plans import Plan

type History = Callable[[], list[str]]

_FINDINGS: Any = findings
_RECOUNT: Any = recount.Recount


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """What replaces an attribute by what `make` gives for it; fails if it is not there."""
    return lambda: setattr(owner, name, make(getattr(owner, name)))


# What the streams alone need ----------------------------------------------------------------------


def _without_checkpoint(real: Any) -> Any:
    def forgetful(self: hour.Hour, minute: int, *args: Any) -> None:
        bucket = self.get(minute)
        if bucket is not None:
            bucket.metadata.checkpoints.clear()
        real(self, minute, *args)

    return forgetful


def _by_name_only(real: Any) -> Any:
    """A shard that has a checkpoint is not applied, whatever its numbers say."""

    def by_name_only(self: hour.Hour, minute: int, shard: str, *args: Any) -> None:
        bucket = self.get(minute)
        if bucket is None or shard not in bucket.metadata.checkpoints:
            real(self, minute, shard, *args)

    return by_name_only


def _believing_creates(real: Any) -> Any:
    """A lost race of two creates is believed to be won."""
    return lambda self, part: frozenset(
        alias for alias in real(self, part) if not part[int(alias[1:])].is_new
    )


def _without_entry(real: Any) -> Any:
    return lambda self, ids, edit, **more: real(
        self, ids, edit, **(more | {"before_save": lambda _: None})
    )


def _as_if_all_were_applied(_: Any) -> Any:
    """Every stream is taken to be applied up to now, whatever consumes it."""
    return lambda found, counted, notes, stored, now, _: {
        name: now for model in found for name in counted[model]
    }


# What a repair needs ------------------------------------------------------------------------------


def _holds_for_both(_: Any) -> Any:
    """An index check's T holds for unindexed rows too, which it did not read."""
    return lambda self, created, *, indexed: created is not None and created <= max(self)


def _without_second_pass() -> None:
    """What one pass finds is set at once."""
    _FINDINGS.is_same = lambda *_: True
    _RECOUNT.sleep = property(lambda _: lambda _: None, lambda *_: None)


def _without_status(real: Any) -> Any:
    """An update that only moves a row in or out of its hour's range changes nothing."""

    def added(before: Any, after: Any) -> Any:
        is_same = before and after and before[:2] == after[:2]
        return () if is_same else real(before, after)

    return added


def _whichever_token(_: Any) -> Any:
    """What was read before is deleted, even if it was put again since."""
    return lambda _: {
        "ConditionExpression": "#token BETWEEN :least AND :most",
        "ExpressionAttributeNames": {"#token": "token"},
        "ExpressionAttributeValues": {":least": {"S": "!"}, ":most": {"S": "~"}},
    }


class Mutation(NamedTuple):
    """How a rule is removed, and what misses it: a history, or a random plan from its seed on."""

    remove: Callable[[], None]
    misses: History | Plan


_STREAMS = Plan(rows=150, seed=5, shards=4)

MUTATIONS: Mapping[str, Mutation] = {
    "checkpoint": Mutation(_replace(hour.Hour, "apply", _without_checkpoint), _STREAMS),
    "sequence numbers": Mutation(_replace(hour.Hour, "apply", _by_name_only), _STREAMS),
    "condition on update": Mutation(
        _replace(
            hour.Hour, "_write", lambda real: lambda *args: real(*args)._replace(condition=None)
        ),
        replace(_STREAMS, rows=500),
    ),
    "second create": Mutation(
        _replace(hour_store.HourStore, "_send", _believing_creates), _STREAMS
    ),
    "entry before the write": Mutation(
        _replace(hour_store.HourStore, "update", _without_entry), _STREAMS
    ),
    "as of": Mutation(
        _replace(consumers, "as_of", _as_if_all_were_applied),
        directed.a_mapping_that_is_off,
    ),
    "tokens": Mutation(
        _replace(pending_hours, "_under", _whichever_token), directed.a_batch_beside_a_sweep
    ),
    "T": Mutation(
        _replace(metadata.CountedUntil, "holds", lambda _: lambda *_, **__: False),
        directed.a_record_on_its_way,
    ),
    "one T for both": Mutation(
        _replace(metadata.CountedUntil, "holds", _holds_for_both),
        directed.one_repair_of_two_subtotals,
    ),
    "version": Mutation(
        _replace(hour.Bucket, "was_written_by", lambda _: lambda *_: True),
        directed.a_row_that_is_counted_before_the_save,
    ),
    "second pass": Mutation(_without_second_pass, directed.a_row_that_no_pass_has_read),
    "fingerprint": Mutation(
        _replace(
            totals,
            "fingerprint",
            lambda real: lambda _, measures, *, indexed: real("", measures, indexed=indexed),
        ),
        directed.two_rows_that_count_alike,
    ),
    "tail before judging": Mutation(
        _replace(passes.IndexPass, "_read_tail", lambda _: lambda _: True),
        directed.a_row_that_moves_while_it_is_read,
    ),
    "flips": Mutation(
        _replace(changes, "_added", _without_status),
        directed.a_row_that_leaves_the_index,
    ),
    "foreign": Mutation(
        _replace(hour.Bucket, "is_foreign", lambda _: property(lambda _: False)),
        directed.another_writers_minute,
    ),
    "deferred flag": Mutation(
        _replace(
            recount.Recount,
            "_forget",
            lambda real: lambda *args, **more: real(*args, **(more | {"scan": True})),
        ),
        directed.a_lost_unindexed_row,
    ),
    "lifetime": Mutation(
        _replace(recount.Recount, "_is_expired", lambda _: lambda *_: False),
        directed.rows_that_expired,
    ),
}
