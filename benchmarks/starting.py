"""Cold start: what a function's imports cost over a bare interpreter and over its packages alone.

The floor is a script that imports exactly the third-party modules that the function's module ends
up with, in the same order. Every run is a fresh process with warm files; runs are interleaved, and
the ratio is of the fastest of each. As in Lambda, what can be imported is the layer and botocore,
and not whatever a laptop has.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measuring import Line, Sample

ROOT = Path(__file__).parents[1]
LAYER = ROOT / "layers" / "aggregated_metrics"
FUNCTIONS = ("stream_aggregator", "bucket_sweeper", "reconciler")
_LISTING = """
import json, sys
before = set(sys.modules)
import app
new = [name for name in sys.modules if name not in before]
site = sys.path[1]
third = [n for n in new if (getattr(sys.modules[n], "__file__", None) or "").startswith(site)]
print(json.dumps(third))
"""


def run(*, quick: bool) -> list[Line]:
    runs = 5 if quick else 21
    with tempfile.TemporaryDirectory() as site:
        _install(site, "boto3")
        return [_imports(site, function, runs) for function in FUNCTIONS]


def _imports(site: str, function: str, runs: int) -> Line:
    sources = {
        "bare": "pass",
        "function": "import app",
        "floor": _script(modules_of(site, function)),
    }
    cpu: dict[str, list[float]] = {name: [] for name in sources}
    for round_ in range(runs + 1):
        for name, source in sources.items():
            took = _run(site, function, source)
            if round_:  # the first writes the byte code
                cpu[name].append(took)
    bare, whole, floor = (Sample(cpu[name]) for name in sources)
    ratio = (whole.least - bare.least) / (floor.least - bare.least)
    what = f"{function}: imports, over its third-party packages' own"
    return Line("cold start", what, ratio, "x", whole.over(floor, less=bare).spread, bar=1.1)


def modules_of(site: str, function: str) -> list[str]:
    """The third-party modules that a function's module brings in, in order."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LISTING],
        env=_environment(site, function),
        check=True,
        capture_output=True,
        text=True,
    )
    third: list[str] = json.loads(done.stdout)
    return third


def _script(modules: list[str]) -> str:
    """Imports each module; those that only exist as an attribute of their parent come with it."""
    return "\n".join(
        ["import importlib", *(f"importlib.import_module({name!r})" for name in modules)]
    )


def _run(site: str, function: str, source: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-S", "-c", source]
    subprocess.run(command, env=_environment(site, function), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _environment(site: str, function: str) -> Mapping[str, str]:
    path = os.pathsep.join((site, str(LAYER), str(ROOT / "functions" / function)))
    return {"PATH": os.environ["PATH"], "PYTHONPATH": path, "AWS_DEFAULT_REGION": "us-east-1"}


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
