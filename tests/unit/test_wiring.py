import botocore.session
import pytest
from aggregated_metrics import wiring
from aggregated_metrics.core.errors import SettingsError

from testbench.in_process import ENDPOINT, Clock, Context, Stack


def test_a_process_is_built_once_from_its_environment(stack: Stack) -> None:
    process = wiring.process()
    assert process is wiring.process() is stack.process
    assert process.settings.GRAPHQL_ENDPOINT == ENDPOINT


def test_what_is_costly_lives_with_the_process(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = wiring.process.__wrapped__()
    assert process.aws("sqs") is process.aws("sqs")
    assert process.pending()._remembered is process.pending()._remembered
    assert process.client(lambda: 1.0)._session is process.client(lambda: 1.0)._session
    process.session.close()


def test_a_wrong_environment_is_an_error_at_every_invocation(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRAPHQL_ENDPOINT")
    wiring.process.cache_clear()
    for _ in range(2):
        with pytest.raises(SettingsError, match="GRAPHQL_ENDPOINT"):
            wiring.process()
    wiring.process.cache_clear()


def test_without_credentials_the_error_says_where_they_come_from(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda _: None)
    with pytest.raises(SettingsError, match="AWS_PROFILE"):
        wiring.process.__wrapped__()


def test_the_time_left_is_lambdas(clock: Clock) -> None:
    left = wiring.time_left(Context(clock, seconds=30))
    assert left() == 30
    clock.advance(seconds=29.5)
    assert left() == 0.5


def test_the_clock_is_aware() -> None:
    assert wiring.now().utcoffset() is not None
