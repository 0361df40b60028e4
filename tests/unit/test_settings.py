from typing import Any

import pytest
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.models import BUILT_IN

GOOD = {
    "GRAPHQL_ENDPOINT": "https://abcdefghij.appsync-api.eu-central-1.amazonaws.com/graphql",
    "PENDING_HOURS_TABLE": "pending-hours",
}


def read(**changes: str | None) -> Settings:
    environment: dict[str, Any] = GOOD | changes
    return Settings.from_environment({k: v for k, v in environment.items() if v is not None})


def test_what_the_template_sets_is_enough() -> None:
    settings = read()
    assert (settings.GRACE_SECONDS, settings.SETTLE_SECONDS) == (120, 60)
    assert settings.SOURCE_TABLES == {}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_variable_is_named_with_its_cure(name: str, value: str | None) -> None:
    with pytest.raises(SettingsError, match=rf"set these variables .*template\.yaml.*{name}"):
        read(**{name: value})


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"GRACE_SECONDS": "soon"})
    for name in (*GOOD, "GRACE_SECONDS"):
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["GRACE_SECONDS", "SETTLE_SECONDS"])
@pytest.mark.parametrize("value", ["soon", "", "-1", "1.5", "1e99"])
def test_what_is_no_number_of_seconds_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read(**{name: value})


@pytest.mark.parametrize("seconds", ["0", "1", "9", "301"])
def test_two_passes_that_are_too_close_or_too_far_apart_are_refused(seconds: str) -> None:
    """A record's creation time has whole seconds: it must not lie on the wrong side of T."""
    with pytest.raises(SettingsError, match="SETTLE_SECONDS"):
        read(SETTLE_SECONDS=seconds)
    assert read(SETTLE_SECONDS="10").SETTLE_SECONDS == 10


def test_passes_may_be_closer_only_on_the_tests_emulator() -> None:
    assert read(SETTLE_SECONDS="1", GRAPHQL_ENDPOINT="http://127.0.0.1:4566/graphql")
    with pytest.raises(SettingsError, match="SETTLE_SECONDS"):
        read(SETTLE_SECONDS="0", GRAPHQL_ENDPOINT="http://127.0.0.1:4566/graphql")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:4566/v1/apis/abc/graphql",
        "http://127.0.0.1:4566/graphql",
        "http://127.9.9.9/graphql",
        "http://[::1]:4566/graphql",
        "http://host.docker.internal:4566/graphql",
        "http://172.17.0.1:4566/graphql",
        "https://metrics.example.com/graphql",
    ],
)
def test_https_is_taken_anywhere_and_http_on_this_machine(endpoint: str) -> None:
    assert endpoint == read(GRAPHQL_ENDPOINT=endpoint).GRAPHQL_ENDPOINT


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
def test_http_off_the_loopback_is_refused_with_its_cure(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="GRAPHQL_ENDPOINT") as caught:
        read(GRAPHQL_ENDPOINT=endpoint)
    assert "[half" in endpoint or "https:// URL of the GraphQL API" in str(caught.value)


def test_source_tables_are_json_of_known_models() -> None:
    settings = read(SOURCE_TABLES='{"calls": "Item", "verdicts": "ScoreResult"}')
    assert settings.SOURCE_TABLES == {"calls": "Item", "verdicts": "ScoreResult"}
    assert read(SOURCE_TABLES="").SOURCE_TABLES == {}


@pytest.mark.parametrize("text", ["calls=Item", "[]", "3", '{"calls": 3}', "{", "null"])
def test_source_tables_of_another_shape_are_named(text: str) -> None:
    with pytest.raises(SettingsError, match="SOURCE_TABLES"):
        read(SOURCE_TABLES=text)


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("https://abc.appsync-api.eu-central-1.amazonaws.com/graphql", "eu-central-1"),
        ("https://abc.appsync-api.cn-north-1.amazonaws.com.cn/graphql", "cn-north-1"),
        ("https://metrics.example.com/graphql", "us-west-2"),
        ("http://localhost:4566/graphql", "us-west-2"),
    ],
)
def test_a_request_is_signed_for_the_endpoints_region(endpoint: str, region: str) -> None:
    assert read(GRAPHQL_ENDPOINT=endpoint, AWS_REGION="us-west-2").region == region


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("all", set(BUILT_IN.breakdowns)),
        (
            " scoreResultsByScore , evaluationsByScore,",
            {"scoreResultsByScore", "evaluationsByScore"},
        ),
        ('["feedbackItemsByScorecard"]', {"feedbackItemsByScorecard"}),
    ],
)
def test_breakdowns_are_a_list_of_names_or_all(text: str, expected: set[str]) -> None:
    assert expected == {*read(BREAKDOWNS=text).models.breakdowns}


@pytest.mark.parametrize("text", ["items", "all,scoreResultsByScore", "scoreResultsByItem"])
def test_an_unknown_breakdown_is_refused_with_the_names_that_there_are(text: str) -> None:
    with pytest.raises(SettingsError, match=r"BREAKDOWNS .*scoreResultsByScorecard"):
        read(BREAKDOWNS=text)


MODELS = (
    '{"models": [{"name": "Review", "recordType": "reviews", '
    '"breakdowns": {"reviewsByScorecard": ["sheet"]}}]}'
)


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
    assert settings.tables == {"Review": "reviews", "Item": "Item-abc-NONE"}


def test_a_wrong_declaration_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"MODELS: .*model Review: recordType: Field required"):
        read(MODELS='{"models": [{"name": "Review"}]}')
    with pytest.raises(SettingsError, match=r"MODELS: .*items is already Item's"):
        read(MODELS='{"models": [{"name": "Review", "recordType": "items"}]}')


@pytest.mark.parametrize("name", ["SOURCE_TABLES", "SOURCE_LIFETIME_DAYS"])
def test_an_undeclared_model_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}.*'(Call|calls)'.*Item, ScoreResult, Task"):
        read(**{name: '{"calls": "Call"}' if name == "SOURCE_TABLES" else '{"calls": 7}'})


@pytest.mark.parametrize(
    "text", ["Item", "a//1", "arn:aws:dynamodb:us-east-1:1:table/Item-a", "Item-a/stream/1/2"]
)
def test_what_names_no_stream_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"STREAM_ARNS: .*not the ARN of a table's stream"):
        read(STREAM_ARNS=text)


@pytest.mark.parametrize(
    "text", ["Item-a/1", "arn:aws-us-gov:dynamodb:us-gov-west-1:1:table/Item-a/stream/1"]
)
def test_of_a_stream_the_table_and_the_label_are_kept(text: str) -> None:
    settings = read(STREAM_ARNS=text)
    assert settings.streams == {"Item": "Item-a/1"}
    assert settings.tables == {"Item": "Item-a"}


def test_a_stream_of_an_unknown_table_is_refused_with_the_remedy() -> None:
    with pytest.raises(SettingsError, match=r"STREAM_ARNS: .*SOURCE_TABLES"):
        _ = read(STREAM_ARNS="calls/1").streams


@pytest.mark.parametrize(
    ("grace", "window", "after"), [(120, 10, 120), (0, 10, 110), (120, 300, 410)]
)
def test_a_bucket_is_complete_after_the_grace_and_after_the_window(
    grace: int, window: int, after: int
) -> None:
    """A batch waits for its window, and is applied soon after."""
    settings = read(GRACE_SECONDS=str(grace), BATCHING_WINDOW_SECONDS=str(window))
    assert settings.complete_after == max(after, window + 110)


def test_only_on_this_machine_are_the_ten_minutes_short() -> None:
    """Tests of the local stack do not wait; http is refused for any other host."""
    local = read(GRAPHQL_ENDPOINT="http://127.0.0.1:4566/graphql", GRACE_SECONDS="2")
    assert (local.hold_seconds, local.complete_after) == (5, 2)
    assert read(GRACE_SECONDS="2").hold_seconds == 600
