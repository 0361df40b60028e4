"""The settings of an AppSync API that decide whether a batch gets through. Reads only."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from aggregated_metrics.adapters.hour_store import BUCKETS_PER_SAVE
from botocore.exceptions import ClientError

from aggregated_metrics_cli.findings import Aws, Finding, unless_denied

FIREWALL_BYTES = 8_000
"""Below the 8 KB of a body that AWS WAF looks at for AppSync."""
_WHOLE = ("FULL_REQUEST_CACHING", "OPERATION_LEVEL_CACHING")
_LET_THROUGH = "cognitoIdentityPoolId"
"""Gen 2's resolvers let each IAM caller through that is no Cognito identity."""
_LISTED_ONLY = "adminRole"
"""Gen 1's resolvers let through whom custom-roles.json lists."""


def settings(api: Mapping[str, Any], deepest: int) -> Iterator[Finding]:
    """What the API's own settings say.

    Args:
        api: AppSync's GraphqlApi.
        deepest: how deep this project's documents select.
    """
    yield _iam_mode(api)
    if api.get("visibility", "GLOBAL") == "PRIVATE":
        yield Finding(
            "API: visibility",
            "wrong",
            "it is private: only a VPC with an endpoint reaches it",
            "the functions are in no VPC: attach to an API that is global",
        )
    resolvers = int(api.get("resolverCountLimit") or 0)
    if 0 < resolvers < BUCKETS_PER_SAVE:
        yield Finding(
            "API: resolver limit",
            "wrong",
            f"a request may call {resolvers} resolvers, a save calls up to {BUCKETS_PER_SAVE}",
            f"set resolverCountLimit to {BUCKETS_PER_SAVE} or more, or to 0 for AppSync's own",
        )
    depth = int(api.get("queryDepthLimit") or 0)
    if 0 < depth < deepest:
        yield Finding(
            "API: query depth",
            "wrong",
            f"a query may be {depth} deep, the deepest is {deepest}",
            f"set queryDepthLimit to {deepest} or more, or to 0 for none",
        )


def _iam_mode(api: Mapping[str, Any]) -> Finding:
    modes = [api["authenticationType"]] + [
        provider["authenticationType"]
        for provider in api.get("additionalAuthenticationProviders") or ()
    ]
    if "AWS_IAM" in modes:
        return Finding("API: IAM", "good", "requests signed with IAM are accepted")
    return Finding(
        "API: IAM",
        "wrong",
        f"only {', '.join(modes)}",
        "Amplify Gen 2 always enables IAM: deploy the back end again. Otherwise add AWS_IAM to its "
        "additional authorization modes, in its template or in the console (Settings); AWS's "
        "command for it replaces the whole list of modes and other settings",
    )


def cache(appsync: Any, api_id: str) -> list[Finding]:
    """Whether answers come from a cache: hours read from one are stale, and so are checks."""
    found: list[Finding] = []
    what = "API: cache"
    with unless_denied(found, what, "appsync"):
        try:
            behaviour = appsync.get_api_cache(apiId=api_id)["apiCache"]["apiCachingBehavior"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "NotFoundException":
                raise
            return [Finding(what, "good", "there is none")]
        if behaviour in _WHOLE:
            remedy = "choose PER_RESOLVER_CACHING, without the resolvers of AggregatedMetrics"
            found.append(Finding(what, "wrong", f"{behaviour}: hours are read stale", remedy))
        elif _cached_resolver(appsync, api_id):
            said = "listAggregatedMetrics is cached: hours are read stale"
            found.append(Finding(what, "wrong", said, "turn that resolver's caching off"))
        else:
            said = "by resolver, and not of listAggregatedMetrics"
            found.append(Finding(what, "good", said))
    return found


def _cached_resolver(appsync: Any, api_id: str) -> bool:
    return bool((_resolver(appsync, api_id).get("cachingConfig") or {}).get("ttl"))


def _resolver(appsync: Any, api_id: str) -> Mapping[str, Any]:
    given: Mapping[str, Any] = appsync.get_resolver(
        apiId=api_id, typeName="Query", fieldName="listAggregatedMetrics"
    )["resolver"]
    return given


def resolvers(appsync: Any, api_id: str) -> list[Finding]:
    """Whether the resolvers let an IAM role through: Gen 1's do not, unless it is listed."""
    found: list[Finding] = []
    what = "API: resolvers"
    with unless_denied(found, what, "appsync"):
        try:
            resolver = _resolver(appsync, api_id)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NotFoundException":
                raise
            return [Finding(what, "note", "listAggregatedMetrics has no resolver of its own")]
        parts = [resolver] + [
            appsync.get_function(apiId=api_id, functionId=function)["functionConfiguration"]
            for function in (resolver.get("pipelineConfig") or {}).get("functions") or ()
        ]
        text = "".join(
            str(part.get(name) or "")
            for part in parts
            for name in ("requestMappingTemplate", "responseMappingTemplate", "code")
        )
        if _LISTED_ONLY in text and _LET_THROUGH not in text:
            found.append(
                Finding(
                    what,
                    "wrong",
                    "they are Gen 1's: only roles in custom-roles.json are let through",
                    "add the stack's roles to adminRoleNames there, and push (docs/amplify.md)",
                )
            )
    return found


def conflicts(source: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Whether the counts' table detects conflicts: updates then need a `_version`.

    Args:
        source: AppSync's data source of AggregatedMetrics.
    """
    if (source or {}).get("dynamodbConfig", {}).get("versioned"):
        yield Finding(
            "API: conflict detection",
            "wrong",
            "AggregatedMetrics is versioned: an update without _version fails",
            "turn conflict detection off for AggregatedMetrics, and deploy it",
        )


def firewall(aws: Aws, api: Mapping[str, Any]) -> tuple[list[Finding], int]:
    """What a web ACL before the API means; and how large a request may be then (0: any size)."""
    arn = api.get("wafWebAclArn")
    if not arn:
        return [], 0
    what, said = "API: firewall", "it may block bodies above 8 KB"
    found: list[Finding] = []
    with unless_denied(found, what, "wafv2"):
        name, identity = arn.split("/")[-2:]
        acl = aws("wafv2").get_web_acl(Name=name, Id=identity, Scope="REGIONAL")["WebACL"]
        said = f"{name} blocks bodies above 8 KB" if _limits_bodies(acl) else ""
    if not said:
        return [Finding(what, "good", "it has no rule for a body's size")], 0
    remedy = f"MaxRequestBytes={FIREWALL_BYTES} is written: it keeps below"
    return [*found, Finding(what, "note", said, remedy)], FIREWALL_BYTES


def _limits_bodies(acl: Mapping[str, Any]) -> bool:
    for rule in acl.get("Rules") or ():
        statement = rule.get("Statement") or {}
        group = statement.get("ManagedRuleGroupStatement") or {}
        if group.get("Name") == "AWSManagedRulesCommonRuleSet":
            overridden = {
                override["Name"]: override["ActionToUse"]
                for override in group.get("RuleActionOverrides") or ()
            }
            excluded = {each["Name"] for each in group.get("ExcludedRules") or ()}
            counts_only = "Count" in (rule.get("OverrideAction") or {})
            lenient = {"Count", "Allow"} & set(overridden.get("SizeRestrictions_BODY", {}))
            if not (lenient or counts_only or "SizeRestrictions_BODY" in excluded):
                return True
        elif "SizeConstraintStatement" in json.dumps(statement) and '"Body"' in json.dumps(
            statement
        ):
            return True
    return False
