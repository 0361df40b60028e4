"""What makes a batch fail, and what a person should know before the first: a line each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aggregated_metrics.adapters.hour_store import BUCKETS_PER_SAVE
from botocore.exceptions import ClientError
from graphql import GraphQLSchema

from aggregated_metrics_cli.declared import fields_of
from aggregated_metrics_cli.findings import COUNTS, Finding

FIREWALL_BYTES = 8_000
"""Below the 8 KB of a body that AWS WAF looks at for AppSync."""
DEEPEST = 3
"""How deep documents select: a field of Query, its items, their attributes."""
VIEW_TYPE = "NEW_AND_OLD_IMAGES"
_SHARDS = 4
"""How many shards the stream of a new table begins with; each takes one execution at a time."""
_STALE = ("FULL_REQUEST_CACHING", "OPERATION_LEVEL_CACHING")


def settings(api: Mapping[str, Any]) -> Iterator[Finding]:
    """What the API's own settings (AppSync's GraphqlApi) refuse."""
    more = api.get("additionalAuthenticationProviders") or ()
    modes = [each["authenticationType"] for each in (api, *more)]
    if "AWS_IAM" not in modes:
        yield Finding(
            "API: IAM",
            "wrong",
            f"only {', '.join(modes)}",
            "Amplify Gen 2 always enables IAM: deploy the back end again. Otherwise add AWS_IAM to "
            "its additional authorization modes",
        )
    if api.get("visibility", "GLOBAL") == "PRIVATE":
        yield Finding(
            "API: visibility",
            "wrong",
            "it is private, and the functions are in no VPC",
            "attach to an API that is global",
        )
    for name, least in (("resolverCountLimit", BUCKETS_PER_SAVE), ("queryDepthLimit", DEEPEST)):
        limit = int(api.get(name) or 0)
        if 0 < limit < least:
            remedy = f"set it to {least} or more, or to 0 for AppSync's own"
            yield Finding(f"API: {name}", "wrong", f"{limit}; needed: {least}", remedy)
    if api.get("wafWebAclArn"):
        found = "it may block bodies above 8 KB"
        remedy = f"MaxRequestBytes={FIREWALL_BYTES} is written: requests keep below"
        yield Finding("API: firewall", "note", found, remedy)


def cache(appsync: Any, api_id: str) -> Iterator[Finding]:
    """Whether whole answers come from a cache: every update would fail on a stale version."""
    try:
        behaviour = appsync.get_api_cache(apiId=api_id)["apiCache"]["apiCachingBehavior"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotFoundException":
            raise
        return
    if behaviour in _STALE:
        remedy = f"choose PER_RESOLVER_CACHING, without the resolvers of {COUNTS}"
        yield Finding("API: cache", "wrong", f"{behaviour}: hours are read stale", remedy)


def conflicts(soft_deletes: Sequence[str], schema: GraphQLSchema) -> Iterator[Finding]:
    """Which models detect conflicts: deletions only mark a row."""
    if "_version" in fields_of(schema, COUNTS):
        yield Finding(
            f"{COUNTS}: conflict detection",
            "wrong",
            "an update without _version fails",
            f"turn conflict detection off for {COUNTS}, and deploy it",
        )
    if soft_deletes:
        found = f"{', '.join(soft_deletes)}: a deletion only sets _deleted"
        remedy = "a row with _deleted: true counts as none"
        yield Finding("conflict detection", "note", found, remedy)


def stream(model: str, table: Mapping[str, Any]) -> Finding:
    """Whether the table's stream carries what counting needs."""
    what = f"{model}: stream"
    given = table.get("StreamSpecification") or {}
    turn_on = (
        "with Amplify Gen 2 set streamSpecification in amplify/backend.ts (docs/amplify.md); "
        f"without: aws dynamodb update-table --table-name {table['TableName']} "
        f"--stream-specification StreamEnabled=true,StreamViewType={VIEW_TYPE}"
    )
    if not given.get("StreamEnabled") or not table.get("LatestStreamArn"):
        return Finding(what, "wrong", "the table has no stream", turn_on)
    if given["StreamViewType"] != VIEW_TYPE:
        return Finding(
            what,
            "wrong",
            f"it carries {given['StreamViewType']}",
            "turn it off, which ends it for its other readers too "
            f"(--stream-specification StreamEnabled=false), then {turn_on}",
        )
    return Finding(what, "good", table["LatestStreamArn"].rsplit("/", 1)[1])


def expiry(dynamodb: Any, model: str, table: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether rows expire here or in a replica: neither means that they were never there."""
    name = table["TableName"]
    given = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    if given.get("TimeToLiveStatus") != "ENABLED":
        return
    remedy = f'set SourceLifetimeDays, such as {{"{model}": 90}}: a repair lowers no older hour'
    yield Finding(f"{model}: expiry", "note", f"rows expire by {given['AttributeName']}", remedy)
    if table.get("Replicas"):
        yield Finding(
            f"{model}: replicas",
            "note",
            "what expires in another region arrives as a plain deletion, and is subtracted",
            "let rows expire only in this region, or count in each region by itself",
        )


def concurrency(functions: Any, tables: int) -> Iterator[Finding]:
    """Whether the account has an execution for each shard; new accounts have few."""
    limits = functions.get_account_settings()["AccountLimit"]
    available = limits["UnreservedConcurrentExecutions"]
    if available < tables * _SHARDS:
        yield Finding(
            "Lambda: concurrency",
            "note",
            f"{available} executions for about {tables * _SHARDS} shards: streams fall behind",
            "request a higher quota of concurrent executions",
        )
