"""What is counted: the models, and the record types that their rows count into. Pure.

Models that this package does not know are declared in own_models.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aggregated_metrics.core.declarations import registry, text_of
from aggregated_metrics.core.measures import Measures, calls, micro_dollars
from aggregated_metrics.core.own_models import OWN_MODELS
from aggregated_metrics.core.source_models import Model

ERROR_CODE = 400
_FAILED = frozenset({"FAILED", "ERROR"})
_COST_KEYS = (
    ("total_cost", "total_usd"),
    ("api_calls", "llm_calls"),
    ("cached_api_calls", "cached_llm_calls"),
)
_COUNTED_ONCE = Measures(count=1)
_FAILED_ONCE = Measures(count=1, errorCount=1)
_FEEDBACK = ("changedCount", "unchangedCount", "invalidCount")
_CHANGED, _UNCHANGED, _INVALID = (
    Measures(1, 0, 0, 0, 0, 0, *(int(name == each) for name in _FEEDBACK)) for each in _FEEDBACK
)


def _one() -> Measures:
    return _COUNTED_ONCE


def _task(status: Any) -> Measures:
    return _FAILED_ONCE if _has_failed(status) else _COUNTED_ONCE


def _evaluation(status: Any, dollars: Any) -> Measures:
    cost = 0 if dollars is None else micro_dollars(dollars)
    return Measures(count=1, cost=cost, errorCount=int(_has_failed(status)))


def _has_failed(status: Any) -> bool:
    return isinstance(status, str) and status in _FAILED


def _score_result(value: Any, code: Any, cost: Sequence[Any] | None) -> Measures:
    failed = _is_error(value, code)
    decided = 0 if failed or not value else 1
    if cost is None:
        return Measures(1, 0, decided, 0, 0, int(failed))
    dollars, made, cached = cost
    sums = (
        1,
        0 if dollars is None else micro_dollars(dollars),
        decided,
        0 if made is None else calls(made),
        0 if cached is None else calls(cached),
        int(failed),
    )
    return tuple.__new__(Measures, sums)  # in half the time of Measures(*sums)


def _is_error(value: Any, code: Any) -> bool:
    if isinstance(value, str) and value.upper() == "ERROR":
        return True
    if code is None:
        return False
    try:
        return int(code) >= ERROR_CODE
    except (TypeError, ValueError):
        return False  # a code that is no number says nothing about success


def _feedback(initial: Any, final: Any, is_invalid: Any) -> Measures:
    if initial is None or final is None or text_of(is_invalid) == "true":
        return _INVALID
    return _UNCHANGED if text_of(initial) == text_of(final) else _CHANGED


def _by_scorecard_and_score(record_type: str) -> dict[str, tuple[str, ...]]:
    return {
        f"{record_type}ByScorecard": ("scorecardId",),
        f"{record_type}ByScore": ("scorecardId", "scoreId"),
    }


KNOWN: tuple[Model, ...] = (
    Model(
        name="Item",
        record_type="items",
        measure=_one,
        listing=("listItemByAccountIdAndCreatedAt", "createdAt"),
        split_by="createdByType",
        splits={"prediction": "predictionItems", "evaluation": "evaluationItems"},
    ),
    Model(
        name="ScoreResult",
        record_type="scoreResults",
        measure=_score_result,
        measured=("value", "code"),
        required=("value", "scorecardId"),
        maps={"cost": _COST_KEYS},
        listing=("listScoreResultByAccountIdAndUpdatedAt", "updatedAt"),
        split_by="type",
        splits={"prediction": "predictionScoreResults", "evaluation": "evaluationScoreResults"},
        scopes=_by_scorecard_and_score("scoreResults"),
    ),
    Model(
        name="Task",
        record_type="tasks",
        measure=_task,
        measured=("status",),
        required=("status",),
        listing=("listTaskByAccountIdAndUpdatedAt", "updatedAt"),
    ),
    Model(
        name="Evaluation",
        record_type="evaluations",
        measure=_evaluation,
        measured=("status", "cost"),
        required=("status",),
        listing=("listEvaluationByAccountIdAndUpdatedAt", "updatedAt"),
        scopes=_by_scorecard_and_score("evaluations"),
    ),
    Model(
        name="FeedbackItem",
        record_type="feedbackItems",
        measure=_feedback,
        measured=("initialAnswerValue", "finalAnswerValue", "isInvalid"),
        times=("editedAt", "updatedAt", "createdAt"),
        # The index by editedAt does not have the rows that nobody has edited.
        listing=("listFeedbackItemByAccountIdAndUpdatedAt", "updatedAt"),
        scopes=_by_scorecard_and_score("feedbackItems"),
        extra=_FEEDBACK,
        required=("createdAt", "scorecardId", "scoreId"),
    ),
    Model(
        name="Procedure",
        record_type="procedures",
        measure=_one,
        listing=("listProcedureByAccountIdAndCreatedAt", "createdAt"),
    ),
    Model(
        name="ChatSession",
        record_type="chatSessions",
        measure=_one,
        listing=("listChatSessionByAccountIdAndUpdatedAt", "updatedAt"),
    ),
    Model(
        name="ChatMessage",
        record_type="chatMessages",
        measure=_one,
        listing=("listChatMessageByAccountIdAndCreatedAt", "createdAt"),
    ),
)
"""The models that need no declaration."""

MODELS: Mapping[str, Model] = registry(KNOWN, OWN_MODELS)
"""Every model by name."""


def own_models() -> list[str]:
    """The models that own_models declares, in its order."""
    known = {model.name for model in KNOWN}
    return [name for name in MODELS if name not in known]


RECORD_TYPES: tuple[str, ...] = tuple(
    name for model in MODELS.values() for name in (model.record_type, *model.splits.values())
)
"""Every record type but the breakdowns."""

SCOPES: Mapping[str, tuple[str, ...]] = {
    name: attributes for model in MODELS.values() for name, attributes in model.scopes.items()
}
"""The record types whose series are apart by scorecard (one attribute) or by score (two)."""

BREAKDOWNS: tuple[str, ...] = tuple(SCOPES)
"""Their names."""


def checkable(models: Collection[str], breakdowns: Collection[str]) -> tuple[str, ...]:
    """The record types of these models that a check by the hour can count again."""
    return tuple(
        name
        for model in MODELS.values()
        if model.name in models and model.listing is not None
        for name in model.counts_into
        if name not in model.scopes or name in breakdowns
    )


def model_of(record_type: str) -> Model:
    """The model whose rows count into `record_type`.

    Raises:
        KeyError: no model does.
    """
    for model in MODELS.values():
        if record_type in model.counts_into:
            return model
    raise KeyError(record_type)


def extra_of(record_type: str) -> tuple[str, ...]:
    """The measures that a record type's buckets keep in their metadata."""
    return next((m.extra for m in MODELS.values() if record_type in m.counts_into), ())
