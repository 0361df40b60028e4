"""verify: compares the counts of a range, or of the closed hours, with the source rows."""

from argparse import Namespace

from aggregated_metrics_cli.check import check, range_of
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.output import Output


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Compare; writes no count. Returns the exit code."""
    return check(
        deployment.process,
        range_of(options, deployment.process.settings.attached),
        output,
        repair=False,
    )
