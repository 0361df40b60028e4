"""How rows count: built-in models, custom ones, indexes, and the registry."""

import json
from typing import Any

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.declarations import Declaration, Document
from aggregated_metrics.core.errors import SettingsError, UncountableError
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.models import BUILT_IN, Model, Part
from aggregated_metrics.core.series import Series

from testbench import oracle, rows
from testbench.streams import image

CALLS = {"total_cost": "0.00123", "api_calls": 2, "cached_api_calls": 1}
REVIEW: dict[str, Any] = {
    "name": "Review",
    "recordType": "reviews",
    "account": "tenant",
    "time": ["reviewedAt", "createdAt"],
    "listing": {"query": "listReviewByTenantAndUpdatedAt", "by": "updatedAt"},
    "split": {"channel": {"phone": "phoneReviews", "2": "mailReviews"}},
    "breakdowns": {"reviewsByScorecard": "sheet", "reviewsByScore": ["sheet", "question"]},
    "measures": {
        "cost": {"dollars": ["usage.total", "usage.usd"]},
        "errorCount": {"equals": {"state": ["BROKEN", True]}},
        "decisionCount": {"present": "verdict"},
        "wordCount": {"number": "usage.detail.words"},
        "pageCount": {"number": "pages"},
    },
    "required": ["tenant", "state"],
    "types": {"pages": "Int"},
}
REVIEWED = {
    "id": "r1",
    "tenant": "t1",
    "reviewedAt": "2026-11-22T10:05:30Z",
    "createdAt": "2026-11-22T09:00:00Z",
    "updatedAt": "2026-11-22T10:06:00Z",
    "channel": "phone",
    "sheet": "s1",
    "question": "q1",
    "state": "BROKEN",
    "verdict": "good",
    "pages": 3,
    "usage": {"total": "0.25", "detail": {"words": 120}},
}


def part(model: Model, row: dict[str, Any]) -> Part:
    """What a row adds, by its image and by the API alike."""
    given = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()}
    found = model.part_of(image(row))
    assert found is not None
    assert repr(model.part_of_row(given)) == repr(found)
    return found


def refused(model: Model, row: dict[str, Any], reason: str) -> None:
    """A row is uncountable, by its image and by the API alike, and shortly said to be so."""
    cost = row.get("cost")
    given = row | ({"cost": json.dumps(cost)} if isinstance(cost, dict | list) else {})
    for count, each in ((model.part_of, image(row)), (model.part_of_row, given)):
        with pytest.raises(UncountableError, match=reason) as caught:
            count(each)
        assert len(str(caught.value)) < 100


def series(model: Model, row: dict[str, Any]) -> tuple[Series, ...]:
    (_, who, _), _, _ = part(model, row)
    return model.series(who)


def minute(model: Model, row: dict[str, Any]) -> int:
    return part(model, row)[0][0]


def measures(model: str, row: dict[str, Any]) -> Measures:
    return Measures(*part(BUILT_IN[model], row)[1])


def result(**changes: Any) -> Measures:
    return measures("ScoreResult", rows.score_result(**changes))


def reviewing(**changes: Any) -> Model:
    return Model(Declaration.model_validate(REVIEW | changes))


@pytest.mark.parametrize("model", [*BUILT_IN], ids=lambda model: model.name)
def test_a_models_measures_have_a_number_for_every_name_and_the_oracle_the_same_names(
    model: Model,
) -> None:
    names = (*oracle.MEASURES, *model.extra)
    assert oracle.measures_of(model.record_type) == names
    assert len(measures(model.name, rows.MAKERS[model.name]("row-1"))) == len(names)


def test_every_built_in_model_is_declared_as_a_custom_one_would_be() -> None:
    for model in BUILT_IN:
        given = model.declaration.model_dump(exclude_defaults=True)
        assert Declaration.model_validate(given) == model.declaration


def test_a_code_from_400_on_is_an_error_if_it_is_a_number() -> None:
    good = ("200", "399", "OK", "", None, rows.REMOVED, "٤٠٤", " 404", "4_04")
    for code in (*good, "400", "404", "500", 500, "404.0", "4e2"):
        found = result(code=code)
        assert (found.errorCount, found.decisionCount) == ((0, 1) if code in good else (1, 0)), code


@pytest.mark.parametrize(
    "cost",
    [
        CALLS,
        json.dumps(CALLS),
        json.dumps(json.dumps(CALLS)),
        {"total_usd": "0.00123", "llm_calls": 2, "cached_llm_calls": 1},
        {"total_cost": 0.00123, "llm_calls": "2", "cached_api_calls": 1.0},
        '{"total_usd": 1.23e-3, "api_calls": 2, "cached_llm_calls": 1}',
        {**CALLS, "total_usd": "9", "llm_calls": 9, "cached_llm_calls": 9},
    ],
    ids=["map", "text", "text of a text", "other names", "mixed", "exponent", "first name wins"],
)
def test_cost_is_read_in_every_form_that_writers_leave(cost: Any) -> None:
    assert result(cost=cost) == Measures(1, 1230, 1, 2, 1, 0)


def test_without_dollars_calls_are_counted_and_zero_calls_are_not_missing() -> None:
    for nothing in (None, rows.REMOVED, "", {}, "{}", "null", '"{}"'):
        assert result(cost=nothing) == Measures(1, 0, 1, 0)
    assert result(cost={"llm_calls": 3.9}) == Measures(1, 0, 1, 3)
    assert result(cost={"api_calls": 0, "llm_calls": 5}) == Measures(1, 0, 1, 0)


@pytest.mark.parametrize(
    "cost",
    [
        *("free", "[1]", [1], "3", {"total_cost": "a lot"}, {"total_cost": {"USD": 1}}),
        *({"total_cost": True}, {"total_cost": "1_000"}, {"llm_calls": " 5"}),
        *('{"total_cost": NaN}', '{"llm_calls": 1e9999999}', "[" * 100_000),
        json.dumps(json.dumps(json.dumps(CALLS))),
    ],
)
def test_a_cost_that_is_none_is_uncountable_and_said_shortly(cost: Any) -> None:
    refused(BUILT_IN["ScoreResult"], rows.score_result(cost=cost), "cost|too large")


@pytest.mark.parametrize("name", ["Task", "Evaluation", "Procedure", "ChatSession"])
def test_what_failed_is_an_error(name: str) -> None:
    states = ("FAILED", "ERROR", "COMPLETED", "failed", rows.REMOVED)
    found = [measures(name, rows.MAKERS[name](status=status)) for status in states]
    assert [each.errorCount for each in found] == [1, 1, 0, 0, 0]
    assert {each.count for each in found} == {1}


def test_an_evaluation_has_its_dollars() -> None:
    for cost, millionths in ((1.2345675, 1_234_568), (0, 0), (None, 0), (rows.REMOVED, 0)):
        assert measures("Evaluation", rows.evaluation(cost=cost)) == Measures(1, millionths)


def test_feedback_is_changed_unchanged_or_invalid() -> None:
    def kinds(**changes: Any) -> tuple[int, ...]:
        return measures("FeedbackItem", rows.feedback_item(**changes))[6:]

    assert kinds() == kinds(isInvalid=rows.REMOVED) == (0, 1, 0)
    assert kinds(finalAnswerValue="No") == (1, 0, 0)
    assert kinds(isInvalid=True) == kinds(initialAnswerValue=None) == (0, 0, 1)


@pytest.mark.parametrize("model", [*BUILT_IN], ids=lambda model: model.name)
@pytest.mark.parametrize("account", [None, "", rows.REMOVED, 7, {}])
def test_without_an_account_a_row_is_uncountable(model: Model, account: Any) -> None:
    refused(model, rows.item(accountId=account), "accountId")


def test_an_account_of_more_than_1400_bytes_is_uncountable() -> None:
    """No key could hold it."""
    assert result(accountId="ä" * 700).count == 1
    refused(BUILT_IN["Item"], rows.item(accountId="ä" * 701), "accountId has more than 1400 bytes")


@pytest.mark.parametrize(
    "created",
    [
        *(None, "", rows.REMOVED, 1795341269, "soon", "2026-11-22", "2026-11-22T10:05:30"),
        *("2026-11-22T10:05:00,5Z", "2026-11-22 10:05:00Z", "2026-W47-7T10:05Z", "20261122T1005Z"),
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:00-01:00"),
    ],
)
def test_without_a_time_that_appsync_takes_and_a_key_can_name_a_row_is_uncountable(
    created: Any,
) -> None:
    refused(BUILT_IN["Item"], rows.item(createdAt=created), "createdAt")


def test_the_minute_is_that_of_the_first_time_that_is_there_in_utc() -> None:
    row = rows.item(createdAt="2026-11-22T15:35:59.999+05:30")
    assert minute(BUILT_IN["Item"], row) == buckets.minute_of("2026-11-22T10:05Z")
    for name in BUILT_IN["FeedbackItem"].times:
        row = rows.feedback_item(**{name: "2026-11-22T08:01:00Z"})
        found = minute(BUILT_IN["FeedbackItem"], row)
        assert (found == buckets.minute_of("2026-11-22T08:01Z")) == (
            name == "editedAt" or (name == "updatedAt" and "editedAt" not in row)
        )


@pytest.mark.parametrize("model", ["ScoreResult", "Evaluation", "FeedbackItem"])
def test_a_row_counts_by_scorecard_and_by_score_where_that_is_on(model: str) -> None:
    row, whole = rows.MAKERS[model](), BUILT_IN[model]
    by_card = Series("acct-1", f"{whole.record_type}ByScorecard", "scorecard-1")
    by_score = Series("acct-1", f"{whole.record_type}ByScore", "scorecard-1", "score-1")
    for on, scopes in ((None, [by_card, by_score]), (by_card, [by_card]), (by_score, [by_score])):
        one = whole if on is None else whole.only({on.record_type, "itemsByScore"})
        assert [each for each in series(one, row) if each.scope_id] == scopes
    assert not any(each.scope_id for each in series(whole.only(()), row))


def test_an_id_that_is_missing_or_too_long_for_a_key_counts_into_no_breakdown() -> None:
    def scopes(**changes: Any) -> list[str]:
        found = series(BUILT_IN["ScoreResult"], rows.score_result(**changes))
        return [each.scope_id for each in found if each.scope_id]

    for missing in (rows.REMOVED, None, "", "s" * 181):
        assert scopes(scoreId=missing) == ["scorecard-1"]
        assert scopes(scorecardId=missing) == []
    assert scopes(scoreId=7) == ["scorecard-1", "7"]


@pytest.mark.parametrize("name", ["Item", "ScoreResult", "FeedbackItem"])
def test_a_row_that_is_marked_as_deleted_is_no_row(name: str) -> None:
    row = rows.MAKERS[name](_deleted=True, accountId="")
    assert BUILT_IN[name].part_of(image(row)) is None
    assert BUILT_IN[name].part_of_row(row) is None
    for mark in (False, None, "true"):
        kept = rows.MAKERS[name](_deleted=mark)
        assert part(BUILT_IN[name], kept) == part(BUILT_IN[name], rows.MAKERS[name]())


@pytest.mark.parametrize("bad", [[], "text", None, {"accountId": "a"}])
def test_what_is_not_dynamodb_json_is_uncountable(bad: Any) -> None:
    with pytest.raises(UncountableError, match="not DynamoDB JSON"):
        BUILT_IN["Item"].part_of(bad)


@pytest.mark.parametrize(
    ("name", "changes", "is_indexed"),
    [
        ("Item", {}, True),
        ("Item", {"createdAt": "2026-11-22T10:05Z", "updatedAt": "yesterday"}, True),
        ("Item", {"createdAt": "2026-11-22T10:05:00+00:00"}, True),
        ("Item", {"createdAt": "2026-11-22T12:05:00+02:00"}, False),
        ("Task", {"updatedAt": "2026-11-22T10:00:00Z"}, True),
        ("Task", {"updatedAt": "2026-11-23T09:00:00Z"}, True),
        ("Task", {"updatedAt": "2026-11-22T09:59:59Z"}, False),
        ("Task", {"updatedAt": "2026-11-22T12:30:00+02:00"}, True),
        ("Task", {"updatedAt": "2027"}, False),
        ("Task", {"updatedAt": rows.REMOVED}, False),
        ("Task", {"status": rows.REMOVED}, False),
        ("Task", {"status": None}, False),
        ("Evaluation", {"cost": 1}, True),
        ("FeedbackItem", {"scoreId": rows.REMOVED}, False),
        ("FeedbackItem", {"editedAt": "2026-11-22T10:59Z", "updatedAt": "2026-11-22T10:00Z"}, True),
        ("FeedbackItem", {"editedAt": "2026-11-22T11:00:00Z"}, False),
        ("ScoreResult", {"scorecardId": rows.REMOVED}, False),
        ("ScoreResult", {"value": rows.REMOVED}, False),
    ],
)
def test_a_row_is_indexed_if_its_index_lists_it_within_its_hour_and_the_api_can_give_it(
    name: str, changes: dict[str, Any], is_indexed: bool
) -> None:
    for model in (BUILT_IN[name], BUILT_IN[name].only(())):
        assert part(model, rows.MAKERS[name](**changes))[2] is is_indexed


def test_a_row_of_which_the_api_gives_null_is_unindexed_though_its_image_counts() -> None:
    row = rows.feedback_item(editedAt="2026-11-22T10:59:00Z", createdAt="once")
    found = BUILT_IN["FeedbackItem"].part_of(image(row))
    assert found is not None
    assert not found[2]
    assert "createdAt" in BUILT_IN["FeedbackItem"].demanded


@pytest.mark.parametrize(
    ("kind", "fits", "unfit"),
    [
        ("Int", [1, -(2**31), None], [1.5, 2**31, "1", True]),
        ("Float", [1, 1.5, 10**30], ["1.5", False]),
        ("Boolean", [True, None], [1, "true"]),
    ],
)
def test_a_value_of_another_type_than_the_schemas_makes_a_row_unindexed(
    kind: str, fits: list[Any], unfit: list[Any]
) -> None:
    model = reviewing(types={"verdict": kind})
    images = [image(REVIEWED | {"verdict": value}) for value in fits + unfit]
    indexed = [found and found[2] for found in map(model.part_of, images)]
    assert indexed == [True] * len(fits) + [False] * len(unfit)


def test_what_a_check_selects_has_the_identifier_the_index_and_what_is_required() -> None:
    model = reviewing(identifier=["tenant", "number"], required=["tenant", "title"])
    read = {"reviewedAt", "createdAt", "updatedAt", "channel", "sheet", "question", "state"}
    read |= {"verdict", "usage", "pages"}
    assert {*model.selected} == {"tenant", "number", "title", *read}
    assert len(model.selected) == len({*model.selected})
    assert {*model.projected} == {*model.selected, "_deleted"}
    assert model.demanded == {"reviewedAt", "createdAt", "updatedAt", "tenant", "title", "pages"}
    off = model.only(())
    assert {*model.selected} - {*off.selected} == {"sheet", "question"}
    assert "_deleted" in Model(model.declaration, soft_deletes=True).selected


def test_a_row_has_the_same_id_from_an_image_and_from_the_api() -> None:
    model = reviewing(identifier=["tenant", "number"])
    row = REVIEWED | {"number": 7}
    assert model.row_id(row) == model.image_id(image(row)) == "t1\x007"


def test_a_declared_row_counts_by_account_time_split_and_scope() -> None:
    assert [*series(reviewing(), REVIEWED)] == [
        Series("t1", "reviews"),
        Series("t1", "phoneReviews"),
        Series("t1", "reviewsByScorecard", "s1"),
        Series("t1", "reviewsByScore", "s1", "q1"),
    ]
    by_mail, unreviewed = REVIEWED | {"channel": 2.0}, REVIEWED | {"reviewedAt": None}
    assert series(reviewing(), by_mail)[1] == Series("t1", "mailReviews")
    assert minute(reviewing(), unreviewed) == minute(reviewing(), REVIEWED) - 65


@pytest.mark.parametrize(
    ("changes", "sums"),
    [
        ({}, (1, 250_000, 1, 0, 0, 1, 120, 3)),
        ({"usage": None}, (1, 0, 1, 0, 0, 1, 0, 3)),
        ({"usage": '{"usd": 1, "detail": 7}'}, (1, 1_000_000, 1, 0, 0, 1, 0, 3)),
        ({"state": True, "verdict": False}, (1, 250_000, 1, 0, 0, 1, 120, 3)),
        ({"state": "", "verdict": ""}, (1, 250_000, 0, 0, 0, 0, 120, 3)),
        ({"pages": -2}, (1, 250_000, 1, 0, 0, 1, 120, -2)),
    ],
)
def test_what_is_missing_is_nothing_and_the_first_path_that_has_a_value_counts(
    changes: dict[str, Any], sums: tuple[int, ...]
) -> None:
    assert part(reviewing(), REVIEWED | changes)[1] == sums
    assert reviewing().extra == ("wordCount", "pageCount")


@pytest.mark.parametrize("pages", ["many", [1], {"n": 1}, True, 1e30])
def test_a_measure_that_is_not_a_number_makes_a_row_uncountable(pages: Any) -> None:
    refused(reviewing(), REVIEWED | {"pages": pages}, "pages|too large")


def test_a_tables_name_or_a_setting_says_its_model() -> None:
    settings = {"calls": "ChatMessage", "ChatSession-a-b": "Procedure"}
    tables = {"Item-abcdefghij-NONE": "Item", "Evaluation": "Evaluation", **settings}
    for table, model in tables.items():
        assert BUILT_IN.of_table(table, settings).name == model


@pytest.mark.parametrize(
    "table",
    ["FeedbackItems-abc-NONE", "ItemArchive-abc-NONE", "item-abc-NONE", "prod-Item", "-Item", ""],
)
def test_only_the_exact_model_name_is_known_and_the_error_names_the_setting(table: str) -> None:
    with pytest.raises(UncountableError, match="SOURCE_TABLES") as caught:
        BUILT_IN.of_table(table, {})
    assert f'{{"{table}": "Item"}}' in str(caught.value)


def declaring(*models: dict[str, Any], **more: Any) -> Any:
    return BUILT_IN.declaring(Document.model_validate({"models": models, **more}))


def test_declared_models_come_after_the_built_in_ones() -> None:
    models = declaring(REVIEW)
    assert [model.name for model in models] == [*(model.name for model in BUILT_IN), "Review"]
    assert (models.of("phoneReviews"), models.of("x")) == (models["Review"], None)
    names = ("reviewsByScore", "items", "x")
    assert [*map(models.extra_measures, names)] == [("wordCount", "pageCount"), (), ()]
    off = models.only({"reviewsByScore"})
    assert off.breakdowns == {"reviewsByScore": ("sheet", "question")}
    assert off.of("reviewsByScorecard") is None


def test_soft_deletes_name_built_in_and_declared_models() -> None:
    models = declaring(REVIEW, softDeletes=["Item", "Review"])
    assert [model.name for model in models if "_deleted" in model.selected] == ["Item", "Review"]
    with pytest.raises(SettingsError, match="no model is named Call"):
        declaring(softDeletes=["Call"])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"name": "Item"}, "Item"),
        ({"recordType": "items"}, "items"),
        ({"breakdowns": {"tasks": ["sheet"]}}, "tasks"),
        ({"split": {"channel": {"x": "scoreResultsByScore"}}}, "scoreResultsByScore"),
    ],
)
def test_a_name_of_another_model_is_refused(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is already .*'s; choose another name"):
        declaring(REVIEW | changes)
    with pytest.raises(SettingsError, match="model Review: Review is already Review's"):
        declaring(REVIEW, REVIEW | {"recordType": "others", "split": {}, "breakdowns": {}})
