"""Readers run on every Python from 3.12 on, without what only the functions need."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OTHERS = ("3.12", "3.14")
PLACES = (".pyenv/versions/{}.*/bin/python", ".local/share/uv/python/cpython-{}.*/bin/python")


def interpreters(version: str) -> Iterator[str]:
    """The interpreters of a version that start."""
    named = shutil.which(f"python{version}")
    found = [str(each) for place in PLACES for each in Path.home().glob(place.format(version))]
    for each in [named, *sorted(found)]:
        if (
            each
            and subprocess.run([each, "-c", ""], check=False, capture_output=True).returncode == 0
        ):
            yield each


def run(*command: str) -> str:
    paths = [str(ROOT / "layers/aggregated_metrics"), sysconfig.get_path("purelib")]
    env = os.environ | {"PYTHONPATH": ":".join(paths), "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readers_need_nothing_that_only_the_functions_need() -> None:
    assert run(sys.executable, "tests/readers_smoke.py").endswith("readers work\n")


@pytest.mark.parametrize("version", OTHERS)
def test_readers_run_on_another_python(version: str, tmp_path: Path) -> None:
    found = next(interpreters(version), None)
    if found is None:
        pytest.skip(f"no Python {version} is installed here; CI has one")
    # pydantic-core is compiled for one Python, therefore the package is installed for this one.
    make = ("env", "-u", "PYTHONPATH", "-u", "MAKEFLAGS", "make", "--no-print-directory")
    own = (f"PYTHON={found}", f"READER_ENV={tmp_path}")
    assert run(*make, "readers", *own).endswith(f"{version}: readers work\n")


def test_ci_runs_every_version_that_the_package_allows() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    (versions,) = re.findall(r"python: \[(.*)\]", workflow)
    assert versions == '"3.12", "3.13", "3.14"'
    assert 'requires-python = ">=3.12"' in (ROOT / "pyproject.toml").read_text()
