"""What makes a batch fail, and what a person should know before the first: a line each."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from aggregated_metrics.adapters.hour_store import BUCKETS_PER_SAVE
from aggregated_metrics.core.declarations import Document
from botocore.exceptions import ClientError

from aggregated_metrics_cli.model_file import as_variable

COUNTS = "AggregatedMetrics"
"""The model of the counts."""
FIREWALL_BYTES = 8_000
"""Below the 8 KB of a body that AWS WAF looks at for AppSync."""
DEEPEST = 3
"""How deep documents select: a field of Query, its items, their attributes."""
VIEW_TYPE = "NEW_AND_OLD_IMAGES"
_PARAMETER_BYTES = 4_096
"""CloudFormation's limit, and Lambda's for all variables of a function together."""
_SHARDS = 4
"""How many shards the stream of a new table begins with; each takes one execution at a time."""
_STALE = ("FULL_REQUEST_CACHING", "OPERATION_LEVEL_CACHING")


class Diagnostic(NamedTuple):
    """One thing that was looked at.

    Attributes:
        what: such as `Item: stream`.
        state: `wrong` makes batches fail; `note` is for a person to decide.
        found: what was found.
        remedy: what to do about it; empty when there is nothing to do.
    """

    what: str
    state: Literal["good", "note", "wrong"]
    found: str
    remedy: str = ""


def declarations(document: Document) -> Iterator[Diagnostic]:
    """Whether the declarations fit into the parameter that holds them."""
    size = len(as_variable(document))
    if size > _PARAMETER_BYTES:
        found = f"the declarations have {size:,} bytes; a parameter takes {_PARAMETER_BYTES:,}"
        yield Diagnostic(
            "Models", "wrong", found, "declare fewer models, or fewer values of splits"
        )


def settings(api: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """What the API's own settings (AppSync's GraphqlApi) refuse."""
    more = api.get("additionalAuthenticationProviders") or ()
    modes = [each["authenticationType"] for each in (api, *more)]
    if "AWS_IAM" not in modes:
        yield Diagnostic(
            "API: IAM",
            "wrong",
            f"only {', '.join(modes)}",
            "Amplify Gen 2 always enables IAM: deploy the back end again. Otherwise add AWS_IAM to "
            "its additional authorization modes",
        )
    if api.get("visibility", "GLOBAL") == "PRIVATE":
        yield Diagnostic(
            "API: visibility",
            "wrong",
            "it is private, and the functions are in no VPC",
            "attach to an API that is global",
        )
    for name, least in (("resolverCountLimit", BUCKETS_PER_SAVE), ("queryDepthLimit", DEEPEST)):
        limit = int(api.get(name) or 0)
        if 0 < limit < least:
            remedy = f"set it to {least} or more, or to 0 for AppSync's own"
            yield Diagnostic(f"API: {name}", "wrong", f"{limit}; needed: {least}", remedy)
    if api.get("wafWebAclArn"):
        found = "it may block bodies above 8 KB"
        remedy = f"MaxRequestBytes={FIREWALL_BYTES} is written: requests keep below"
        yield Diagnostic("API: firewall", "note", found, remedy)


def cache(appsync: Any, api_id: str) -> Iterator[Diagnostic]:
    """Whether whole answers come from a cache: every update would fail on a stale version."""
    try:
        behaviour = appsync.get_api_cache(apiId=api_id)["apiCache"]["apiCachingBehavior"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotFoundException":
            raise
        return
    if behaviour in _STALE:
        remedy = f"choose PER_RESOLVER_CACHING, without the resolvers of {COUNTS}"
        yield Diagnostic("API: cache", "wrong", f"{behaviour}: hours are read stale", remedy)


def stream(model: str, table: Mapping[str, Any]) -> Diagnostic:
    """Whether the table's stream carries what counting needs."""
    what = f"{model}: stream"
    given = table.get("StreamSpecification") or {}
    turn_on = (
        "with Amplify Gen 2 set streamSpecification in amplify/backend.ts (docs/amplify.md); "
        f"without: aws dynamodb update-table --table-name {table['TableName']} "
        f"--stream-specification StreamEnabled=true,StreamViewType={VIEW_TYPE}"
    )
    if not given.get("StreamEnabled") or not table.get("LatestStreamArn"):
        return Diagnostic(what, "wrong", "the table has no stream", turn_on)
    if given["StreamViewType"] != VIEW_TYPE:
        return Diagnostic(
            what,
            "wrong",
            f"it carries {given['StreamViewType']}",
            "turn it off, which ends it for its other readers too "
            f"(--stream-specification StreamEnabled=false), then {turn_on}",
        )
    return Diagnostic(what, "good", table["LatestStreamArn"].rsplit("/", 1)[1])


def expiry(dynamodb: Any, model: str, table: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Whether rows expire here or in a replica: neither means that they were never there."""
    name = table["TableName"]
    given = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    if given.get("TimeToLiveStatus") != "ENABLED":
        return
    remedy = f'set SourceLifetimeDays, such as {{"{model}": 90}}: a repair lowers no older hour'
    yield Diagnostic(f"{model}: expiry", "note", f"rows expire by {given['AttributeName']}", remedy)
    if table.get("Replicas"):
        yield Diagnostic(
            f"{model}: replicas",
            "note",
            "what expires in another region arrives as a plain deletion, and is subtracted",
            "let rows expire only in this region, or count in each region by itself",
        )


def concurrency(functions: Any, tables: int) -> Iterator[Diagnostic]:
    """Whether the account has an execution for each shard; new accounts have few."""
    limits = functions.get_account_settings()["AccountLimit"]
    available = limits["UnreservedConcurrentExecutions"]
    if available < tables * _SHARDS:
        yield Diagnostic(
            "Lambda: concurrency",
            "note",
            f"{available} executions for about {tables * _SHARDS} shards: streams fall behind",
            "request a higher quota of concurrent executions",
        )
