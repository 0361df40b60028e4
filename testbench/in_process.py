"""Names that tests still import; testbench/world.py is the one world. Goes when no test does."""

from testbench.local import ENDPOINT, KEY, PENDING_HOURS, SECRET
from testbench.templates import ROOT

__all__ = ["CREDENTIALS", "ENDPOINT", "GRACE", "ROOT", "TABLE"]
GRACE, TABLE = 120, PENDING_HOURS
CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
