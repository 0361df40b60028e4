"""An application on the emulator that has models of one's own, and a stack that counts them."""

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aggregated_metrics.core.declarations import Document
from amplify_api.models import Index, Model, read_models

from aggregated_metrics_cli.exit_codes import DONE
from testbench.emulated.functions import command, persistently
from testbench.emulated.stack import (
    APP_STACK,
    BACKEND_STACK,
    BUILDS,
    SCHEMA,
    EmulatedStack,
    StepError,
)
from testbench.own_models import sdl


def extend(stack: EmulatedStack, declared: Document, folder: Path) -> None:
    """Have the application's API know these models, with their tables and their indexes."""
    schema = SCHEMA.read_text() + sdl(declared)
    _teach(stack, schema, folder)
    appsync, api = stack.client("appsync"), stack.backend["GraphQLApiId"]
    appsync.start_schema_creation(apiId=api, definition=schema.encode())
    other = appsync.get_resolver(apiId=api, typeName="Query", fieldName="listItems")["resolver"]
    same = {name: other[name] for name in ("dataSourceName", "runtime", "code")}
    models = read_models(schema)
    for each in declared.models:
        create_table(stack, stack.table(each.name), models)
        for query in models[each.name].indexes:
            appsync.create_resolver(apiId=api, typeName="Query", fieldName=query, **same)


def _teach(stack: EmulatedStack, schema: str, folder: Path) -> None:
    """Give the resolver the application's schema, and its role every table."""
    functions = stack.client("lambda")
    resolver = stack.physical_id(BACKEND_STACK, "ResolverFunction")
    code = folder / "resolver"
    shutil.copytree(BUILDS[BACKEND_STACK].parent / "ResolverFunction", code, dirs_exist_ok=True)
    (code / "schema.graphql").write_text(schema)
    archive = Path(shutil.make_archive(str(code), "zip", code)).read_bytes()
    role = functions.update_function_code(FunctionName=resolver, ZipFile=archive)["Role"]
    allowed = '{"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"}'
    stack.client("iam").put_role_policy(
        RoleName=role.rpartition("/")[2],
        PolicyName="own-models",
        PolicyDocument=f'{{"Version": "2012-10-17", "Statement": [{allowed}]}}',
    )


def create_table(stack: EmulatedStack, name: str, models: Mapping[str, Model]) -> str:
    """A new table of one of the models, with its indexes and a stream; gives the stream's ARN."""
    model = models[name.partition("-")[0]]
    indexes = [
        {
            "IndexName": index.name,
            "KeySchema": _keys(index),
            "Projection": {"ProjectionType": "ALL"},
        }
        for index in model.indexes.values()
    ]
    made = stack.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": each, "AttributeType": "S"} for each in model.key_fields
        ],
        KeySchema=_keys(model.primary),
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        GlobalSecondaryIndexes=indexes,
    )
    return str(made["TableDescription"]["LatestStreamArn"])


def _keys(index: Index) -> list[dict[str, Any]]:
    names = zip((index.hash_key, *index.sort_keys), ("HASH", "RANGE"), strict=False)
    return [{"AttributeName": name, "KeyType": kind} for name, kind in names]


def attach(stack: EmulatedStack, declared: Document, file: Path, folder: Path) -> None:
    """Have `attach` read the file, and deploy what it says; every breakdown is switched on.

    A StepError says what the application lacks.
    """
    config = folder / "samconfig.toml"
    config.unlink(missing_ok=True)
    asked = ("--api-id", stack.backend["GraphQLApiId"], "--models", str(file))
    own = ("--endpoint", stack.graphql_endpoint, "--config", str(config))

    def attempt() -> None:
        code, said = command(stack, "attach", *asked, *own)
        if code != DONE:
            found = [] if isinstance(said, str) else said["findings"]
            wrong = [": ".join(each.values()) for each in found if each["state"] == "wrong"]
            raise StepError("; ".join(wrong) or said)

    persistently(attempt)  # the API has new code to start
    written = tomllib.loads(config.read_text())
    overrides: dict[str, str] = written["default"]["global"]["parameters"]["parameter_overrides"]
    local = stack.app_parameters()
    on = [local["Breakdowns"], *(name for model in declared.models for name in model.breakdowns)]
    ours = {"GraphQLEndpoint": stack.graphql_endpoint, "Breakdowns": ",".join(on)}
    stack.deploy(APP_STACK, local | overrides | ours)
