"""backfill: repairs a long range step by step, and says after each where to go on."""

from argparse import Namespace
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.ranges import Range

from aggregated_metrics_cli.check import Silent, check_range, parsed_range, report
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.output import Output


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Repair the range; returns the exit code."""
    process = deployment.process
    asked = parsed_range(options, process.settings.record_types)
    if output.as_json:
        checked = check_range(process, asked, _Lines(output), repair=True)
    else:
        with output.display().Bars(output.console(output.err), each_part=True) as bars:
            checked = check_range(process, asked, bars, repair=True)
    return report(checked, output, repair=True)


class _Lines(Silent):
    """Writes a line of JSON when a step is done."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def part(self, part: Range, rest: Range, found: Findings) -> None:
        """A step is done; `rest` is what is left."""
        self._output.line(_line(part, rest, found))


def _line(part: Range, rest: Range, found: Findings) -> dict[str, Any]:
    return {
        "recordTypes": list(part.record_types),
        "start": buckets.iso(part.start),
        "rows": found.rows,
        "drift": found.drifted,
        "repaired": found.set_right,
        "moving": len(found.moving),
        "completed": found.completed,
        "unreadable": found.unreadable,
        "undecided": len(found.undecided),
        "resumeWithEnd": buckets.iso(rest.end),
        "resumeWithRecordTypes": list(rest.record_types),
    }
