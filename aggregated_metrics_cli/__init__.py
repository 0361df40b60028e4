"""The operators' command: attaches, shows, checks, repairs and fills counts.

    aggregated-metrics verify --stack my-stack --account A --start 2026-11-22 --end …

attach and show are the modules of their names; report is in show, and verify, repair and backfill,
which start executions of the stack's state machine, are in checks. Exit codes: exit_codes.
"""

from aggregated_metrics_cli.main import main

__all__ = ["main"]
