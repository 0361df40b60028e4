"""Repairs the hours of batches that aged out uncounted, and takes their notes off the queue.

    aggregated-metrics repair-batches --stack aggregated-metrics-prod

For each note in the stack's FailedBatchesQueue: the object is read, the reconciler checks and sets
right the hours that its records touch, and only then the note is deleted. The object stays in its
bucket until it expires. It can be run again at any time.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import boto3
from aggregated_metrics.core.record_types import MODELS
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

_KEPT = frozenset({"id"}.union(*(model.attributes for model in MODELS.values())))
_INVISIBLE_SECONDS = 960
"""Longer than the reconciler's time-out, so that nobody else takes the note meanwhile."""

type Aws = Callable[[str], Any]


class RepairError(Exception):
    """A batch's hours were not repaired; its note stays in the queue."""


def repair(aws: Aws, outputs: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Repair batch after batch; gives each object's key and the reconciler's result.

    Args:
        aws: gives boto3's client for a service.
        outputs: the stack's.

    Raises:
        RepairError: the reconciler failed or may not repair yet; what was done before is done.
    """
    sqs, queue = aws("sqs"), outputs["FailedBatchesQueueUrl"]
    while messages := sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=1, VisibilityTimeout=_INVISIBLE_SECONDS
    ).get("Messages"):
        (message,) = messages
        place = json.loads(message["Body"])["detail"]
        key = place["object"]["key"]
        kept = aws("s3").get_object(Bucket=place["bucket"]["name"], Key=key)["Body"].read()
        result = _invoke(aws("lambda"), outputs["ReconcilerFunction"], event(json.loads(kept)))
        if result["behindSeconds"] is not None or result["movingCount"]:
            raise RepairError(
                f"{key}: the stream is still behind, or its hours are moving; run this again when "
                "StreamBehindAlarm is quiet (the note comes back within 16 minutes)"
            )
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        yield key, result


def event(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The reconciler's event for an on-failure object.

    Only what tells the hours is sent: a batch may be as large as an invocation's event may be.
    """
    payload = kept["payload"]
    batch = json.loads(payload) if isinstance(payload, str) else payload
    records = [{**record, "dynamodb": _slim(record["dynamodb"])} for record in batch["Records"]]
    return {"onFailure": {"payload": {**batch, "Records": records}}}


def _slim(change: Mapping[str, Any]) -> dict[str, Any]:
    images = {
        name: {key: value for key, value in change[name].items() if key in _KEPT}
        for name in ("OldImage", "NewImage")
        if name in change
    }
    return {**change, **images}


def _invoke(client: Any, function: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    answer = client.invoke(FunctionName=function, Payload=json.dumps(asked).encode())
    given: dict[str, Any] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise RepairError(f"{function}: {given.get('errorType')}: {given.get('errorMessage')}")
    return given


def main(arguments: Sequence[str], *, console: Console | None = None) -> int:
    """Run the command; gives back 0 when no batch is left unrepaired."""
    console = console or Console(highlight=False, soft_wrap=True)
    parser = argparse.ArgumentParser(prog="aggregated-metrics repair-batches", description=__doc__)
    parser.add_argument("--stack", required=True, help="the stack's name")
    parser.add_argument("--region")
    parser.add_argument("--profile")
    asked = parser.parse_args(arguments)
    session = boto3.Session(profile_name=asked.profile, region_name=asked.region)
    once = Config(read_timeout=910, retries={"total_max_attempts": 1})
    aws = cache(lambda service: session.client(service, config=once))
    try:
        stacks = aws("cloudformation").describe_stacks(StackName=asked.stack)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}
        done = 0
        for key, result in repair(aws, outputs):
            done += 1
            console.print(
                f"{key}: {result['hours']} hours, {result['driftCount']} wrong buckets, "
                f"{result['repaired']} set right"
            )
    except (RepairError, BotoCoreError, ClientError) as error:
        console.print(f"failed batches: {error}")
        return 1
    console.print(f"{done} batches repaired, none left")
    return 0
