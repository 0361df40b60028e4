"""docs/counting.md names what is counted, and its model is the one of the schema."""

import re
from typing import Any

from aggregated_metrics.core.models import BUILT_IN

from testbench.fakes.models import models, schema
from testbench.templates import ROOT

PAGE = (ROOT / "docs" / "counting.md").read_text()
KINDS = {"String": "string", "Int": "integer", "AWSDateTime": "datetime", "AWSJSON": "json"}


def test_every_record_type_is_on_the_page() -> None:
    table = PAGE.split("## When")[0]
    cells = {name.strip() for line in table.splitlines() for name in re.split(r"[|,]", line)}
    assert {*BUILT_IN.record_types, *BUILT_IN.breakdowns} <= cells
    assert {name for model in BUILT_IN for name in model.extra} <= set(re.findall(r"\w+", table))


def test_the_models_fields_and_indexes_are_those_of_the_schema() -> None:
    typed: Any = schema().type_map["AggregatedMetrics"]
    fields = {}
    for name, field in typed.fields.items():
        kind = str(field.type)
        base = KINDS.get(kind.rstrip("!"), "boolean")
        fields[name] = f"a.{base}()" + (".required()" if kind.endswith("!") else "")
    assert dict(re.findall(r"^  (\w+): (a\.\S+),$", PAGE, re.MULTILINE)) == fields
    indexes = re.findall(r"index\('(\w+)'\)\.sortKeys\(\[(.*?)\]\)\.name\('(\w+)'\)", PAGE)
    shown = [(name, key, tuple(re.findall(r"\w+", sort))) for key, sort, name in indexes]
    model = models()["AggregatedMetrics"]
    assert shown == [(i.name, i.hash_key, i.sort_keys) for i in model.indexes.values()]


def test_every_rule_that_the_page_shows_gives_readers_no_more_than_read() -> None:
    rules = re.findall(r"allow\.[\w.()\[\]']+", PAGE.replace("`allow.authenticated()` without", ""))
    assert len(rules) >= 3
    assert [rule for rule in rules if ".to(['read'])" not in rule] == []
