"""The demonstration: the whole path on one machine, on an emulator of AWS."""

import sys
from pathlib import Path

# The layer's package is found as Lambda finds it: by its folder on the path.
_LAYER = str(Path(__file__).resolve().parents[1] / "layers" / "aggregated_metrics")
if _LAYER not in sys.path:
    sys.path.insert(0, _LAYER)
