"""Hours that one reading of the source rows counts, and where their rows are listed. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from aggregated_metrics.core import buckets, listing
from aggregated_metrics.core.hours import Hour, HourId, Series
from aggregated_metrics.core.listing import Listed, Range
from aggregated_metrics.core.record_types import model_of
from aggregated_metrics.core.series import Target
from aggregated_metrics.core.source_models import Model


class Group(NamedTuple):
    """Hours of one account and model: one reading of the source counts them all.

    An hour of a breakdown that names no scope stands for that hour of all its scopes. `model` has
    just those breakdowns that the hours belong to.

    `listed` are rows that the caller knows of, and `nowhere` the minutes with one that no index
    lists; what the stream has brought the minutes know.
    """

    model: Model
    account_id: str
    hours: tuple[HourId, ...]
    listed: frozenset[str] = frozenset()
    nowhere: frozenset[Target] = frozenset()

    def failure(self, error: Exception) -> str:
        """A line that says of which group it is that something failed."""
        day = buckets.iso(self.hours[0].start)[:10]
        return f"{self.account_id} {self.model.name} {day}: {type(error).__name__}: {error}"


def groups(
    ids: Iterable[HourId], listed: Mapping[HourId, Collection[Listed]] = MappingProxyType({})
) -> list[Group]:
    """By model and account.

    Raises:
        KeyError: no model counts into an hour's record type.
    """
    found: dict[tuple[str, str], tuple[Model, list[HourId]]] = {}
    for hour in ids:
        model = model_of(hour.series.record_type)
        key = (hour.series.account_id, model.name)
        found.setdefault(key, (model, []))[1].append(hour)
    return [
        Group(
            model.only({hour.series.record_type for hour in hours}),
            account,
            tuple(hours),
            frozenset(text for hour in hours for _, text in listed.get(hour, ()) if text),
            frozenset(
                Target(hour.series, minute)
                for hour in hours
                for minute, text in listed.get(hour, ())
                if text is None
            ),
        )
        for (account, _), (model, hours) in found.items()
    ]


def divided(group: Group) -> tuple[list[HourId], dict[str, list[int]]]:
    """The hours that name their series; the breakdowns' starts of which all scopes are meant."""
    named: list[HourId] = []
    every: dict[str, list[int]] = {}
    for hour in group.hours:
        series = hour.series
        if series.record_type in group.model.scopes and series.scope is None:
            every.setdefault(series.record_type, []).append(hour.start)
        else:
            named.append(hour)
    return named, every


def whole_hours(group: Group, every: Mapping[str, Sequence[int]]) -> set[HourId]:
    """The hours of all rows of which scopes are looked for: they know where these are listed."""
    series = Series(group.account_id, group.model.record_type)
    return {HourId(series, start) for starts in every.values() for start in starts}


def doubtful_of(hours: Sequence[Hour], model: Model) -> set[int]:
    """The minutes of which a row is in no index: no scope is known to be right either."""
    return {
        bucket.start
        for hour in hours
        if hour.id.series.record_type == model.record_type
        for bucket in hour
        if bucket.size == 1 and bucket.metadata.unlisted > 0
    }


def news_of(
    hours: Iterable[Hour], listed: Iterable[tuple[Target, str | None]]
) -> dict[HourId, list[Listed]]:
    """Have loaded hours know where rows are listed (None: nowhere); gives what is new to them."""
    by_id = {hour.id: hour for hour in hours}
    news: dict[HourId, list[Listed]] = {}
    for place, text in listed:
        hour = by_id.get(place.hour)
        if hour is not None and hour.learn(place.minute, text):
            news.setdefault(hour.id, []).append((place.minute, text))
    return news


def uncounted_of(hours: Iterable[Hour], nowhere: Collection[Target]) -> set[HourId]:
    """The loaded hours of places with a row that no index lists, and that nobody has counted."""
    by_id = {hour.id: hour for hour in hours}
    known = (place for place in nowhere if place.hour in by_id)
    return {place.hour for place in known if by_id[place.hour].get(place.minute) is None}


def listed_of(stored: Iterable[Hour]) -> list[tuple[str, str]]:
    """The least and greatest texts that the minutes of loaded hours keep of rows elsewhere."""
    known = (bucket.metadata.listed for hour in stored for bucket in hour if bucket.size == 1)
    return [texts for texts in known if texts]


def ranges_of(
    model: Model,
    stored: Sequence[Hour],
    listed: Collection[str] = (),
    starts: Collection[int] = (),
) -> list[Range]:
    """Where the rows of loaded hours are listed: their own ranges, and what their minutes say.

    `starts` are those of hours whose scopes are not known yet.
    """
    if model.listing is None:
        return []
    texts = listed_of(stored) + [(text, text) for text in listed]
    return listing.ranges(model.listing[1], {*starts, *(hour.id.start for hour in stored)}, texts)
