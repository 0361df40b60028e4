"""The only way out to the terminal: JSON for machines, or what rich draws for people.

Ids, paths and error messages come from elsewhere. They are text: never markup, and every
character that a terminal might obey is shown escaped.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Progress, ProgressColumn
from rich.segment import Segment
from rich.text import Text

_ASCII = dict.fromkeys(map(ord, "▏▎▍▌▋▊▉█"), "#")
"""Bars for a terminal that has no blocks."""


def printable(text: str) -> str:
    r"""The text with control, format and bidirectional characters escaped, line ends too.

    >>> printable("card\x1b[2K, Größe")
    'card\\x1b[2K, Größe'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def styled(text: str, style: str = "") -> Text:
    """Text in a style; nothing in it is markup."""
    return Text(printable(text), style=style)


class Terminal(Console):
    """rich's console, to which every text is text."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(file=stream, markup=False, emoji=False, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Draw; every control character is escaped here."""
        is_ascii = (options or self.options).ascii_only
        for segment in super().render(renderable, options):
            text = segment.text.translate(_ASCII) if is_ascii else segment.text
            if segment.control or text == "\n" or text.isprintable():
                yield segment._replace(text=text)
            else:
                lines = "\n".join(map(printable, text.split("\n")))
                yield Segment(lines, segment.style)


def survive(stream: TextIO) -> TextIO:
    """Have a stream escape what its encoding cannot write; returns it."""
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="backslashreplace")
    return stream


@dataclass(frozen=True, slots=True)
class Output:
    """Where one command writes.

    Attributes:
        as_json: whether machines read it.
        out: where results go.
        err: where progress and errors go.
    """

    as_json: bool
    out: TextIO
    err: TextIO

    def show(self, machine: Any, *drawn: RenderableType) -> None:
        """Write a result, for machines or for people."""
        if self.as_json:
            self.out.write(json.dumps(machine) + "\n")
        else:
            self.draw(*drawn)

    def draw(self, *drawn: RenderableType) -> None:
        """Write for people: tables and styled lines; plain text, to be copied, is not wrapped."""
        terminal = Terminal(self.out)
        for each in drawn:
            terminal.print(each, soft_wrap=isinstance(each, str))

    def say(self, text: str) -> None:
        """Write a line beside the result: what went wrong, or how to go on."""
        self.err.write(f"{printable(text)}\n")
        self.err.flush()

    def ask(self, question: str) -> str:
        """What is answered to a question; nothing where the input has ended."""
        self.err.write(question)
        self.err.flush()
        return sys.stdin.readline()

    def progress(self, *columns: ProgressColumn) -> Progress:
        """Bars on the error output; nothing is drawn where machines read."""
        return Progress(*columns, console=Terminal(self.err), transient=True, disable=self.as_json)
