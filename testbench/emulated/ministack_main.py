"""The emulator's command, with a bound on the API's requests that are carried out at once.

Each has processes of its own for its resolvers, started for a burst and killed when they are late.
On few cores a burst of them ends in nothing but starts. Here the others wait, and processes stay.

Runs in the emulator's interpreter (`python -P`), which has none of this project's packages.
"""

import sys
import threading
from typing import Any

from ministack.app import main
from ministack.core import appsync_js
from ministack.services import appsync

_AT_ONCE = 4
_execute = appsync._execute_graphql
_free = threading.BoundedSemaphore(_AT_ONCE)


def _execute_in_turn(*given: Any) -> Any:
    with _free:
        return _execute(*given)


if __name__ == "__main__":
    appsync._execute_graphql, appsync_js._pool.max_idle = _execute_in_turn, _AT_ONCE
    sys.exit(main())
