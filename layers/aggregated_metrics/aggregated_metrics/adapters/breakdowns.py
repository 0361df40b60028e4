"""Which scorecards and scores have their own counts: a query for each, however many buckets.

The keys of a breakdown's series stand one after the other, each series' buckets together. The first
key after all keys of one series is the next one's: buckets are skipped, not read.
"""

import re
from collections.abc import Mapping
from typing import Any

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.hour_documents import Keys, list_document
from aggregated_metrics.core.series import Series, key_stem

MOST = 500
"""At most so many series of one record type are named to a person."""
_SELECTED = "compositeKey scorecardId scoreId"
_STEM = re.compile(r"([^#]*#.+#)[^#]+#\d+", re.DOTALL)
"""A composite key up to its time; without an id it has no such stem."""
_LAST = "~"
"""Sorts after the time that follows a stem."""


def breakdowns(
    client: Client, account_id: str, *record_types: str, most: int | None = MOST
) -> dict[str, list[Series]]:
    """The series that are stored of each of these breakdowns, in the order of their keys.

    One request finds the next series of every record type.

    Args:
        client: the API.
        account_id: the account.
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
        keys: list[Keys] = [
            (account_id, {"between": [key, f"{name}$"]}, None) for name, key in after.items()
        ]
        data = client.execute(*list_document("FindBreakdowns", "s", keys, 1, _SELECTED))
        for i, name in enumerate(names):
            row = next(iter(data[f"s{i}"]["items"]), None)
            stem = _STEM.fullmatch(row["compositeKey"]) if row else None
            if row is None or stem is None or len(found[name]) == most:
                del after[name]
                continue
            found[name] += _named(Series(account_id, name, *_ids(row)), stem[1])
            after[name] = f"{stem[1]}{_LAST}"
    return found


def _ids(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return row.get("scorecardId") or None, row.get("scoreId") or None


def _named(series: Series, stem: str) -> list[Series]:
    """The series, unless another writer has changed its record's ids: its keys are others."""
    return [series] if series.scope_id and key_stem(series) == stem else []
