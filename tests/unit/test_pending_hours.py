from collections.abc import Callable
from typing import Any

import pytest
from aggregated_metrics.adapters.pending_hours import LEASE_SECONDS, PendingHours
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import PendingHoursError
from aggregated_metrics.core.hours import HourId, Series
from botocore.exceptions import ClientError

from testbench.in_process import GRACE, TABLE, Clock
from testbench.templates import template

TEN = buckets.to_minute(buckets.parse("2026-11-22T10:00:00Z"))
HOUR = HourId(Series("acct-1", "items"), TEN)
OLD = HourId(Series("acct-1", "items"), TEN - 600)
OVER = (TEN + 60) * 60 + GRACE


@pytest.fixture
def now(clock: Clock) -> Callable[[], int]:
    return lambda: int(clock().timestamp())


@pytest.fixture
def pending(aws: Callable[[str], Any], clock: Clock) -> PendingHours:
    """One warm process's pending hours."""
    return PendingHours(aws("dynamodb"), TABLE, clock=clock, grace=GRACE, sleep=clock.sleep)


@pytest.fixture
def another(aws: Callable[[str], Any], clock: Clock) -> PendingHours:
    """Another process's."""
    return PendingHours(aws("dynamodb"), TABLE, clock=clock, grace=GRACE, sleep=clock.sleep)


def test_a_mark_says_whose_hour_when_and_until_when(
    pending: PendingHours, clock: Clock, now: Callable[[], int]
) -> None:
    hour = HourId(Series("acct-1", "items", "scorecard-1", "score-1"), TEN)
    assert pending.mark({hour: now()}) == 1
    (mark,) = pending.due(10)
    assert (mark.hour, mark.due) == (hour, now())
    assert mark.until == now() + 1 + LEASE_SECONDS  # rounded up


def test_a_lease_is_longer_than_any_invocation() -> None:
    assert template("template.yaml")["Globals"]["Function"]["Timeout"] < LEASE_SECONDS


def test_only_what_is_due_is_given_the_longest_due_first(
    pending: PendingHours, now: Callable[[], int]
) -> None:
    dues = {60 * n: now() + offset for n, offset in enumerate((-5, 0, 1, -90, 3600))}
    pending.mark({HourId(HOUR.series, TEN + start): due for start, due in dues.items()})
    assert [mark.due - now() for mark in pending.due(10)] == [-90, -5, 0]
    assert [mark.due - now() for mark in pending.due(2)] == [-90, -5]
    assert pending.closed(10) == []


def test_an_hour_without_anything_due_is_visited_when_the_lease_is_over(
    pending: PendingHours, clock: Clock
) -> None:
    pending.mark({OLD: None})
    assert pending.due(10) == []
    clock.advance(seconds=LEASE_SECONDS + 1)
    assert [mark.hour for mark in pending.due(10)] == [OLD]


def test_more_marks_than_one_request_takes_are_all_put(
    aws: Callable[[str], Any], clock: Clock, now: Callable[[], int]
) -> None:
    client = Throttled(aws("dynamodb"), times=0)
    pending = PendingHours(client, TABLE, clock=clock, grace=GRACE)  # type: ignore[arg-type]
    hours = {HourId(HOUR.series, TEN - 60 * n): now() for n in range(60)}
    assert pending.mark(hours) == 60
    assert {mark.hour for mark in pending_of(aws, clock)} == set(hours)
    assert client.requests == 3


# Which marks can be skipped


def test_a_mark_that_is_no_later_and_still_ahead_is_not_put_again(
    pending: PendingHours, now: Callable[[], int]
) -> None:
    assert pending.mark({HOUR: now() + 60}) == 1
    assert pending.mark({HOUR: now() + 60}) == 0
    assert pending.mark({HOUR: now() + 90}) == 0


def test_an_earlier_due_is_put(pending: PendingHours, now: Callable[[], int]) -> None:
    pending.mark({HOUR: now() + 60})
    assert pending.mark({HOUR: now() + 59}) == 1


def test_a_mark_that_has_come_due_is_put_again(
    pending: PendingHours, clock: Clock, now: Callable[[], int]
) -> None:
    pending.mark({HOUR: now() + 60})
    clock.advance(seconds=61)
    assert pending.mark({HOUR: now() + 90}) == 1


def test_an_hour_that_could_be_closed_within_the_lease_is_always_marked(
    pending: PendingHours, clock: Clock
) -> None:
    clock.now = buckets.to_datetime(0)
    clock.advance(seconds=OVER - LEASE_SECONDS - 1)
    pending.mark({HOUR: OVER})
    assert pending.mark({HOUR: OVER}) == 0
    clock.advance(seconds=1)
    assert pending.mark({HOUR: OVER}) == 1
    assert pending.mark({OLD: None}) == 1
    assert pending.mark({OLD: None}) == 1


def test_another_process_knows_nothing_of_this_ones_marks(
    pending: PendingHours, another: PendingHours, now: Callable[[], int]
) -> None:
    pending.mark({HOUR: now() + 60})
    assert another.mark({HOUR: now() + 60}) == 1


def test_a_mark_that_was_not_taken_is_not_remembered(
    pending: PendingHours, clock: Clock, now: Callable[[], int], aws: Callable[[str], Any]
) -> None:
    broken = PendingHours(aws("dynamodb"), "absent", clock=clock, grace=GRACE, remembered={})
    for _ in range(2):
        with pytest.raises(PendingHoursError, match=r"absent .*check PENDING_HOURS_TABLE"):
            broken.mark({HOUR: now() + 60})


# Settling


def _marked(pending: PendingHours, hour: HourId, clock: Clock) -> Any:
    pending.mark({hour: int(clock().timestamp())})
    (mark,) = pending.due(1)
    return mark


def test_a_visited_hour_is_due_again_when_its_next_bucket_elapses(
    pending: PendingHours, clock: Clock, now: Callable[[], int]
) -> None:
    mark = _marked(pending, HOUR, clock)
    assert pending.reschedule(mark, now() + 300) == "pending"
    assert pending.due(1) == []
    clock.advance(seconds=301)
    assert [found.hour for found in pending.due(1)] == [HOUR]


def test_an_hour_is_not_closed_before_its_lease_is_over(
    pending: PendingHours, clock: Clock
) -> None:
    mark = _marked(pending, OLD, clock)
    assert pending.reschedule(mark, None) == "pending"
    assert (pending.due(1), pending.closed(1)) == ([], [])
    clock.advance(seconds=LEASE_SECONDS + 1)
    (again,) = pending.due(1)
    assert again.due == mark.until
    assert pending.reschedule(again, None) == "closed"
    assert pending.due(1) == []
    assert [found.hour for found in pending.closed(1)] == [OLD]


def test_an_hour_without_buckets_is_not_closed_while_it_lasts(
    pending: PendingHours, clock: Clock, now: Callable[[], int]
) -> None:
    """Its process may skip the next mark (still ahead) and write the first bucket then."""
    pending.mark({HOUR: now() + LEASE_SECONDS + 60})
    clock.advance(seconds=LEASE_SECONDS + 61)
    (mark,) = pending.due(1)
    assert now() > mark.until
    assert pending.reschedule(mark, None) == "pending"
    clock.now = buckets.to_datetime(0)
    clock.advance(seconds=OVER)
    (again,) = pending.due(1)
    assert again.due == OVER
    assert pending.reschedule(again, None) == "closed"


@pytest.mark.parametrize("due", [None, 0])
def test_an_hour_that_was_marked_again_is_left_as_it_is(
    pending: PendingHours, another: PendingHours, clock: Clock, due: int | None
) -> None:
    mark = _marked(pending, OLD, clock)
    clock.advance(seconds=LEASE_SECONDS + 1)
    another.mark({OLD: int(clock().timestamp())})
    assert pending.reschedule(mark, due) is None
    (found,) = pending.due(1)
    assert (found.until > mark.until, found.token != mark.token) == (True, True)


def test_a_checked_hour_is_forgotten_unless_it_was_marked_again(
    pending: PendingHours, another: PendingHours, clock: Clock
) -> None:
    mark = _marked(pending, OLD, clock)
    another.mark({OLD: int(clock().timestamp())})
    assert not pending.remove(mark)
    (again,) = pending.due(1)
    assert pending.remove(again)
    assert pending.due(1) == []


def test_an_hour_that_is_set_aside_says_since_when_and_when_it_was_closed(
    pending: PendingHours, clock: Clock, now: Callable[[], int]
) -> None:
    mark = _marked(pending, OLD, clock)
    clock.advance(seconds=LEASE_SECONDS + 1)
    pending.reschedule(mark, None)
    (closed,) = pending.closed()
    clock.advance(seconds=600)
    assert pending.set_aside(closed)
    (aside,) = pending.aside()
    assert (aside.hour, aside.due, aside.closed) == (OLD, now(), now() - 600)
    assert pending.closed() == []


def test_marking_a_closed_hour_opens_it_again(
    pending: PendingHours, another: PendingHours, clock: Clock
) -> None:
    mark = _marked(pending, OLD, clock)
    clock.advance(seconds=LEASE_SECONDS + 1)
    pending.reschedule(mark, None)
    another.mark({OLD: int(clock().timestamp())})
    assert pending.closed(1) == []
    assert len(pending.due(1)) == 1


# Trouble


class Throttled:
    """A client that leaves the last of every request unprocessed, some times."""

    def __init__(self, client: Any, times: int) -> None:
        self._client, self.times, self.requests = client, times, 0
        self.exceptions = client.exceptions

    def batch_write_item(self, RequestItems: Any) -> Any:
        self.requests += 1
        assert len(RequestItems[TABLE]) <= 25
        if self.times == 0:
            return self._client.batch_write_item(RequestItems=RequestItems)
        self.times -= 1
        *done, last = RequestItems[TABLE]
        if done:
            self._client.batch_write_item(RequestItems={TABLE: done})
        return {"UnprocessedItems": {TABLE: [last]}}


def test_marks_that_were_throttled_are_put_again_after_a_while(
    aws: Callable[[str], Any], clock: Clock, now: Callable[[], int]
) -> None:
    client = Throttled(aws("dynamodb"), times=3)
    before = clock()
    pending = PendingHours(client, TABLE, clock=clock, grace=GRACE, sleep=clock.sleep)  # type: ignore[arg-type]
    pending.mark({HourId(HOUR.series, TEN - 60 * n): now() for n in range(3)})
    assert len(pending_of(aws, clock)) == 3
    assert client.requests == 4
    assert clock() > before


def pending_of(aws: Callable[[str], Any], clock: Clock) -> list[Any]:
    return PendingHours(aws("dynamodb"), TABLE, clock=clock, grace=GRACE).due(100)


def test_throttling_without_end_is_an_error(
    aws: Callable[[str], Any], clock: Clock, now: Callable[[], int]
) -> None:
    client = Throttled(aws("dynamodb"), times=1000)
    pending = PendingHours(client, TABLE, clock=clock, grace=GRACE, sleep=clock.sleep)  # type: ignore[arg-type]
    with pytest.raises(PendingHoursError, match="throttled"):
        pending.mark({HOUR: now()})
    assert client.requests < 10


@pytest.mark.parametrize("ask", ["due", "closed", "settle", "remove"])
def test_a_table_that_is_not_there_is_named(
    pending: PendingHours, aws: Callable[[str], Any], clock: Clock, ask: str
) -> None:
    mark = _marked(pending, OLD, clock)
    aws("dynamodb").delete_table(TableName=TABLE)
    asked: dict[str, Callable[[], Any]] = {
        "due": lambda: pending.due(1),
        "closed": lambda: pending.closed(1),
        "settle": lambda: pending.reschedule(mark, 1),
        "remove": lambda: pending.remove(mark),
    }
    with pytest.raises(PendingHoursError, match=TABLE) as caught:
        asked[ask]()
    assert isinstance(caught.value.__cause__, ClientError)
