"""The stream builders make what Lambda delivers: judged by boto3's own reader of DynamoDB JSON."""

from decimal import Decimal

from boto3.dynamodb.types import TypeDeserializer

from testbench import rows
from testbench.streams import Stream, image


def test_an_image_reads_back_as_the_row_with_json_as_a_map() -> None:
    row = rows.score_result(correct=None, attachments=["a", "b"])
    read = TypeDeserializer().deserialize({"M": image(row)})
    assert read["cost"]["total_cost"] == Decimal("0.00123")
    assert read["cost"]["llm_calls"] == 2
    assert read["correct"] is None
    assert read["attachments"] == ["a", "b"]
    assert read.keys() == row.keys()


def test_numbers_are_never_written_with_an_exponent() -> None:
    assert image({"n": 1e-07})["n"] == {"N": "0.0000001"}
    assert image({"n": True})["n"] == {"BOOL": True}


def test_each_kind_of_change_has_the_images_that_it_has_in_a_stream() -> None:
    stream = Stream("Item")
    old, new = rows.item(), rows.item(text="other")
    inserted, modified = stream.insert(new), stream.modify(old, new)
    removed, expired = stream.remove(old), stream.expire(old)
    images = [
        {"NewImage", "OldImage"} & record["dynamodb"].keys()
        for record in (inserted, modified, removed, expired)
    ]
    assert images == [{"NewImage"}, {"NewImage", "OldImage"}, {"OldImage"}, {"OldImage"}]
    assert expired["userIdentity"]["principalId"] == "dynamodb.amazonaws.com"
    assert "userIdentity" not in removed
    assert len({record["eventID"] for record in (inserted, modified, removed, expired)}) == 4
    keys_only = Stream("Item", view="KEYS_ONLY").modify(old, new)["dynamodb"]
    assert keys_only.keys().isdisjoint({"NewImage", "OldImage"})
    assert keys_only["Keys"] == {"id": {"S": "item-1"}}
