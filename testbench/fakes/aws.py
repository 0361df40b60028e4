"""The calls of SQS and Lambda that the functions make, in memory; and how other processes call.

moto's queue gets slower by every message. That the real calls work is tested on moto
(tests/integration).
"""

import contextlib
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import urllib3
from botocore import xform_name
from botocore.exceptions import ClientError

from testbench.fakes.dynamodb import Client
from testbench.fakes.endpoint import Answer
from testbench.fakes.scans import refused
from testbench.fakes.serving import Server, serving
from testbench.fakes.signatures import Request
from testbench.streams import table_arn

type Entries = Sequence[Mapping[str, Any]]

_ENTRIES = 10
_BYTES = 262_144


class MemoryQueue:
    """One queue; `bodies` are all that were ever sent."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self._gone: set[int] = set()
        self._hidden: set[int] = set()

    def receive_message(self, *, MaxNumberOfMessages: int = 1, **_: Any) -> dict[str, Any]:
        """The oldest messages that were not received yet; then none once, and all again."""
        there = [i for i in range(len(self.bodies)) if i not in self._gone | self._hidden]
        taken = there[:MaxNumberOfMessages]
        self._hidden = {*self._hidden, *taken} if taken else set()
        messages = [
            {"MessageId": str(i), "ReceiptHandle": str(i), "Body": self.bodies[i]} for i in taken
        ]
        return {"Messages": messages} if messages else {}

    def delete_message_batch(self, *, Entries: Entries, **_: Any) -> dict[str, Any]:
        self._gone |= {int(entry["ReceiptHandle"]) for entry in Entries}
        return {}

    def change_message_visibility_batch(self, *, Entries: Entries, **_: Any) -> dict[str, Any]:
        self._hidden -= {int(entry["ReceiptHandle"]) for entry in Entries}
        return {}

    def send_message(self, body: str) -> None:
        """A message of another service's."""
        self.bodies.append(body)

    def send_message_batch(self, *, Entries: Entries, **_: Any) -> dict[str, Any]:
        if len(Entries) > _ENTRIES or sum(len(entry["MessageBody"]) for entry in Entries) > _BYTES:
            raise refused("BatchRequestTooLong", "SendMessageBatch")
        self.bodies += [entry["MessageBody"] for entry in Entries]
        return {}


class Queues:
    """SQS's client for several queues, by their URLs."""

    def __init__(self, queues: Mapping[str, MemoryQueue]) -> None:
        self._queues = queues

    def __getattr__(self, call: str) -> Callable[..., Any]:
        return lambda *, QueueUrl, **asked: getattr(self._queues[QueueUrl], call)(**asked)


class FakeMappings(Client):
    """Lambda's client, as far as it describes the stream function's mappings.

    Attributes:
        mappings: stream (`table/label`) to state, last result and when it was modified.
        throttled: whether the function may not run.
    """

    def __init__(self) -> None:
        self.mappings: dict[str, tuple[str, str, datetime]] = {}
        self.throttled = False

    def enable(self, streams: Iterable[str], modified: datetime) -> None:
        """Make an enabled mapping for each stream."""
        self.mappings |= dict.fromkeys(streams, ("Enabled", "OK", modified))

    def get_function_concurrency(self, *, FunctionName: str) -> dict[str, Any]:
        return {"ReservedConcurrentExecutions": 0} if self.throttled else {}

    def list_event_source_mappings(self, *, FunctionName: str) -> dict[str, Any]:
        return {
            "EventSourceMappings": [
                {
                    "EventSourceArn": table_arn(stream.replace("/", "/stream/")),
                    "State": state,
                    "LastProcessingResult": result,
                    "LastModified": modified,
                }
                for stream, (state, result, modified) in self.mappings.items()
            ]
        }


@contextlib.contextmanager
def serve(clients: Callable[[str], Any]) -> Iterator[str]:
    """Let other processes ask these clients, by service (`redirect`); gives the URL."""
    lock = threading.Lock()

    def answer(request: Request) -> Answer:
        service, call, arguments = pickle.loads(request.body)
        try:
            with lock:
                found = getattr(clients(service), call)(**arguments) or {}
        except ClientError as error:
            return Answer(400, pickle.dumps(error.response))
        return Answer(200, pickle.dumps(found))

    with serving(Server(answer)) as server:
        yield server.url


def redirect(client: Any, url: str) -> Any:
    """Have each call of a botocore client answered at this URL; it still checks and raises."""
    events, pool = client.meta.events, urllib3.PoolManager(retries=False)
    events.register("provide-client-params", _note_arguments)
    events.register("before-call", partial(_ask, pool, url))
    return client


def _note_arguments(*, params: Any, context: dict[str, Any], **_: Any) -> None:
    context["arguments"] = dict(params)


def _ask(pool: urllib3.PoolManager, url: str, *, model: Any, context: Any, **_: Any) -> Any:
    asked = (model.service_model.service_name, xform_name(model.name), context["arguments"])
    answer = pool.request("POST", url, body=pickle.dumps(asked))
    return SimpleNamespace(status_code=answer.status), pickle.loads(answer.data)
