"""samconfig.toml keeps what SAM reads in it, whatever form it has; SAM itself is the judge."""

import json
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from aggregated_metrics_cli import samconfig
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.samconfig import overrides_of

ROOT = Path(__file__).parents[2]
JUDGE = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
given = json.load(sys.stdin)
print(json.dumps([CfnParameterOverridesType().convert(each, None, None) for each in given]))
"""
FORMS: dict[str, Any] = {
    "as --guided writes it": 'GraceSeconds="300" SweepSchedule="rate(2 minutes)"',
    "by key": "ParameterKey=GraceSeconds,ParameterValue=300 ParameterKey=Item,ParameterValue=old",
    "by key, quoted": 'ParameterKey=Rate,ParameterValue="rate(2 minutes)"',
    "plain": 'GraceSeconds=300 Empty="" Json={\\"a\\":1}',
    "single quotes": "Rate='rate(2 minutes)' Grace=300",
    "escaped spaces": "Rate=rate(2\\ minutes) Grace=300",
    "a list": ["GraceSeconds=300", 'SweepSchedule="rate(2 minutes)"', 'A="1" B="2"'],
    "a table": {"GraceSeconds": 300, "Arns": ["a", "b"], "Json": '{"a":"b"}', "On": True},
    "a list of both": [{"GraceSeconds": "300"}, 'Rate="rate(2 minutes)"'],
    "nothing": "",
}
WRITTEN = {
    "GraphQLEndpoint": "https://x/graphql",
    "StreamArns": "",
    "TableArns": "arn:a,arn:b",
    "SourceTables": '{"work-orders":"Task"}',
}


def judged(*given: Any) -> list[dict[str, str]]:
    """What SAM reads."""
    done = subprocess.run(
        [str(ROOT / ".tools" / "sam" / "bin" / "python"), "-c", JUDGE],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    read: list[dict[str, str]] = json.loads(done.stdout)
    return read


def test_every_form_is_read_as_sam_reads_it_and_what_is_written_keeps_it(tmp_path: Path) -> None:
    read = judged(*FORMS.values())
    assert [overrides_of(each) for each in FORMS.values()] == read
    written = []
    config = tmp_path / "samconfig.toml"
    for section, form in product(("deploy", "global"), FORMS.values()):
        document = {"staging": {section: {"parameters": {"parameter_overrides": form}}}}
        config.write_text(tomlkit.dumps(document))
        kept = samconfig.overrides(config, "staging")
        samconfig.write(config, "staging", "eu-central-1", {**kept, **WRITTEN})
        shared = tomlkit.parse(config.read_text()).unwrap()["staging"]["global"]["parameters"]
        assert shared["region"] == "eu-central-1"
        written.append(shared["parameter_overrides"])
    assert judged(*written) == [each | WRITTEN for each in read] * 2


def test_comments_and_other_settings_stay(tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text(
        "version = 0.1\n\n# how staging is deployed\n[staging.deploy.parameters]\n"
        'capabilities = ["CAPABILITY_IAM"] # roles of its own\nregion = "us-east-1"\n'
    )
    samconfig.write(config, "staging", "eu-central-1", WRITTEN)
    text = config.read_text()
    assert "# how staging is deployed" in text
    assert "# roles of its own" in text
    parameters = tomlkit.parse(text).unwrap()["staging"]
    assert parameters["deploy"]["parameters"] == {"capabilities": ["CAPABILITY_IAM"]}
    samconfig.write(config, "staging", "eu-central-1", WRITTEN)
    assert config.read_text() == text, "writing it again changes nothing"


def test_the_projects_own_file_takes_every_environment(tmp_path: Path) -> None:
    config, environments = tmp_path / "samconfig.toml", ("default", "staging", "prod", "new")
    config.write_text((ROOT / "samconfig.toml").read_text())
    for env in environments:
        samconfig.write(config, env, "eu-central-1", WRITTEN)
    written = tomlkit.parse(config.read_text()).unwrap()
    for env in environments:
        overrides = written[env]["global"]["parameters"]["parameter_overrides"]
        assert overrides.items() >= WRITTEN.items()
    assert written["staging"]["global"]["parameters"]["stack_name"] == "aggregated-metrics-staging"


def test_what_sam_cannot_read_is_refused() -> None:
    with pytest.raises(CommandError, match="cannot read the parameter_overrides"):
        overrides_of("nonsense")
