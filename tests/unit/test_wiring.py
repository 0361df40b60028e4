import pytest
from aggregated_metrics import wiring
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.jobs.recount import Recount

from testbench import local
from testbench.world import World


def test_a_process_and_what_is_costly_in_it_are_made_once(environment: dict[str, str]) -> None:
    process = wiring.process()
    assert process is wiring.process()
    assert process.settings.GRAPHQL_ENDPOINT == local.ENDPOINT
    assert process.aws("sqs") is process.aws("sqs")
    assert process.pending().remembered is process.pending().remembered
    assert process.client(lambda: 1.0)._session is process.client(lambda: 1.0)._session
    process.session.close()


def test_a_backfill_without_its_bucket_says_which_variable() -> None:
    world = World(environment={"BACKFILL_BUCKET": ""})
    with pytest.raises(SettingsError, match="BACKFILL_BUCKET"):
        world.invoke("backfiller", {"report": {"run": "r"}})


def test_a_repair_holds_its_entries_for_as_long_as_it_may_run() -> None:
    """Its writes come after its entries; a stream's invocation is much shorter."""
    world, hour = World(), HourId(Series("acct-1", "items"), 0)
    process = world.engine.process
    for pending, seconds in (
        (process.pending(), 90),
        (Recount(process, lambda: 800.0).pending, 800),
    ):
        pending.touch({hour: None})
        (entry,) = world.items("entry").values()
        assert int(entry["until"]) - int(world.clock.timestamp()) == seconds
