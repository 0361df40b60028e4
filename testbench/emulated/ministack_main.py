"""The emulator's command, with three changes.

- The API's requests are carried out a few at a time. Each has processes of its own for its
  resolvers, started for a burst and killed when they are late. On few cores a burst of them ends in
  nothing but starts. Here the others wait, and processes stay.
- A permission has the name that AWS's IAM gives it: that of a single message for a batch of them,
  and GetFunctionConcurrency.
- An alarm on an expression, which the emulator refuses, watches the first metric of it.

Runs in the emulator's interpreter (`python -P`), which has none of this project's packages.
"""

import sys
import threading
from typing import Any

from ministack.app import main
from ministack.core import appsync_js, iam_actions
from ministack.services import appsync
from ministack.services.cloudformation import provisioners

_AT_ONCE = 4
_execute = appsync._execute_graphql
_free = threading.BoundedSemaphore(_AT_ONCE)
_alarm = provisioners._cw_metric_alarm_record
_action = iam_actions.extract_iam_action


def _execute_in_turn(*given: Any) -> Any:
    with _free:
        return _execute(*given)


def _action_of_aws(service: str, method: str, *given: Any) -> str | None:
    action: str | None = _action(service, method, *given)
    if action == "lambda:PutFunctionConcurrency" and method == "GET":
        return "lambda:GetFunctionConcurrency"
    return action.removesuffix("Batch") if action and service == "sqs" else action


def _alarm_on_a_metric(name: str, given: dict[str, Any]) -> Any:
    properties = dict(given)
    if queries := properties.pop("Metrics", None):
        first = queries[0]["MetricStat"]
        properties |= first["Metric"] | {"Period": first["Period"], "Statistic": first["Stat"]}
    return _alarm(name, properties)


if __name__ == "__main__":
    iam_actions.extract_iam_action = _action_of_aws
    provisioners._cw_metric_alarm_record = _alarm_on_a_metric
    appsync._execute_graphql, appsync_js._pool.max_idle = _execute_in_turn, _AT_ONCE
    sys.exit(main())
