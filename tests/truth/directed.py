"""Small histories, each of which leads straight to a rule that random plans rarely meet.

A history gives what is wrong in the end: nothing, unless its rule is removed (mutations.py). The
functions run in one process, against ports in memory; time advances only by explicit calls.
"""

from functools import partial

from greenlet import getcurrent, greenlet

from testbench import oracle
from testbench.fakes.signatures import Request
from testbench.world import Numbers, World
from tests.truth import seams

_OTHER_ZONE = "2026-11-22T14:10:00.000+02:00"
"""An instant of the world's first minute; no index by createdAt lists it within its hour."""


def a_mapping_that_is_off() -> list[str]:
    """An hour elapses while a record of its time waits for a mapping that is off."""
    world = _counted("Task")
    world.insert("Task", "late")
    off = ("Disabled", "OK", world.clock.now)
    world.ports.mappings.mappings |= dict.fromkeys(world.ports.mappings.mappings, off)
    world.sweep(3)
    complete = [bucket for bucket in world.buckets() if bucket["complete"]]
    return [f"{oracle.key_of(bucket)} is complete before its time" for bucket in complete]


def a_batch_beside_a_sweep() -> list[str]:
    """A batch loads an hour before the sweeper completes it, and saves a new minute after that."""
    world = _counted("Task")
    world.insert("Task", "late", createdAt="2026-11-22T12:20:00.000Z")
    batch = greenlet(world.deliver)

    def pause() -> None:
        parent = getcurrent().parent
        assert parent is not None
        parent.switch()

    # What a sweep saves first is how far the streams are.
    world.at("save", lambda: None, batch.switch, pause)
    world.at("saved", lambda: None, batch.switch)
    return _wrong(_check_when_over(world))


def a_record_on_its_way() -> list[str]:
    """A check sets a minute while the record of one of its rows is still to come."""
    world = _with_a_lost_row()
    world.sweep(3)
    world.insert("Item", "late", createdAt=str(world.row("Item", "counted")["createdAt"]))
    return _wrong_at_once(world)


def a_row_that_no_pass_has_read() -> list[str]:
    """A row is written into a minute after it was counted, and before it is set."""
    world = _with_a_lost_row()
    world.sweep(3)
    at = str(world.row("Item", "counted")["createdAt"])
    world.at("save", lambda: world.insert("Item", "new", createdAt=at))
    world.check()
    world.deliver()
    return _wrong(world)


def a_row_that_is_counted_before_the_save() -> list[str]:
    """A row is written, and counted by its stream, after a check has loaded its hour."""
    world = _with_a_lost_row()
    at = str(world.row("Item", "counted")["createdAt"])
    world.insert("Item", "lost, too", createdAt=at)
    world.lose()
    world.sweep(3)

    def count() -> None:
        world.insert("Item", "new", createdAt=at)
        world.deliver()

    world.at("save", count)
    return _wrong_at_once(world)


def two_rows_that_count_alike() -> list[str]:
    """A row goes before T, and another one that counts alike comes after it."""
    world = _with_a_lost_row()
    world.sweep(3)
    at = str(world.row("Item", "counted")["createdAt"])

    def remove(request: Request) -> None:
        if b"query Count" in request.body:
            world.after = lambda _: None
            world.remove("Item", "counted")

    world.after = remove
    world.at("wait", partial(world.insert, "Item", "new", createdAt=at))
    return _wrong_at_once(world)


def one_repair_of_two_subtotals() -> list[str]:
    """An index check sets a minute while the record of an unindexed row is on its way."""
    world = _with_a_lost_row()
    world.insert("Item", "late", createdAt=_OTHER_ZONE)
    _check_when_over(world)
    world.deliver()
    return _wrong(world)


def a_row_that_leaves_the_index() -> list[str]:
    """An update moves a row out of its hour's range in the index, and changes nothing else."""
    world = _counted("Item")
    world.update("Item", "counted", createdAt=_OTHER_ZONE)
    world.deliver()
    return _wrong(_check_when_over(world))


def another_writers_minute() -> list[str]:
    """Another writer puts a minute with an unindexed row, and the stream adds to it."""
    world = _counted("Item", createdAt=_OTHER_ZONE)
    for bucket in world.buckets():
        if bucket["numberOfMinutes"] == 1:
            world.api.put("AggregatedMetrics", bucket | {"metadata": None})
    world.insert("Item", "after")
    world.deliver()
    return _wrong(_scan_deferred(_check_when_over(world)))


def a_lost_unindexed_row() -> list[str]:
    """A lost batch has a row that no index lists: checks find its hour right."""
    world = _counted("Item")
    world.insert("Item", "lost", createdAt=_OTHER_ZONE)
    world.lose_batch([world.undelivered.pop()])
    _check_when_over(world)
    world.insert("Item", "touches its hour", createdAt="2026-11-22T12:20:00.000Z")
    world.deliver()
    return _wrong(_scan_deferred(_check_when_over(world)))


def rows_that_expired() -> list[str]:
    """A check reads an hour whose rows have expired."""
    world = World(["Task"], environment={"SOURCE_LIFETIME_DAYS": '{"Task": 0.1}'})
    world.insert("Task", "expires")
    counted = world.counted()
    world.remove("Task", "expires", expired=True)
    world.deliver()
    return _wrong(_check_when_over(world), counted)


def a_row_that_moves_while_it_is_read() -> list[str]:
    """The oldest of three rows is updated in each pass, before the page that it would be on."""
    world = World(["Task"])
    for name in ("oldest", "middle", "newest"):
        world.insert("Task", name)
        world.deliver()
        world.clock.advance(1)

    def touch(*names: str) -> None:
        for name in names:
            world.clock.advance(1)
            world.update("Task", name, command=world.now())

    for _pass in range(2):
        world.at("page", touch, partial(touch, "oldest"), touch)
    world.at("wait", partial(touch, "middle", "newest"))
    with seams.pages(1):
        _check_when_over(world)
    return _wrong(world)


def _counted(model: str, **changes: str) -> World:
    """A world in which one row is counted."""
    world = World([model])
    world.insert(model, "counted", **changes)
    world.deliver()
    return world


def _with_a_lost_row() -> World:
    """A world in which one row is counted, and another one beside it is not."""
    world = _counted("Item")
    world.insert("Item", "lost")
    world.lose()
    return world


def _check_when_over(world: World) -> World:
    """Let the hour end, and all that may complete do so; then check."""
    world.sweep(3)
    world.check()
    return world


def _wrong_at_once(world: World) -> list[str]:
    """What a check sets must be right as soon as the streams have caught up."""
    repaired = world.check()["repaired"]
    world.deliver()
    return _wrong(world) if repaired else []


def _scan_deferred(world: World) -> World:
    """Do as the alarm of deferred hours asks."""
    if seams.deferred(world.table.items.values()):
        world.backfill()
    return world


def _wrong(world: World, counted: dict[oracle.Key, Numbers] | None = None) -> list[str]:
    stored, expected = world.stored(), counted or world.counted()
    wrong = [
        f"{key}: {stored.get(key)} stored, {expected.get(key)} expected"
        for key in sorted(stored.keys() | expected.keys())
        if stored.get(key) != expected.get(key)
    ]
    buckets = [bucket for bucket in world.buckets() if not bucket["complete"]]
    return wrong + [f"{oracle.key_of(bucket)} is not complete" for bucket in buckets]
