"""`aggregated-metrics`, or `python -m aggregated_metrics_cli`."""

import sys

from aggregated_metrics_cli.main import main


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
