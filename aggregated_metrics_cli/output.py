"""Where one command writes: JSON for machines, or what rich draws for people."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TextIO

from aggregated_metrics.core.errors import SettingsError


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

    def display(self) -> ModuleType:
        """The module that draws.

        Raises:
            SettingsError: rich is not installed.
        """
        try:
            from aggregated_metrics_cli import display  # noqa: PLC0415 - needs rich
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "rich":
                raise
            raise SettingsError(
                "tables need rich, which the layer leaves out: pip install rich, or use --json"
            ) from error
        return display

    def show(self, machine: Any, draw: Callable[[ModuleType], Any]) -> None:
        """Write a result."""
        if self.as_json:
            self.line(machine)
        else:
            self.console(self.out).print(draw(self.display()))

    def line(self, machine: Any) -> None:
        """Write a line of JSON."""
        self.out.write(json.dumps(machine) + "\n")
        self.out.flush()

    def say(self, text: str) -> None:
        """Write a line beside the result: what went wrong, or how to go on."""
        self.err.write(f"{text}\n")

    def console(self, stream: TextIO) -> Any:
        """A console of rich's."""
        from rich.console import Console  # noqa: PLC0415 - only where rich is needed

        return Console(file=stream)
