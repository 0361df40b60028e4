"""Who may do what: the emulator verifies signatures and policies."""

import pytest
from aggregated_metrics.core.errors import ApiError, AuthorizationError

from testbench.emulated.check import READ_FIELDS, WRITE_FIELDS, api_client
from testbench.emulated.stack import Credentials
from testbench.emulated.world import World

READ = "query ReadBuckets { listAggregatedMetrics(limit: 1) { items { compositeKey } } }"
DELETE = (
    'mutation DeleteBucket { deleteAggregatedMetrics(input: {accountId: "a", compositeKey: "b"}) '
    "{ compositeKey } }"
)


def test_a_wrong_secret_is_refused(world: World) -> None:
    """AppSync answers 403, the emulator 400: either way nothing is read."""
    right = world.stack.user("forged", *READ_FIELDS)
    client = api_client(world.stack, Credentials(right.access_key, "made-up-for-tests"))
    with pytest.raises(ApiError, match="signature"):
        client.execute(READ)
    assert "listAggregatedMetrics" in api_client(world.stack, right).execute(READ)


def test_an_unknown_key_is_refused(world: World) -> None:
    client = api_client(world.stack, Credentials("AKIDEXAMPLE", "made-up-for-tests"))
    with pytest.raises(ApiError):
        client.execute(READ)


def test_a_role_without_the_permission_is_refused(world: World) -> None:
    client = api_client(world.stack, world.stack.role("nobody"))
    with pytest.raises(AuthorizationError, match="ReadBuckets"):
        client.execute(READ)


def test_a_role_may_call_the_fields_that_it_names_and_no_others(world: World) -> None:
    client = api_client(world.stack, world.stack.role("reads-only", *READ_FIELDS))
    assert "listAggregatedMetrics" in client.execute(READ)
    with pytest.raises(AuthorizationError, match="DeleteBucket"):
        client.execute(DELETE)


def test_the_fields_that_the_demo_reads_and_writes_exist(world: World) -> None:
    schema = world.stack.client("appsync").get_introspection_schema(
        apiId=world.stack.backend["GraphQLApiId"], format="SDL"
    )
    text = schema["schema"].read().decode()
    for name in (*READ_FIELDS, *WRITE_FIELDS):
        assert f"{name.rpartition('/')[2]}(" in text
