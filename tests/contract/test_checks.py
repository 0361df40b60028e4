"""The Makefile is the one place that says what is checked; whatever runs checks calls it."""

import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = dict(re.findall(r"^([a-z-]+): (.*?)(?: ##.*)?$", MAKEFILE, re.MULTILINE))
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_the_workflow_runs_lint_every_test_and_security_which_the_script_leaves_out() -> None:
    job = yaml.safe_load(WORKFLOW)["jobs"]["checks"]
    script = re.findall(r"^make ([a-z-]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert script == ["sync", "lint", "test"]
    assert set(job["strategy"]["matrix"]["target"]) == {
        "lint",
        *TARGETS["test"].split(),
        "security",
    }


def test_the_workflow_runs_targets_of_the_makefile_alone() -> None:
    steps = [step for job in yaml.safe_load(WORKFLOW)["jobs"].values() for step in job["steps"]]
    runs = {step["run"].removeprefix("make ") for step in steps if "run" in step}
    assert set() < runs <= {*TARGETS, "${{ matrix.target }}"}


def test_the_hooks_are_what_lint_is_made_of() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"] for hook in repository["hooks"]]
    assert hooks == [f"make {target}" for target in TARGETS["lint"].split()]


def test_an_action_is_pinned_by_commit_with_its_version_beside_it() -> None:
    used = re.findall(r"uses: (.*)", WORKFLOW)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_make_says_what_it_waits_for_and_what_it_lacks(tmp_path: Path) -> None:
    assert re.search(r"--output-sync=target.*\n\$\(info .* when it is done", MAKEFILE)
    make = ["make", "--file", str(ROOT / "Makefile"), ".tools/uv/bin/uv", "PYTHON=false"]
    done = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "it needs a package index" in done.stdout
