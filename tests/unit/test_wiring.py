import botocore.session
import pytest
from aggregated_metrics import wiring
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.metadata import NEVER
from aggregated_metrics.core.series import HourId, Series

from testbench import local
from testbench.engine import Context
from testbench.world import World


def test_a_process_and_what_is_costly_in_it_are_made_once(environment: dict[str, str]) -> None:
    process = wiring.process()
    assert process is wiring.process()
    assert process.settings.GRAPHQL_ENDPOINT == local.ENDPOINT
    assert process.aws("sqs") is process.aws("sqs")
    assert process.pending()._remembered is process.pending()._remembered
    assert process.client(lambda: 1.0)._session is process.client(lambda: 1.0)._session
    process.session.close()


def test_a_wrong_environment_is_an_error_at_every_invocation(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRAPHQL_ENDPOINT")
    for _ in range(2):
        with pytest.raises(SettingsError, match="GRAPHQL_ENDPOINT"):
            wiring.process()


def test_without_credentials_the_error_says_where_they_come_from(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda _: None)
    with pytest.raises(SettingsError, match="AWS_PROFILE"):
        wiring.process()


def test_a_backfill_without_its_bucket_says_which_variable() -> None:
    world = World(environment={"BACKFILL_BUCKET": ""})
    with pytest.raises(SettingsError, match="BACKFILL_BUCKET"):
        wiring.backfiller(world.engine.process, Context(lambda: 60.0))


def test_a_repair_holds_its_entries_for_as_long_as_it_may_run() -> None:
    """Its writes come after its entries; a stream's invocation is much shorter."""
    world, hour = World(), HourId(Series("acct-1", "items"), 0)
    seconds = {}
    for job in (wiring.aggregator, wiring.reconciler, wiring.backfiller):
        made = job(world.engine.process, Context(lambda: 800.0))
        made.pending.touch({hour: None})
        (entry,) = world.items("entry").values()
        seconds[job.__name__] = int(entry["until"]) - int(world.clock.timestamp())
    assert seconds == {"aggregator": 90, "reconciler": 800, "backfiller": 800}


def test_what_is_not_known_of_a_stream_completes_nothing() -> None:
    until = wiring._complete_until({"items": 5.0, "tasks": None})
    assert [until(name) for name in ("items", "tasks", "others")] == [5.0, NEVER, NEVER]
