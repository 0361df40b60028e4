"""The known best elsewhere, as arithmetic: recount the last hours at every batch.

For each record type every bucket of 1, 5, 15 and 60 minutes is written with a request of its own;
the rows are listed through the API, a thousand a request. Nobody's code is here.
"""

from collections.abc import Mapping

BUCKETS_AN_HOUR = 60 + 12 + 4 + 1
ROWS_A_PAGE = 1000


def requests(*, record_types: int, hours: int, rows: Mapping[str, int]) -> int:
    """Requests for one batch: every page of each model's rows, and every bucket."""
    pages = sum(max(1, -(-number // ROWS_A_PAGE)) for number in rows.values())
    return pages + record_types * hours * BUCKETS_AN_HOUR
