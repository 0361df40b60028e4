"""backfill: repairs a long range, the newest day first, and says after each where to go on."""

from argparse import Namespace
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.ranges import Range
from aggregated_metrics.jobs.checker import Findings

from aggregated_metrics_cli.check import Silent, check_range, parsed_range, report
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.output import Output


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Repair the range; returns the exit code."""
    process = deployment.process
    asked = parsed_range(options, process.settings.attached)
    if output.as_json:
        checked = check_range(process, asked, _Lines(output), repair=True)
    else:
        with output.display().Bars(output.console(output.err), each_day=True) as bars:
            checked = check_range(process, asked, bars, repair=True)
    return report(checked, output, repair=True)


class _Lines(Silent):
    """Writes a line of JSON when a day is done."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def day(self, day: Range, found: Findings) -> None:
        """A day is done."""
        self._output.line(_line(day, found))


def _line(day: Range, found: Findings) -> dict[str, Any]:
    return {
        "day": buckets.iso(day.start)[:10],
        "rows": found.rows,
        "drift": len(found.drift),
        "repaired": len(found.repaired),
        "moving": len(found.moving),
        "completed": found.completed,
        "unreadable": found.unreadable,
        "resumeWithEnd": buckets.iso(day.start),
    }
