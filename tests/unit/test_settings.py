from typing import Any

import pytest
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.models import BUILT_IN

GOOD = {
    "GRAPHQL_ENDPOINT": "https://abcdefghij.appsync-api.eu-central-1.amazonaws.com/graphql",
    "PENDING_HOURS_TABLE": "pending-hours",
}
LOCAL = "http://127.0.0.1:4566/graphql"
MODELS = (
    '{"models": [{"name": "Review", "recordType": "reviews", '
    '"breakdowns": {"reviewsByScorecard": ["sheet"]}}]}'
)


def read(**changes: str | None) -> Settings:
    environment: dict[str, Any] = GOOD | changes
    return Settings.from_environment({k: v for k, v in environment.items() if v is not None})


def test_what_the_template_sets_is_enough() -> None:
    settings = read(SOURCE_TABLES="")
    assert (settings.GRACE_SECONDS, settings.SETTLE_SECONDS) == (120, 60)
    assert settings.SOURCE_TABLES == {}
    assert (settings.models.record_types, settings.models.breakdowns) == (BUILT_IN.record_types, {})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, [None, ""]) for name in GOOD),
        ("GRACE_SECONDS", ["soon", "", "-1", "1.5", "1e99"]),
        ("SETTLE_SECONDS", ["0", "1", "9", "301"]),  # T lies between two passes
        ("SOURCE_TABLES", ["calls=Item", "[]", "3", '{"calls": 3}', "{", "null"]),
        ("STREAM_ARNS", ["Item", "a//1", "arn:aws:dynamodb:r:1:table/Item-a", "Item-a/stream/1/2"]),
        ("BREAKDOWNS", ["items", "all,scoreResultsByScore", "scoreResultsByItem"]),
        ("MODELS", ["{", '{"models": [{"name": "Review"}]}']),
    ],
)
def test_what_is_missing_or_wrong_is_named_with_its_remedy(
    name: str, values: list[str | None]
) -> None:
    for value in values:
        with pytest.raises(SettingsError, match=rf"set these variables .*template\.yaml.*{name}"):
            read(**{name: value})


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"(?s)GRAPHQL.*PENDING_HOURS.*GRACE_SECONDS"):
        Settings.from_environment({"GRACE_SECONDS": "soon"})


def test_passes_may_be_closer_and_buckets_complete_sooner_only_on_the_tests_emulator() -> None:
    """Plain http is refused for any other host, and its tests do not wait."""
    settings = read(SETTLE_SECONDS="1", GRACE_SECONDS="2", GRAPHQL_ENDPOINT=LOCAL)
    assert (settings.SETTLE_SECONDS, settings.hold_seconds, settings.complete_after) == (1, 5, 2)
    assert read(SETTLE_SECONDS="10").hold_seconds == 600
    with pytest.raises(SettingsError, match="SETTLE_SECONDS"):
        read(SETTLE_SECONDS="0", GRAPHQL_ENDPOINT=LOCAL)


@pytest.mark.parametrize(
    ("endpoint", "own"),
    [
        ("https://abc.appsync-api.eu-central-1.amazonaws.com/graphql", "eu-central-1"),
        ("https://abc.appsync-api.cn-north-1.amazonaws.com.cn/graphql", "cn-north-1"),
        ("https://metrics.example.com/graphql", None),
        ("http://localhost:4566/v1/apis/abc/graphql", None),
        (LOCAL, None),
        ("http://127.9.9.9/graphql", None),
        ("http://[::1]:4566/graphql", None),
        ("http://host.docker.internal:4566/graphql", None),
        ("http://172.17.0.1:4566/graphql", None),
    ],
)
def test_https_is_taken_anywhere_and_http_on_this_machine_and_signed_for_the_endpoints_region(
    endpoint: str, own: str | None
) -> None:
    settings = read(GRAPHQL_ENDPOINT=endpoint, AWS_REGION="us-west-2")
    assert (settings.GRAPHQL_ENDPOINT, settings.region) == (endpoint, own or "us-west-2")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://abcdefghij.appsync-api.eu-central-1.amazonaws.com/graphql",
        "http://localhost.example.com/graphql",
        "http://127.0.0.1.example.com/graphql",
        "http://10.0.0.1/graphql",
        "http://localhost@example.com/graphql",
        "ftp://localhost/graphql",
        "abcdefghij.appsync-api.eu-central-1.amazonaws.com/graphql",
        "https:///graphql",
        "https://[half/graphql",
    ],
)
def test_http_off_the_loopback_is_refused_with_its_remedy(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="GRAPHQL_ENDPOINT") as caught:
        read(GRAPHQL_ENDPOINT=endpoint)
    assert "[half" in endpoint or "https:// URL of the GraphQL API" in str(caught.value)


def test_breakdowns_are_a_list_of_names_or_all() -> None:
    two = " scoreResultsByScore , evaluationsByScore,"
    none, all_, named = ({*read(BREAKDOWNS=text).models.breakdowns} for text in ("", "all", two))
    assert (none, all_) == (set(), {*BUILT_IN.breakdowns})
    assert named == {"scoreResultsByScore", "evaluationsByScore"}


def test_declared_models_count_like_built_in_ones() -> None:
    settings = read(
        MODELS=MODELS,
        BREAKDOWNS="reviewsByScorecard",
        STREAM_ARNS="reviews/1,Item-abc-NONE/2",
        SOURCE_TABLES='{"reviews": "Review"}',
        SOURCE_LIFETIME_DAYS='{"Review": 90}',
    )
    assert settings.models.of("reviewsByScorecard") is settings.models["Review"]
    assert settings.streams == {"Review": "reviews/1", "Item": "Item-abc-NONE/2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODELS": '{"models": [{"name": "Review"}]}'}, "model Review: recordType: Field req"),
        ({"MODELS": MODELS.replace('"reviews"', '"items"')}, "items is already Item's"),
        ({"SOURCE_TABLES": '{"a": "Call"}'}, "SOURCE_TABLES .*'Call': use Item, ScoreResult, Task"),
        ({"SOURCE_LIFETIME_DAYS": '{"Call": 7}'}, "SOURCE_LIFETIME_DAYS .*'Call': use Item, Score"),
        ({"BREAKDOWNS": "items"}, "BREAKDOWNS .*'items': use .*scoreResultsByScorecard"),
        ({"STREAM_ARNS": "calls/1"}, "STREAM_ARNS: .*SOURCE_TABLES"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(
    changes: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        _ = read(**changes).streams


def test_of_a_stream_the_table_and_the_label_are_kept() -> None:
    arn = "arn:aws-us-gov:dynamodb:us-gov-west-1:1:table/Item-a/stream/1"
    for text in ("Item-a/1", arn):
        assert read(STREAM_ARNS=text).streams == {"Item": "Item-a/1"}


def test_a_bucket_is_complete_after_the_grace_and_after_the_window() -> None:
    """A batch waits for its window, and is applied soon after."""
    for grace, window, after in (("120", "10", 120), ("0", "10", 120), ("120", "300", 410)):
        settings = read(GRACE_SECONDS=grace, BATCHING_WINDOW_SECONDS=window)
        assert settings.complete_after == after
