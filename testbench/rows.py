"""Lifelike rows of the source models, as plain values; AWSJSON as what it holds.

    score_result(value="ERROR", cost=None)

Every call gives a new row of the same content: what matters to a test stands in the test. An
argument of REMOVED leaves an attribute out.
"""

from collections.abc import Callable, Mapping
from typing import Any

type Attributes = dict[str, Any]

ACCOUNT = "acct-1"
CREATED_AT = "2026-11-22T10:05:30.000Z"

REMOVED = object()


def _row(defaults: Attributes, changes: Attributes) -> Attributes:
    row = {"accountId": ACCOUNT, "createdAt": CREATED_AT, "updatedAt": CREATED_AT}
    row |= defaults | changes
    return {name: value for name, value in row.items() if value is not REMOVED}


def item(id: str = "item-1", **changes: Any) -> Attributes:  # noqa: A002 (the attribute's name)
    """An Item: a call transcript to be scored."""
    defaults = {
        "id": id,
        "externalId": f"call-{id}",
        "description": "Call of 4 minutes",
        "isEvaluation": False,
        "createdByType": "prediction",
        "identifiers": [{"name": "Call", "value": "20417"}],
        "metadata": {"channel": "phone", "seconds": 241},
        "text": "Agent: Good morning, how can I help you?",
        "__typename": "Item",
    }
    return _row(defaults, changes)


def score_result(id: str = "result-1", **changes: Any) -> Attributes:  # noqa: A002
    """A ScoreResult with its costs in dollars: 0.00123 for two calls, one of them cached."""
    defaults = {
        "id": id,
        "value": "Yes",
        "explanation": "The agent greeted the caller.",
        "confidence": 0.93,
        "type": "prediction",
        "status": "COMPLETED",
        "code": "200",
        "itemId": "item-1",
        "scorecardId": "scorecard-1",
        "scoreId": "score-1",
        "scoringJobId": "job-1",
        "cost": {
            "total_cost": 0.00123,
            "llm_calls": 2,
            "cached_llm_calls": 1,
            "prompt_tokens": 1804,
        },
        "metadata": {"model": "large", "attempts": 1},
        "__typename": "ScoreResult",
    }
    return _row(defaults, changes)


def task(id: str = "task-1", **changes: Any) -> Attributes:  # noqa: A002
    """A Task that has been started."""
    defaults = {
        "id": id,
        "type": "Prediction",
        "status": "RUNNING",
        "target": "prediction/item-1",
        "command": "predict --item item-1",
        "dispatchStatus": "DISPATCHED",
        "metadata": {"priority": 3},
        "startedAt": CREATED_AT,
        "__typename": "Task",
    }
    return _row(defaults, changes)


def evaluation(id: str = "evaluation-1", **changes: Any) -> Attributes:  # noqa: A002
    """An Evaluation of a score; its cost is a float of dollars."""
    defaults = {
        "id": id,
        "type": "accuracy",
        "status": "COMPLETED",
        "accuracy": 93.5,
        "cost": 1.25,
        "parameters": {"samples": 200},
        "metrics": [{"name": "precision", "value": 0.91}],
        "totalItems": 200,
        "processedItems": 200,
        "scorecardId": "scorecard-1",
        "scoreId": "score-1",
        "__typename": "Evaluation",
    }
    return _row(defaults, changes)


def feedback_item(id: str = "feedback-1", **changes: Any) -> Attributes:  # noqa: A002
    """A FeedbackItem that agrees with a score result."""
    defaults = {
        "id": id,
        "scorecardId": "scorecard-1",
        "scoreId": "score-1",
        "itemId": "item-1",
        "cacheKey": f"score-1:{id}",
        "initialAnswerValue": "Yes",
        "finalAnswerValue": "Yes",
        "editorName": "Kim",
        "isAgreement": True,
        "isInvalid": False,
        "__typename": "FeedbackItem",
    }
    return _row(defaults, changes)


def procedure(id: str = "procedure-1", **changes: Any) -> Attributes:  # noqa: A002
    """A Procedure."""
    return _row({"id": id, "name": "Alignment", "__typename": "Procedure"}, changes)


def chat_session(id: str = "session-1", **changes: Any) -> Attributes:  # noqa: A002
    """A ChatSession."""
    return _row({"id": id, "status": "ACTIVE", "__typename": "ChatSession"}, changes)


def chat_message(id: str = "message-1", **changes: Any) -> Attributes:  # noqa: A002
    """A ChatMessage."""
    defaults = {
        "id": id,
        "sessionId": "session-1",
        "role": "USER",
        "content": "How many calls were scored?",
        "__typename": "ChatMessage",
    }
    return _row(defaults, changes)


MAKERS: Mapping[str, Callable[..., Attributes]] = {
    "Item": item,
    "ScoreResult": score_result,
    "Task": task,
    "Evaluation": evaluation,
    "FeedbackItem": feedback_item,
    "Procedure": procedure,
    "ChatSession": chat_session,
    "ChatMessage": chat_message,
}
"""What makes a row of a model."""
