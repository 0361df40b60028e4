import pytest
from aggregated_metrics.core.errors import AuthorizationError, GraphQLError, PendingHoursError

from testbench.fakes.endpoint import Answer, refusal
from testbench.fakes.signatures import Request
from testbench.in_process import TABLE, Stack
from testbench.rows import task
from testbench.streams import Stream, window_event


def count(stack: Stack, *created: str, accounts: int = 1) -> None:
    stream = Stream("Task")
    stack.apply(
        window_event(
            *(
                stream.insert(task(f"{account}-{at}", accountId=f"acct-{account}", createdAt=at))
                for at in created
                for account in range(1, accounts + 1)
            )
        )
    )


def states(stack: Stack) -> dict[str, str]:
    return {hour: mark["state"] for hour, mark in stack.marks().items()}


def completes(stack: Stack) -> set[str]:
    return {row["compositeKey"] for row in stack.rows() if row["complete"]}


def test_with_nothing_due_nothing_is_asked(stack: Stack) -> None:
    report = stack.sweep()
    assert stack.log == []
    assert (report["due"], report["oldestPendingSeconds"]) == (0, 0.0)


def test_a_sweep_closes_what_has_elapsed_and_only_that(stack: Stack) -> None:
    count(stack, "2026-11-22T10:05:30Z")
    stack.clock.set("2026-11-22T10:08:00Z")
    report = stack.sweep()
    assert completes(stack) == {"tasks#2026-11-22T10:05:00Z#1"}
    assert (report["swept"], report["written"], report["closed"]) == (1, 1, 0)
    stack.clock.set("2026-11-22T10:11:59Z")
    assert stack.sweep()["due"] == 0
    stack.clock.set("2026-11-22T10:12:00Z")
    stack.sweep()
    assert "tasks#2026-11-22T10:05:00Z#5" in completes(stack)


def test_a_quiet_hour_is_loaded_about_four_times(stack: Stack) -> None:
    count(stack, "2026-11-22T10:05:30Z")
    first = len(stack.log)
    while "pending" in states(stack).values():
        stack.clock.advance(minutes=1)
        stack.sweep()
    loads = [exchange for exchange in stack.log[first:] if b"mutation" not in exchange.body]
    assert len(loads) == 4
    assert len(completes(stack)) == 4
    assert states(stack) == {"acct-1#tasks#2026-11-22T10:": "closed"}


def test_a_late_hour_is_closed_by_one_visit_after_its_lease(stack: Stack) -> None:
    count(stack, "2026-11-01T23:59:59Z")
    assert len(completes(stack)) == 4
    assert stack.sweep()["due"] == 0
    stack.clock.advance(seconds=91)
    assert stack.sweep()["closed"] == 1
    assert set(states(stack).values()) == {"closed"}


def test_what_is_put_off_until_the_lease_is_over_does_not_count_as_closed(stack: Stack) -> None:
    count(stack, "2026-11-01T23:59:59Z")
    (hour,) = stack.marks()
    stack.dynamodb.update_item(
        TableName=TABLE,
        Key={"hour": {"S": hour}},
        UpdateExpression="SET due = :due",
        ExpressionAttributeValues={":due": {"N": "0"}},
    )
    assert stack.sweep()["closed"] == 0
    assert stack.marks()[hour]["due"] == stack.marks()[hour]["until"]


def test_a_missing_parent_is_made(stack: Stack) -> None:
    count(stack, "2026-11-22T10:05:30Z")
    stack.api.remove("AggregatedMetrics", "acct-1", "tasks#2026-11-22T10:00:00Z#60")
    stack.clock.set("2026-11-22T10:08:00Z")
    stack.sweep()
    assert stack.row("tasks#2026-11-22T10:00:00Z#60")["count"] == 1


def test_a_hour_marked_for_nothing_is_visited_until_it_is_over(stack: Stack) -> None:
    stack.gate.before = lambda request: (
        refusal(400, "Bad", "No.") if b"mutation" in request.body else None
    )
    with pytest.raises(GraphQLError):
        count(stack, "2026-11-22T10:05:30Z")
    stack.clock.set("2026-11-22T10:30:00Z")
    stack.sweep()
    assert set(states(stack).values()) == {"pending"}
    stack.clock.set("2026-11-22T11:02:00Z")
    stack.sweep()
    assert set(states(stack).values()) == {"closed"}


def test_many_hours_are_visited_a_group_at_a_time(stack: Stack) -> None:
    count(stack, "2026-11-01T23:59:59Z", accounts=45)
    stack.clock.advance(seconds=91)
    first = len(stack.log)
    report = stack.sweep()
    assert (report["due"], report["swept"], report["closed"]) == (45, 45, 45)
    assert sorted(len(e.operations) for e in stack.log[first:]) == [5, 40]


def test_one_bad_hour_costs_no_other_hour_and_is_raised(stack: Stack) -> None:
    count(stack, "2026-11-01T23:59:59Z", accounts=45)
    stack.clock.advance(seconds=91)

    def refuse(request: Request) -> Answer | None:
        return refusal(403, "AccessDenied", "No.") if b'"acct-1"' in request.body else None

    stack.gate.before = refuse
    with pytest.raises(AuthorizationError):
        stack.sweep()
    assert list(states(stack).values()).count("pending") == 1
    stack.gate.before = lambda _: None
    stack.sweep()
    assert set(states(stack).values()) == {"closed"}


def test_what_does_not_fit_into_the_time_stays_due(stack: Stack) -> None:
    count(stack, "2026-11-01T23:59:59Z", accounts=3)
    stack.clock.advance(seconds=91)
    sweeper = stack.sweeper()
    stack.context.seconds = 4.9
    report = sweeper.sweep().as_report()
    assert (report["due"], report["swept"], report["waiting"]) == (3, 0, 3)
    assert set(states(stack).values()) == {"pending"}


def test_the_oldest_pending_hour_is_reported(stack: Stack) -> None:
    count(stack, "2026-11-22T10:05:30Z")
    stack.clock.set("2026-11-22T10:09:30Z")
    assert stack.sweep()["oldestPendingSeconds"] == 90.0


def test_an_hour_marked_again_during_the_visit_stays_pending(stack: Stack) -> None:
    count(stack, "2026-11-01T23:59:59Z")
    stack.clock.advance(seconds=91)

    def mark_again(_: Request) -> None:
        stack.gate.after = lambda _: None
        (hour,) = [mark.hour for mark in stack.pending().due(1)]
        stack.pending().mark({hour: None})

    stack.gate.after = mark_again
    assert stack.sweep()["closed"] == 0
    assert set(states(stack).values()) == {"pending"}


def test_without_its_table_a_sweep_fails(stack: Stack) -> None:
    stack.dynamodb.delete_table(TableName=TABLE)
    with pytest.raises(PendingHoursError, match=TABLE):
        stack.sweep()
