"""The GraphQL documents that find, load and save buckets: an alias for each thing that is asked.

Their texts depend on numbers alone, and each is made once; what varies are the variables.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from aggregated_metrics.core.buckets import HOUR, iso
from aggregated_metrics.core.hour import Write
from aggregated_metrics.core.series import HourId

LOADED = (
    "compositeKey count cost decisionCount externalAiApiCount cachedAiApiCount errorCount "
    "metadata complete updatedAt"
)
FIELDS = (
    "accountId compositeKey scorecardId scoreId recordType timeRangeStart timeRangeEnd "
    "numberOfMinutes count cost decisionCount externalAiApiCount cachedAiApiCount errorCount "
    "metadata complete createdAt updatedAt"
)
"""Subscribers get only what a mutation selects, so a mutation selects everything."""
BY_KEY = ("listAggregatedMetrics", "compositeKey", "ModelStringKeyConditionInput")
BY_TYPE = (
    "listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart",
    "recordTypeTimeRangeStart",
    "ModelAggregatedMetricsByAccountRecordTypeCompositeKeyConditionInput",
)
BY_TIME = (
    "listAggregatedMetricsByAccountIdAndTimeRangeStartAndRecordType",
    "timeRangeStartRecordType",
    "ModelAggregatedMetricsByAccountTimeRangeRecordCompositeKeyConditionInput",
)
"""The model's key and its indexes: the query's field, the condition's argument, and its type."""

type Document = tuple[str, dict[str, Any]]
"""A text, and its variables."""
type Keys = tuple[str, Mapping[str, Any], str | None]
"""Keys of an account: a condition on them, and the page to go on with."""
type Span = tuple[str, str, int, int, str | None]
"""An account, a record type, epoch minutes `[first, end)`, and the page to go on with."""


def load_document(
    ids: Sequence[HourId], token: str | None = None, selected: str = LOADED
) -> Document:
    """The query that loads these hours (an alias `h<i>` each); `token` is a single one's page."""
    keys: list[Keys] = [
        (hour.series.account_id, {"beginsWith": hour.prefix}, token) for hour in ids
    ]
    return list_document("LoadHours", "h", keys, 100, selected)


def find_document(spans: Sequence[Span]) -> Document:
    """The query that finds the 60-minute buckets that start in these spans (an alias `s<i>` each).

    An index's pages are cut before they are filtered.
    """
    keys: list[Keys] = [
        (
            account_id,
            {"between": [{"recordType": name, "timeRangeStart": iso(t)} for t in (first, end - 1)]},
            token,
        )
        for account_id, name, first, end, token in spans
    ]
    selected = "scorecardId scoreId timeRangeStart"
    where = f"filter: {{numberOfMinutes: {{eq: {HOUR}}}}}, "
    return list_document("FindHours", "s", keys, 1000, selected, index=BY_TYPE, where=where)


def list_document(
    name: str,
    alias: str,
    keys: Sequence[Keys],
    limit: int,
    selected: str,
    *,
    index: tuple[str, str, str] = BY_KEY,
    where: str = "",
) -> Document:
    """The query `name` that lists buckets by their keys (an alias and a number each).

    At most `limit` of each are read; `where` may filter them.
    """
    variables: dict[str, Any] = {}
    for i, (account_id, condition, token) in enumerate(keys):
        variables |= {f"a{i}": account_id, f"k{i}": condition}
        if token:
            variables[f"t{i}"] = token
    return _list_text(name, alias, len(keys), f"{where}limit: {limit}", selected, index), variables


def save_document(writes: Sequence[Write]) -> Document:
    """The mutation that carries out these writes in order (alias `b<i>`), and its variables."""
    variables: dict[str, Any] = {}
    for i, write in enumerate(writes):
        variables[f"i{i}"] = write.record
        if write.condition is not None:
            variables[f"c{i}"] = write.condition
    return _save_text(tuple(write.is_new for write in writes)), variables


@lru_cache(maxsize=128)
def _list_text(
    name: str, alias: str, number: int, limit: str, selected: str, index: tuple[str, str, str]
) -> str:
    field, argument, condition = index
    declared = [f"$a{i}: String!, $k{i}: {condition}, $t{i}: String" for i in range(number)]
    aliases = "\n".join(
        f"{alias}{i}: {field}(accountId: $a{i}, {argument}: $k{i}, {limit}, nextToken: $t{i}) "
        f"{{ items {{ {selected} }} nextToken }}"
        for i in range(number)
    )
    return f"query {name}({', '.join(declared)}) {{\n{aliases}\n}}"


@lru_cache(maxsize=256)
def _save_text(creates: tuple[bool, ...]) -> str:
    declared, aliases = [], []
    for i, is_new in enumerate(creates):
        kind, condition = ("create", "") if is_new else ("update", f", condition: $c{i}")
        declared.append(f"$i{i}: {kind.capitalize()}AggregatedMetricsInput!")
        declared += [f"$c{i}: ModelAggregatedMetricsConditionInput"] * (not is_new)
        aliases.append(f"b{i}: {kind}AggregatedMetrics(input: $i{i}{condition}) {{ ...bucket }}")
    return (
        f"mutation SaveHours({', '.join(declared)}) {{\n" + "\n".join(aliases) + "\n}\n"
        f"fragment bucket on AggregatedMetrics {{ {FIELDS} }}"
    )
