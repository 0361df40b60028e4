"""What reads the source tables' streams: the stream function's event source mappings.

Lambda emits IteratorAge only for batches that it has processed. A mapping that is off, gone, or on
a stream that its table no longer has therefore looks like a quiet table; only asking tells.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.core.errors import ConsumersError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient

_ENABLED = "Enabled"
_RESULTS = ("", "OK", "No records processed")
"""What LastProcessingResult begins with where nothing is wrong."""
_GONE = "ResourceNotFoundException"


class Mapping(NamedTuple):
    """One event source mapping.

    Attributes:
        stream: the ARN of the stream that it reads.
        state: such as `Enabled`; anything else reads nothing.
        result: what Lambda says of the last batch.
    """

    stream: str
    state: str
    result: str

    @property
    def trouble(self) -> str:
        """Why it does not count what comes; empty where it does."""
        if self.state != _ENABLED:
            return self.state
        return "" if self.result in _RESULTS or self.result.startswith("OK") else self.result


class Consumers:
    """The mappings of one function, and the streams of the tables that they read.

    Args:
        functions: boto3's Lambda client.
        tables: boto3's DynamoDB client.
        function: the stream function's name.
    """

    def __init__(self, functions: "LambdaClient", tables: "DynamoDBClient", function: str) -> None:
        self._functions = functions
        self._tables = tables
        self._function = function

    def troubles(self, streams: Collection[str]) -> dict[str, str]:
        """The streams that nobody reads as they come, and why.

        Raises:
            ConsumersError: Lambda did not answer.
        """
        found = {mapping.stream: mapping.trouble for mapping in self._mappings()}
        troubles = {stream: found.get(stream, "no mapping") for stream in streams}
        return {stream: trouble for stream, trouble in troubles.items() if trouble}

    def replaced(self, streams: Collection[str]) -> dict[str, str]:
        """The streams that are no longer their table's, with the one that is (empty if none is).

        Raises:
            ConsumersError: DynamoDB did not answer.
        """
        latest = {stream: self._latest(table_of(stream)) for stream in streams}
        return {stream: now for stream, now in latest.items() if now != stream}

    def _mappings(self) -> Iterator[Mapping]:
        try:
            pages = self._functions.get_paginator("list_event_source_mappings").paginate(
                FunctionName=self._function
            )
            for page in pages:
                for given in page["EventSourceMappings"]:
                    yield Mapping(
                        given.get("EventSourceArn", ""),
                        given.get("State", ""),
                        given.get("LastProcessingResult", ""),
                    )
        except (BotoCoreError, ClientError) as error:
            raise ConsumersError(
                f"the mappings of {self._function} cannot be listed ({error}); check "
                "STREAM_FUNCTION and the role's lambda:ListEventSourceMappings"
            ) from error

    def _latest(self, table: str) -> str:
        try:
            described: Any = self._tables.describe_table(TableName=table)["Table"]
        except ClientError as error:
            if error.response["Error"]["Code"] == _GONE:
                return ""
            raise ConsumersError(_remedy(table, error)) from error
        except BotoCoreError as error:
            raise ConsumersError(_remedy(table, error)) from error
        enabled = (described.get("StreamSpecification") or {}).get("StreamEnabled")
        return str(described.get("LatestStreamArn") or "") if enabled else ""


def table_of(stream: str) -> str:
    """The table's name in a stream's ARN: `arn:…:table/<name>/stream/<label>`."""
    return stream.split("/")[1]


def _remedy(table: str, why: object) -> str:
    return (
        f"the table {table} cannot be described ({why}); check STREAM_ARNS and the role's "
        "dynamodb:DescribeTable"
    )
