"""What the command line exits with."""

DONE = 0
LEFT = 1
"""Counts are still wrong, or could not be decided: repair, or run it again."""
FAILED = 2
"""Something could not be done."""
STOPPED = 130
"""Interrupted from the keyboard."""
