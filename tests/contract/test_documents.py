"""What README.md, CONTRIBUTING.md and docs/ name is there."""

import re
from pathlib import Path

import pytest

from testbench.templates import ROOT, template

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
PACKAGE = ROOT / "layers" / "aggregated_metrics" / "aggregated_metrics"
FOLDERS = "core|adapters|jobs|tests|testbench|docs|benchmarks|events|functions|backend|demo"
each = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


@each
def test_the_files_that_it_links_are_there(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@each
def test_the_files_and_folders_that_it_names_are_there(document: Path) -> None:
    named = re.findall(rf"(?<![\w/.])((?:{FOLDERS})/[\w./*-]*[\w*])", document.read_text())
    places = (ROOT, PACKAGE)
    assert [
        path
        for path in named
        if not any([*place.glob(path), *place.glob(f"{path}.py")] for place in places)
    ] == []


@each
def test_the_targets_of_make_that_it_names_are_there(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    lines = re.findall(r"(?m)(?:^|`|&& )make ((?:[a-z-]+(?: |\b))+)", document.read_text())
    for target in " ".join(lines).split():
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def parameter_row(name: str) -> str:
    """A parameter's row of docs/parameters.md, made from the template."""
    parameter = template("template.yaml")["Parameters"][name]
    default = parameter.get("Default")
    shown = "" if default is None else f"`{default}` " if default != "" else "empty "
    return f"| `{name}` | {shown}| {parameter['Description']} |"


def test_every_parameter_has_the_templates_default_and_description() -> None:
    page = (ROOT / "docs" / "parameters.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(map(parameter_row, template("template.yaml")["Parameters"]))


def test_the_glossary_has_few_words_each_with_its_module() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"(?m)^\| (.+) \| .+ \| (.+) \|$", page)[1:]
    assert 0 < len(words) <= 24
    for _, modules in words:
        assert all((PACKAGE / f"{module}.py").exists() for module in modules.split(", ")), modules
