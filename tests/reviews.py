"""A model that this project has never heard of: the one of docs/custom-models.md.

Its declaration is read from that page, so what is tried with it is what the page says.
"""

import re
from typing import Any

from aggregated_metrics.core.declarations import Document

from aggregated_metrics_cli.model_file import read_toml
from testbench.own_models import sdl
from testbench.rows import REMOVED
from testbench.templates import ROOT

PAGE = ROOT / "docs" / "custom-models.md"


def toml() -> str:
    """The page's declarations, as a user writes them."""
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(text)


def document() -> Document:
    """What the page declares."""
    return read_toml(toml())


def review(name: str = "review-1", **changes: Any) -> dict[str, Any]:
    """A row of the page's model: a quarter of a dollar, 120 words."""
    row = {
        "id": name,
        "tenantId": "tenant-1",
        "reviewedAt": "2026-11-22T10:05:30.000Z",
        "createdAt": "2026-11-22T10:01:00.000Z",
        "updatedAt": "2026-11-22T10:05:30.000Z",
        "channel": "phone",
        "state": "OK",
        "scorecardId": "scorecard-1",
        "scoreId": "score-1",
        "usage": {"total": 0.25, "detail": {"words": 120}},
    }
    return {key: value for key, value in (row | changes).items() if value is not REMOVED}


SDL = sdl(document())
"""What the application's schema has more than this project's."""
