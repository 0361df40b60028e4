"""`python -m aggregated_metrics`: see aggregated_metrics.cli."""

import sys

from aggregated_metrics.cli import main

sys.exit(main(sys.argv[1:]))
