"""Why a command cannot do what it was asked; the message says what to do."""


class CommandError(Exception):
    """A command cannot go on."""
