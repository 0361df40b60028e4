"""What an application has of a model that is declared: its part of the schema, and rows. Pure."""

import random
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain
from pathlib import Path
from string import Template
from typing import Any

from aggregated_metrics.core.declarations import Declaration, Document, Listing, Measure

_SDL = Template(Path(__file__).with_name("own_model.graphql").read_text())


def sdl(declared: Document) -> str:
    """What a schema has more when it has these models, as Amplify would generate it."""
    return "".join(map(_sdl_of, declared.models))


def _sdl_of(model: Declaration) -> str:
    usual = {"listing": Listing(by="createdAt")}  # an application may have one that is not declared
    by: Any = (model if model.listing else model.model_copy(update=usual)).index
    kinds = _kinds(model)
    changes = {name: kind if kind == "ID!" else kind.rstrip("!") for name, kind in kinds.items()}
    return _SDL.substitute(
        name=model.name,
        account=model.account,
        by=by.by,
        query=by.query,
        fields=_typed(kinds),
        changes=_typed(changes),
        key=_typed({name: kinds[name] for name in model.identifier}),
    )


def _typed(kinds: Mapping[str, str]) -> str:
    return " ".join(f"{name}: {kind}" for name, kind in kinds.items())


def _kinds(model: Declaration) -> dict[str, str]:
    """The attributes that a declaration reads, each with a type that fits."""
    times = (*model.time, *([model.listing.by] if model.listing else ()), "createdAt", "updatedAt")
    texts = (*model.split, *chain.from_iterable(model.breakdowns.values()))
    kinds = {model.account: "String!", **dict.fromkeys(times, "AWSDateTime")}
    kinds |= dict.fromkeys(texts, "String") | dict.fromkeys(model.identifier, "ID!")
    for path, measure in _paths(model):
        name, _, keys = path.partition(".")
        plain = "Float" if measure.dollars or measure.number else "String"
        kinds.setdefault(name, "AWSJSON" if keys else plain)
    return kinds


def _paths(model: Declaration) -> Iterator[tuple[str, Measure]]:
    return ((path, measure) for measure in model.measures.values() for path in measure.paths)


def row(
    model: Declaration, draw: random.Random, at: datetime, account: str, name: str
) -> dict[str, Any]:
    """A row that was written at that time; each value that it is compared with comes in turn."""
    number, written = draw.randrange(1, 5), f"{at:%Y-%m-%dT%H:%M:%S}.000Z"
    ids, scope = max(model.breakdowns.values(), key=len, default=()), (1 + number % 2, number)
    made: dict[str, Any] = {
        **{each: written for each, kind in _kinds(model).items() if kind == "AWSDateTime"},
        **{each: draw.choice((*values, "other")) for each, values in model.split.items()},
        **{name: f"{name.removesuffix('Id')}-{n}" for name, n in zip(ids, scope, strict=False)},
        **dict.fromkeys(model.identifier, name),
        model.account: account,
    }
    for path, measure in _paths(model):
        *parents, last = path.split(".")
        inner = made
        for each in parents:
            inner = inner.setdefault(each, {})
        inner.setdefault(last, _drawn(draw, measure, path))
    return made


def _drawn(draw: random.Random, measure: Measure, path: str) -> Any:
    if measure.dollars:
        return draw.randrange(1_000, 90_000) / 1_000_000
    if measure.number:
        return draw.randrange(1, 200)
    return draw.choice((*measure.equals.get(path, ("something",)), None))
