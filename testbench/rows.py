"""Lifelike rows of the source models, as plain values; AWSJSON as what it holds.

    score_result(value="ERROR", cost=None)

Every call gives a new row of the same content: what matters to a test stands in the test. An
argument of REMOVED leaves an attribute out.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

type Attributes = dict[str, Any]

ACCOUNT = "acct-1"
CREATED_AT = "2026-11-22T10:05:30.000Z"

REMOVED = object()

_SCOPE = {"scorecardId": "scorecard-1", "scoreId": "score-1"}
_LIFELIKE: Mapping[str, Attributes] = {
    "Item": {
        "id": "item-1",
        "externalId": "call-1",
        "description": "Call of 4 minutes",
        "isEvaluation": False,
        "createdByType": "prediction",
        "identifiers": [{"name": "Call", "value": "20417"}],
        "metadata": {"channel": "phone", "seconds": 241},
        "text": "Agent: Good morning, how can I help you?",
    },
    "ScoreResult": {  # in dollars 0.00123 for two calls, one of them cached
        **_SCOPE,
        "id": "result-1",
        "value": "Yes",
        "explanation": "The agent greeted the caller.",
        "confidence": 0.93,
        "type": "prediction",
        "status": "COMPLETED",
        "code": "200",
        "itemId": "item-1",
        "scoringJobId": "job-1",
        "cost": {
            "total_cost": 0.00123,
            "llm_calls": 2,
            "cached_llm_calls": 1,
            "prompt_tokens": 1804,
        },
        "metadata": {"model": "large", "attempts": 1},
    },
    "Task": {
        "id": "task-1",
        "type": "Prediction",
        "status": "RUNNING",
        "target": "prediction/item-1",
        "command": "predict --item item-1",
        "dispatchStatus": "DISPATCHED",
        "metadata": {"priority": 3},
        "startedAt": CREATED_AT,
    },
    "Evaluation": {  # its cost is a float of dollars
        **_SCOPE,
        "id": "evaluation-1",
        "type": "accuracy",
        "status": "COMPLETED",
        "accuracy": 93.5,
        "cost": 1.25,
        "parameters": {"samples": 200},
        "metrics": [{"name": "precision", "value": 0.91}],
        "totalItems": 200,
        "processedItems": 200,
    },
    "FeedbackItem": {  # it agrees with a score result
        **_SCOPE,
        "id": "feedback-1",
        "itemId": "item-1",
        "cacheKey": "score-1:feedback-1",
        "initialAnswerValue": "Yes",
        "finalAnswerValue": "Yes",
        "editorName": "Kim",
        "isAgreement": True,
        "isInvalid": False,
    },
    "Procedure": {"id": "procedure-1", "name": "Alignment"},
    "ChatSession": {"id": "session-1", "status": "ACTIVE"},
    "ChatMessage": {
        "id": "message-1",
        "sessionId": "session-1",
        "role": "USER",
        "content": "How many calls were scored?",
    },
}


def _row(model: str, id: str | None = None, **changes: Any) -> Attributes:  # noqa: A002 (its name)
    row = {"accountId": ACCOUNT, "createdAt": CREATED_AT, "updatedAt": CREATED_AT}
    row |= deepcopy(_LIFELIKE[model]) | {"__typename": model} | ({"id": id} if id else {}) | changes
    return {name: value for name, value in row.items() if value is not REMOVED}


MAKERS: Mapping[str, Callable[..., Attributes]] = {
    model: partial(_row, model) for model in _LIFELIKE
}
"""What makes a row of a model; its first argument is the row's id."""
item, score_result, task, evaluation, feedback_item = (
    MAKERS[model] for model in ("Item", "ScoreResult", "Task", "Evaluation", "FeedbackItem")
)
