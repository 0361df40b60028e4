"""Which scorecards and scores have counts of their own: a query for each, however many buckets.

The keys of a record type's scopes stand one after the other, each scope's buckets together. So the
first key after all keys of one scope is the next scope's: buckets are skipped, not read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.hour_documents import Keys, list_document
from aggregated_metrics.core.series import Series, key_stem

MOST_SCOPES = 500
"""At most so many of one record type are named to a person."""
_SELECTED = "recordType scorecardId scoreId"
_LAST = "~"
"""Sorts after whatever follows a scope in a key, which is a time."""


def scopes(
    client: Client, account_id: str, *record_types: str, most: int | None = MOST_SCOPES
) -> dict[str, list[Series]]:
    """The series of each of these record types that have a scope, in the order of their keys.

    One request finds the next scope of every record type.

    Args:
        client: the API.
        account_id: whose.
        record_types: such as `scoreResultsByScore`.
        most: how many of each are named; None for all.

    Raises:
        ApiError: (with this package's client) the API refused, or did not answer.
    """
    found: dict[str, list[Series]] = {name: [] for name in record_types}
    after = {name: f"{name}#" for name in record_types}
    while after:
        names = list(after)
        # "$" follows "#": no key of another record type lies between.
        keys = [Keys(account_id, {"between": [key, f"{name}$"]}) for name, key in after.items()]
        data = client.execute(*list_document("FindScopes", "s", keys, 1, _SELECTED))
        for i, name in enumerate(names):
            series = _series(account_id, data[f"s{i}"]["items"])
            if series is None or len(found[name]) == most:
                del after[name]
                continue
            found[name].append(series)
            after[name] = f"{key_stem(series)}{_LAST}"
    return found


def _series(account_id: str, items: Sequence[Mapping[str, Any]]) -> Series | None:
    """A record without a scope ends the search: it is of no breakdown."""
    if not items or not (items[0].get("scorecardId") or items[0].get("scoreId")):
        return None
    first = items[0]
    return Series(account_id, first["recordType"], first.get("scorecardId"), first.get("scoreId"))
