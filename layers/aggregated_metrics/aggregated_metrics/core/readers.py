"""What counting reads of a row. Pure.

`Layout` says what; `of_image` and `of_row` read it from anything. For a stream's images `compiled`
writes a function that does the same in a fifth of the time, or raises KeyError, TypeError or
ValueError where an image is unusual.
"""

from collections.abc import Callable, Collection, Container, Iterable, Sequence
from typing import Any, NamedTuple

from aggregated_metrics.core.values import Path, Row, image_text, number_at, row_text

type Values = tuple[Sequence[Any], Sequence[Any], Any, Sequence[Any], Sequence[Any]]
"""The values of a layout's five parts, in their order."""


class Read(NamedTuple):
    """One value that measures read, as a number or as a text."""

    path: Path
    is_number: bool


class Layout(NamedTuple):
    """What counting reads of a row.

    Attributes:
        places: the attributes that say whose the row is: account, split, scorecard, score.
        times: those that may name its time.
        listed_by: the one that the index sorts by, if there is an index.
        required: those without which the API cannot give the row.
        measured: what measures read.
    """

    places: tuple[str, ...]
    times: tuple[str, ...]
    listed_by: str | None
    required: tuple[str, ...]
    measured: tuple[Read, ...]

    def attributes(self) -> tuple[str, ...]:
        """Every attribute, once."""
        measured = (read.path[0] for read in self.measured)
        by = () if self.listed_by is None else (self.listed_by,)
        return tuple(dict.fromkeys((*self.places, *self.times, *by, *self.required, *measured)))

    def of_row(self, row: Row) -> Values:
        """The values of a row of the API.

        Raises:
            UncountableError: one that is read as a number is not a number.
        """
        return self._values(row, row_text)

    def of_image(self, image: Row) -> Values:
        """The same of a row as DynamoDB JSON."""
        return self._values(image, image_text)

    def _values(self, row: Row, text: Callable[[Row, Path], str | None]) -> Values:
        places, times, required = (
            tuple(text(row, (name,)) for name in part)
            for part in (self.places, self.times, self.required)
        )
        by = None if self.listed_by is None else text(row, (self.listed_by,))
        found = [(read, text(row, read.path)) for read in self.measured]
        measured = [number_at(r.path, value) if r.is_number else value for r, value in found]
        return places, times, by, required, measured


def compiled(layout: Layout, types: Collection[str]) -> Callable[[Row], Values]:
    """A function of an image with the values of a layout.

    Args:
        layout: what it reads.
        types: the attributes that are no texts in the schema.
    """
    single = layout.times if len(layout.times) == 1 else ()
    sure = {layout.places[0], layout.listed_by, *layout.required, *single}
    read_anyway = {*layout.places, *layout.times, layout.listed_by}
    read_anyway |= {read.path[0] for read in layout.measured}

    def texts(names: Iterable[str | None]) -> str:
        return "".join(f"{_attribute(name, sure, types)}, " for name in names)

    maps = dict.fromkeys(read.path[0] for read in layout.measured if _is_of_map(read))
    parts = (
        texts(layout.places),
        texts(layout.times),
        texts(name for name in layout.required if name not in read_anyway),
        "".join(f"{_measured(read, sure, types)}, " for read in layout.measured),
    )
    places, times, required, measured = (f"({part})" for part in parts)
    by = _attribute(layout.listed_by, sure, types)
    lines = (
        "def read(image):",
        *(f"    {_map(name)} = image[{name!r}]['M'] if {name!r} in image else ()" for name in maps),
        f"    return {places}, {times}, {by}, {required}, {measured}",
    )
    namespace: dict[str, Any] = {"float": float, "image_text": image_text, "number_at": number_at}
    exec("\n".join(lines), namespace)  # noqa: S102 - written here, of names that are quoted
    read: Callable[[Row], Values] = namespace["read"]
    return read


def _attribute(name: str | None, sure: Container[str | None], types: Collection[str]) -> str:
    if name is None:
        return "None"
    if name in types:
        return f"image_text(image, {(name,)!r})"
    return f"image[{name!r}]['S']" + ("" if name in sure else f" if {name!r} in image else None")


def _measured(read: Read, sure: Container[str | None], types: Collection[str]) -> str:
    name, *keys = read.path
    if _is_of_map(read):
        return f"float({_map(name)}[{keys[0]!r}]['N']) if {keys[0]!r} in {_map(name)} else None"
    if not keys and read.is_number:
        return f"float(image[{name!r}]['N']) if {name!r} in image else None"
    if not keys:
        return _attribute(name, sure, types)
    text = f"image_text(image, {read.path!r})"
    return f"number_at({read.path!r}, {text})" if read.is_number else text


def _is_of_map(read: Read) -> bool:
    """Whether it is a number right in an AWSJSON attribute."""
    return read.is_number and len(read.path) == 2  # noqa: PLR2004 - the attribute and a key


def _map(name: str) -> str:
    return f"map_of_{name}"
