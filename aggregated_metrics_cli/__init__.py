"""The command line: verify, repair, backfill, show and redrive, from anywhere with AWS credentials.

    aggregated-metrics verify --stack my-stack --account A --start 2026-11-22 --end …

It runs what the functions run, without their time-out. Exit codes: 0, 1 where drift (or a record)
is left, 2 where something could not be done. rich draws the tables; it is not in the layer, so it
is imported only here, and only where no `--json` is asked for.
"""

from aggregated_metrics_cli.main import main

__all__ = ["main"]
