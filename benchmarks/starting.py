"""Cold start: what a function's imports cost over a bare interpreter, and what they consist of.

The floor is a script that imports exactly the third-party modules that the function's module ends
up with, in the same order. Every run is a fresh process with warm files; runs are interleaved, and
the ratio is of the fastest of each. As in Lambda, what can be imported is the layer and botocore,
and not whatever a laptop has.
"""

import ast
import importlib.metadata
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measuring import Line, Sample, line

ROOT = Path(__file__).parents[1]
LAYER = ROOT / "layers" / "aggregated_metrics"
PACKAGE = LAYER / "aggregated_metrics"
FUNCTIONS = ("stream_aggregator", "bucket_sweeper", "reconciler")
_LISTING = """
import json, sys
before = set(sys.modules)
import app
new = [name for name in sys.modules if name not in before]
site = sys.path[1]
third = [n for n in new if (getattr(sys.modules[n], "__file__", None) or "").startswith(site)]
own = [n for n in new if n.partition(".")[0] == "aggregated_metrics"]
print(json.dumps([third, own]))
"""
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_MEGABYTE = 1024 * 1024


def run(*, quick: bool) -> list[Line]:
    runs = 5 if quick else 21
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as site:
        _install(site, "boto3")
        for function in FUNCTIONS:
            lines += _imports(site, function, runs)
    return [*lines, layer_size()]


def _imports(site: str, function: str, runs: int) -> list[Line]:
    third, own = modules_of(site, function)
    sources = {"bare": "pass", "function": "import app", "floor": _script(third)}
    cpu: dict[str, list[float]] = {name: [] for name in sources}
    wall: dict[str, list[float]] = {name: [] for name in sources}
    for round_ in range(runs + 1):
        for name, source in sources.items():
            took = _run(site, function, source)
            if round_:  # the first writes the byte code
                cpu[name].append(took[0])
                wall[name].append(took[1])
    lines = []
    for kind, taken in (("CPU", cpu), ("wall", wall)):
        bare, whole, floor = (
            Sample(taken[name]).scaled(1000) for name in ("bare", "function", "floor")
        )
        bar = 1.10 if kind == "CPU" else None
        more = Line(
            "cold start",
            f"{function}: imports / third-party floor, {kind}",
            (whole.least - bare.least) / (floor.least - bare.least),
            "x",
            whole.over(floor, less=bare).spread,
            bar,
        )
        lines += [
            line("cold start", f"{function}: imports over bare, {kind}", whole.minus(bare), "ms"),
            line("cold start", f"{function}: third-party floor, {kind}", floor.minus(bare), "ms"),
            more,
        ]
    unused = sorted(set(third_party_tops(third)) - asked_for(own))
    lines.append(
        Line(
            "cold start",
            f"{function}: third-party packages",
            len(third_party_tops(third)),
            "",
            note=", ".join(third_party_tops(third)),
        )
    )
    lines.append(
        Line(
            "cold start",
            f"{function}: packages imported that nothing in use asks for",
            len(unused),
            "",
            bar=0,
            note=", ".join(unused),
        )
    )
    return lines


def modules_of(site: str, function: str) -> tuple[list[str], list[str]]:
    """The third-party modules that a function's module brings in, in order, and this package's."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LISTING],
        env=_environment(site, function),
        check=True,
        capture_output=True,
        text=True,
    )
    third, own = json.loads(done.stdout)
    return third, own


def third_party_tops(modules: list[str]) -> list[str]:
    """The top-level packages, compiled helpers of packages left out."""
    tops = dict.fromkeys(name.partition(".")[0] for name in modules)
    return [top for top in tops if not top.startswith("_") and "__mypyc" not in top]


def direct_imports(own: list[str]) -> set[str]:
    """Top-level names that the sources of these modules of the package import."""
    found: set[str] = set()
    for name in own:
        path = PACKAGE.joinpath(*name.split(".")[1:])
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found


def asked_for(own: list[str]) -> set[str]:
    """The packages that these modules import, and what those declare that they need."""
    by_top = importlib.metadata.packages_distributions()
    open_ = {distribution for top in direct_imports(own) for distribution in by_top.get(top, ())}
    found: set[str] = set()
    while open_:
        name = _normal(open_.pop())
        found.add(name)
        for needed in importlib.metadata.requires(name) or ():
            short = _normal(_NAME.findall(needed)[0])
            if "extra ==" not in needed and short not in found:
                open_.add(short)
    return {top for top, names in by_top.items() if found & {_normal(name) for name in names}}


def _normal(distribution: str) -> str:
    return distribution.lower().replace("_", "-")


def _script(modules: list[str]) -> str:
    """Imports each module; those that only exist as an attribute of their parent come with it."""
    return "\n".join(
        ["import importlib", *(f"importlib.import_module({name!r})" for name in modules)]
    )


def _run(site: str, function: str, source: str) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-S", "-c", source]
    subprocess.run(command, env=_environment(site, function), check=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user = after.ru_utime - before.ru_utime
    return user + after.ru_stime - before.ru_stime, wall


def _environment(site: str, function: str) -> Mapping[str, str]:
    path = os.pathsep.join((site, str(LAYER), str(ROOT / "functions" / function)))
    return {"PATH": os.environ["PATH"], "PYTHONPATH": path, "AWS_DEFAULT_REGION": "us-east-1"}


def layer_size() -> Line:
    """The layer's packages as installed for Lambda, with this package, without byte code."""
    platform = ("--python-platform", "aarch64-manylinux_2_28")
    with tempfile.TemporaryDirectory() as target:
        _install(target, *platform)
        shutil.copytree(PACKAGE, Path(target) / PACKAGE.name)
        sizes: dict[str, int] = {}
        for path in Path(target).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                top = path.relative_to(target).parts[0]
                sizes[top] = sizes.get(top, 0) + path.stat().st_size
    largest = sorted(sizes, key=lambda name: -sizes[name])[:4]
    note = ", ".join(f"{name} {sizes[name] / _MEGABYTE:.1f}" for name in largest)
    total = sum(sizes.values()) / _MEGABYTE
    return Line("cold start", "layer, unzipped", total, "MB", bar=25, note=note)


def _install(target: str, *more: str) -> None:
    """What the layer brings, from the package index or uv's cache."""
    uv = shutil.which("uv", path=f"{ROOT / '.tools/uv/bin'}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        raise FileNotFoundError("uv is needed to install the layer: make sync brings it")
    requirements = str(LAYER / "requirements.txt")
    command = [
        *(uv, "pip", "install", "--quiet", "--target", target, "--requirement", requirements),
        *("--python-version", "3.13", "--only-binary", ":all:", "--link-mode", "copy"),
        *more,
    ]
    subprocess.run(command, check=True, cwd=ROOT)
