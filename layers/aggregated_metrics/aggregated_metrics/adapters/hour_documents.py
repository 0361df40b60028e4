"""The GraphQL documents that find, load and save buckets: an alias for each thing that is asked.

What differs between requests of one shape are the variables, not the text.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from aggregated_metrics.core.buckets import HOUR, iso
from aggregated_metrics.core.hour import Write
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.series import HourId

SUMS = f"compositeKey {' '.join(Measures._fields)} metadata complete"
LOADED = f"{SUMS} updatedAt"
FIELDS = (
    "accountId scorecardId scoreId recordType timeRangeStart timeRangeEnd numberOfMinutes "
    f"{LOADED} createdAt"
)
"""Subscribers get only what a mutation selects, so a mutation selects everything."""
BY_KEY = ("listAggregatedMetrics", "compositeKey", "String")
BY_TYPE = (
    "listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart",
    "recordTypeTimeRangeStart",
    "ModelAggregatedMetricsByAccountRecordTypeCompositeKeyInput",
)
BY_TIME = (
    "listAggregatedMetricsByAccountIdAndTimeRangeStartAndRecordType",
    "timeRangeStartRecordType",
    "ModelAggregatedMetricsByAccountTimeRangeRecordCompositeKeyInput",
)
"""The model's key and its indexes: the query's field, its argument, and the type of a key."""

type Document = tuple[str, dict[str, Any]]
"""A text, and its variables."""
type Keys = tuple[str, str, Any, str | None]
"""Keys of an account: an operator and what it compares with, and the page to go on with."""
type Span = tuple[str, str, int, int, str | None]
"""An account, a record type, epoch minutes `[first, end)`, and the page to go on with."""


def load_document(
    ids: Sequence[HourId], token: str | None = None, selected: str = LOADED
) -> Document:
    """The query that loads these hours (an alias `h<i>` each); `token` is a single one's page."""
    keys: dict[str, Keys] = {
        f"h{i}": (each.series.account_id, "beginsWith", each.prefix, token)
        for i, each in enumerate(ids)
    }
    return list_document("LoadHours", keys, selected)


def find_document(spans: Sequence[Span]) -> Document:
    """The query that finds the 60-minute buckets that start in these spans (an alias `s<i>` each).

    An index's pages are cut before they are filtered.
    """
    keys: dict[str, Keys] = {}
    for i, (account_id, name, first, end, token) in enumerate(spans):
        ends = [{"recordType": name, "timeRangeStart": iso(at)} for at in (first, end - 1)]
        keys[f"s{i}"] = (account_id, "between", ends, token)
    options = f", limit: 1000, filter: {{numberOfMinutes: {{eq: {HOUR}}}}}"
    return list_document("FindHours", keys, "scorecardId scoreId timeRangeStart", options, BY_TYPE)


def list_document(
    name: str,
    keys: Mapping[str, Keys],
    selected: str,
    options: str = "",
    index: tuple[str, str, str] = BY_KEY,
) -> Document:
    """The query `name` that lists the buckets with these keys, by the alias of each.

    `options` are further arguments of each; without a limit an API's pages have 100.
    """
    field, argument, kind = index
    accounts: dict[str, str] = {}
    variables: dict[str, Any] = {}
    aliases = []
    for i, (alias, (account_id, operator, operand, token)) in enumerate(keys.items()):
        account = accounts.setdefault(account_id, f"a{len(accounts)}")
        variables |= {account: account_id, f"k{i}": operand}
        asked = f"accountId: ${account}, {argument}: {{{operator}:$k{i}}}{options}"
        if token:
            variables[f"t{i}"] = token
            asked += f", nextToken: $t{i}"
        aliases.append(f"{alias}: {field}({asked}) {{...page}}")
    types = {"a": "String!", "k": kind, "t": "String"}
    declared = ",".join(
        f"${each}:[{kind}]" if isinstance(value, list) else f"${each}:{types[each[0]]}"
        for each, value in variables.items()
    )
    page = f"fragment page on ModelAggregatedMetricsConnection {{items {{{selected}}} nextToken}}"
    return "\n".join([f"query {name}({declared}) {{", *aliases, "}", page]), variables


def save_document(writes: Sequence[Write]) -> Document:
    """The mutation that carries out these writes in order (alias `b<i>`), and its variables."""
    variables: dict[str, Any] = {}
    for i, write in enumerate(writes):
        variables[f"i{i}"] = write.record
        if write.condition is not None:
            variables[f"c{i}"] = write.condition
    return save_text(tuple(write.is_new for write in writes)), variables


@lru_cache(maxsize=256)
def save_text(creates: tuple[bool, ...]) -> str:
    """Creates and updates: `b<i>` of the input `$i<i>`, an update under the condition `$c<i>`."""
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
