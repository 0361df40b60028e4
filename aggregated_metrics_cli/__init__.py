"""The operators' command: attaches, shows, checks, repairs and fills counts.

    aggregated-metrics verify --stack my-stack --account A --start 2026-11-22 --end …

Each command is the module of its name; verify, repair and backfill are in checks. They start
executions of the stack's state machine. Exit codes: exit_codes.
"""

from aggregated_metrics_cli.main import main

__all__ = ["main"]
