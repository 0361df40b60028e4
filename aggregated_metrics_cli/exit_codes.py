"""What the command line exits with."""

DONE = 0
LEFT = 1
"""Something is wrong still, or was moving and may be: repair, or run it again."""
FAILED = 2
"""Something could not be done."""
STOPPED = 130
"""Somebody interrupted it."""
