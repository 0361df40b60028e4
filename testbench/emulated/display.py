"""A verdict's lines in the terminal."""

from rich.console import Console
from rich.text import Text


def show_line(console: Console, text: str, *, good: bool) -> None:
    """One line of a verdict."""
    sign, style = ("✓", "green") if good else ("✗", "bold red")
    console.print(Text(f"  {sign} {text}", style=style))
