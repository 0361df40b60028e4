"""Who may do what: the emulator verifies signatures and policies."""

import pytest
from aggregated_metrics.core.errors import ApiError, AuthorizationError

from testbench.emulated.bench import Bench
from testbench.emulated.check import READ_FIELDS, WRITE_FIELDS, api_client
from testbench.emulated.stack import Credentials

READ = "query ReadBuckets { listAggregatedMetrics(limit: 1) { items { compositeKey } } }"
DELETE = (
    'mutation DeleteBucket { deleteAggregatedMetrics(input: {accountId: "a", compositeKey: "b"}) '
    "{ compositeKey } }"
)


def test_a_wrong_secret_is_refused(bench: Bench) -> None:
    """AppSync answers 403, the emulator 400: either way nothing is read."""
    right = bench.stack.user("forged", *READ_FIELDS)
    client = api_client(bench.stack, Credentials(right.access_key, "made-up-for-tests"))
    with pytest.raises(ApiError, match="signature"):
        client.execute(READ)
    assert "listAggregatedMetrics" in api_client(bench.stack, right).execute(READ)


def test_an_unknown_key_is_refused(bench: Bench) -> None:
    client = api_client(bench.stack, Credentials("AKIDEXAMPLE", "made-up-for-tests"))
    with pytest.raises(ApiError):
        client.execute(READ)


def test_a_user_without_the_permission_is_refused(bench: Bench) -> None:
    client = api_client(bench.stack, bench.stack.user("nobody"))
    with pytest.raises(AuthorizationError, match="ReadBuckets"):
        client.execute(READ)


def test_a_user_may_call_the_fields_of_its_policy_and_no_others(bench: Bench) -> None:
    client = api_client(bench.stack, bench.stack.user("reads-only", *READ_FIELDS))
    assert "listAggregatedMetrics" in client.execute(READ)
    with pytest.raises(AuthorizationError, match="DeleteBucket"):
        client.execute(DELETE)


def test_the_fields_that_the_demo_reads_and_writes_exist(bench: Bench) -> None:
    schema = bench.stack.client("appsync").get_introspection_schema(
        apiId=bench.stack.backend["GraphQLApiId"], format="SDL"
    )
    text = schema["schema"].read().decode()
    for name in (*READ_FIELDS, *WRITE_FIELDS):
        assert f"{name.rpartition('/')[2]}(" in text
