"""The operators' command: checks, repairs, fills and shows counts, from anywhere with credentials.

    aggregated-metrics verify --stack my-stack --account A --start 2026-11-22 --end …

It runs what the functions run, without their time-out. Each command is the module of its name.
Exit codes: 0, 1 where something is wrong still or was moving, 2 where something could not be done.
rich draws the tables; it is not in the layer, so it is imported
only where no `--json` is asked for.
"""

from aggregated_metrics_cli.main import main

__all__ = ["main"]
