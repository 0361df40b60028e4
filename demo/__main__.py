"""`make demo`: writes to the tables, waits for the counts, and proves them right.

ROWS and SEED say how much and which traffic, MODELS which models besides; KEEP=1 leaves it up.
"""

import os
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NoReturn

from aggregated_metrics import summarize
from aggregated_metrics.core.declarations import Document
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.models import BUILT_IN
from botocore.credentials import Credentials
from rich.console import Console
from rich.status import Status

from aggregated_metrics_cli.attach import declarations
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.exit_codes import DONE
from aggregated_metrics_cli.overview import collect
from aggregated_metrics_cli.overview_tables import overview
from aggregated_metrics_cli.page import render
from demo import report
from demo.report import show_line
from testbench.emulated import check, corruption, own_models
from testbench.emulated.check import Buckets
from testbench.emulated.functions import StreamLog, command, persistently
from testbench.emulated.stack import (
    APP_STACK,
    BACKEND_STACK,
    LOCAL,
    ROOT_CREDENTIALS,
    EmulatedStack,
    StepError,
)
from testbench.emulated.writing import write
from testbench.templates import ROOT
from testbench.traffic import ACCOUNTS, Traffic, traffic

GRACE = timedelta(seconds=5)
PARAMETERS = {
    "GraceSeconds": str(int(GRACE.total_seconds())),
    "SettleSeconds": "1",
    "Breakdowns": "scoreResultsByScorecard",
}
PAGE = LOCAL / "demo-report.html"
KEYS = LOCAL / "demo.env"
ACCOUNT = ACCOUNTS[0]
_ROWS, _FEWEST_ROWS = 500, 200
_MINUTES = 10
"""Each half of the rows is written as if within so many minutes: a bucket costs 10 ms here."""
_STEP = timedelta(minutes=15)
_LINE_SECONDS = 15
_STEPS = {
    f"sam build {APP_STACK}": "building the stack, with the packages of its layer",
    f"sam build {BACKEND_STACK}": "building the back end that stands for an Amplify application",
    f"sam deploy {BACKEND_STACK}": "deploying the back end (1 of 2)",
    f"sam deploy {APP_STACK}": "deploying the stack (2 of 2)",
}
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass
class Demo:
    """One run of the demonstration.

    Attributes:
        end: the traffic's last minute.
        declared, models: one's own models, and the file that declares them.
        step: what is being done, for a message when it fails.
        keys: a person's who may read and repair.
        clock: seconds that only grow.
        printed: when the last line of progress was printed.
    """

    console: Console
    stack: EmulatedStack
    status: Status
    rows: int
    seed: int
    end: datetime
    declared: Document = field(default_factory=Document)
    models: Path = Path()
    step: str = "the start of the stack"
    keys: Credentials = ROOT_CREDENTIALS
    clock: Callable[[], float] = time.monotonic
    printed: float = -inf

    @property
    def hour(self) -> datetime:
        """The hour of the first half of the rows."""
        return last_hour(self.end)

    @property
    def hours(self) -> tuple[str, str]:
        """That hour's start and end, as the commands take them."""
        return f"{self.hour:{_TIME}}", f"{self.hour + timedelta(hours=1):{_TIME}}"

    def run(self) -> bool:
        """All steps after the start of the stack; returns whether everything was right."""
        over = self.hour + timedelta(minutes=15 + _MINUTES)
        half, seed = self.rows // 2, self.seed
        make = partial(traffic, minutes=_MINUTES, own=self.declared.models)
        halves = make(half, seed, over, name="over"), make(self.rows - half, seed, self.end)
        if self.declared.models:
            self._attach()
        self._write(halves)
        self.keys = self.stack.person("you", "ReadOnlyPolicy", "RepairPolicy")
        good, buckets = self._compare()
        good = self._own(halves) and good
        good = self._quarantine(halves[0].uncountable | halves[1].uncountable) and good
        good = self._corrupt_and_repair(buckets) and good
        good = self._compare()[0] and good
        self._show()
        return good

    def _attach(self) -> None:
        """Have the application know the declared models, and the stack count them."""
        with self.timed("adding your models to the application, and attaching them") as took:
            own_models.extend(self.stack, self.declared, self.stack.folder)
            own_models.attach(self.stack, self.declared, self.models, self.stack.folder)
        names = ", ".join(model.name for model in self.declared.models)
        self._say(f"{names}: added to the application, attached and deployed", took)

    def _write(self, halves: tuple[Traffic, ...]) -> None:
        changes = sum(len(each.writes) for each in halves)
        with self.timed("writing to the tables") as took:
            log = StreamLog(self.stack)
            for half in halves:
                write(self.stack, half)
        self._say(f"{self.rows:,} rows of {len(ACCOUNTS)} accounts: {changes:,} writes", took)
        with self.timed("applying the streams") as took:
            log.drain(
                changes, lambda n: self.progress(f"{self.step}: {n:,} of {changes:,}{log.again}")
            )
        self._say(f"all applied from the tables' streams{log.again}", took)

    def _compare(self) -> tuple[bool, Buckets]:
        """Sweep, read everything back, and compare it with a group-by of the rows."""
        with self.timed("sweeping, and reading every bucket back") as took:
            client = check.api_client(self.stack, self.keys)
            verdict, buckets = check.judge(self.stack, client, GRACE)
        report.show_verdict(self.console, verdict, took())
        return verdict.is_good, buckets

    def _own(self, halves: Iterable[Traffic]) -> bool:
        """Compare the counts of the declared models with their rows."""
        written = Counter(write.model for half in halves for write in half.writes)
        client, span, good = check.api_client(self.stack, self.keys), (self.hour, self.end), True
        for model in self.declared.models:
            found = (summarize(client, account, *span, model.recordType) for account in ACCOUNTS)
            counted, rows = sum(each.measures.count for each in found), written[model.name]
            text = f"{model.name}: {counted} {model.recordType} are counted, of {rows} rows"
            show_line(self.console, text, good=counted == rows)
            good = good and counted == rows
        return good

    def _quarantine(self, uncountable: set[tuple[str, str]]) -> bool:
        messages = check.quarantined(self.stack)
        exact = {(each.model, each.id) for each in messages} == uncountable
        show_line(
            self.console,
            f"the {len(uncountable)} rows that cannot be counted are in quarantine, no other",
            good=exact,
        )
        report.show_quarantine(self.console, messages)
        return exact

    def _corrupt_and_repair(self, buckets: Buckets) -> bool:
        """Corrupt minutes of an hour that is over, and repair it with the command."""
        mine = {key: bucket for key, bucket in buckets.items() if key[0] == ACCOUNT}
        start, end = self.hours
        with self.timed("corrupting minutes") as took:
            damages = corruption.chosen(mine, self.hour, self.seed)
            corruption.corrupt(self.stack, damages)
        where = f"of {ACCOUNT}, {start[11:16]} to {end[11:16]} UTC"
        self._say(f"{len(damages)} minutes corrupted {where}", took)
        with self.timed("an execution that repairs the hour") as took:
            code, found = persistently(self._repair)
        drift = corruption.drifted(found)
        good = drift.keys() == {each.key for each in damages} and code == DONE
        show_line(
            self.console,
            f"one execution compared {found['minutes']:,} minutes with their rows, found these "
            f"{len(drift)} and no other, and repaired them",
            good=good,
            seconds=took(),
        )
        report.show_damage(self.console, damages, drift)
        return good

    def _repair(self) -> tuple[int, dict[str, Any]]:
        """Repair the hour; gives the exit code and the report."""
        start, end = self.hours
        asked = ("repair", "--account", ACCOUNT, "--start", start, "--end", end)
        code, found = command(self.stack, *asked, who=self.keys)
        if not isinstance(found, dict):
            raise StepError(found)
        return code, found

    def _show(self) -> None:
        """What a dashboard would show of one account, here and as a page that stays."""
        with self.timed("reading as a dashboard does"):
            client = check.api_client(self.stack, self.keys)
            models = BUILT_IN.declaring(self.declared)
            read = partial(collect, client, ACCOUNT, self.hour, self.end, models=models, step=_STEP)
            found = persistently(read)
        for part in overview(found):
            self.console.print(part)
        PAGE.write_text(render(found, APP_STACK), "utf-8")
        self.console.print(f"\nthe same as a page: {PAGE.relative_to(ROOT)}", soft_wrap=True)

    @contextmanager
    def timed(self, step: str) -> Iterator[Callable[[], float]]:
        """Say what is being done; gives what says how many seconds it has taken."""
        self.step = step
        self.printed = -inf
        self.progress(step)
        began = self.clock()
        ended: list[float] = []
        yield lambda: (ended[0] if ended else self.clock()) - began
        ended.append(self.clock())

    def progress(self, text: str) -> None:
        """Show how far a step is; a line now and then where no terminal shows the status."""
        self.status.update(text)
        if not self.console.is_terminal and self.clock() - self.printed >= _LINE_SECONDS:
            self.printed = self.clock()
            _starting(self.console, text)

    def _say(self, text: str, took: Callable[[], float]) -> None:
        show_line(self.console, text, good=True, seconds=took())


def last_hour(now: datetime) -> datetime:
    """The hour that was over last: what is corrupted in it stays so until it is repaired."""
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)


def main() -> int:
    """Run the demonstration; 0 if every bucket was right, 130 after Ctrl-C."""
    console = Console(highlight=False, width=min(report.WIDTH, Console().width))
    signal.signal(signal.SIGTERM, _interrupt)
    rows, seed = int(os.environ.get("ROWS") or _ROWS), int(os.environ.get("SEED") or 1)
    if rows < _FEWEST_ROWS:
        console.print(f"ROWS={rows} is too few for a demonstration: at least {_FEWEST_ROWS}")
        return 2
    models = Path(os.environ.get("MODELS") or "")
    try:
        declared = declarations(models if models.name else None, {})
        BUILT_IN.declaring(declared)
    except (CommandError, SettingsError) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2
    status = console.status("")
    stack = EmulatedStack(parameters=PARAMETERS, on_step=lambda step: _starting(console, step))
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    demo = Demo(console, stack, status, rows, seed, end, declared, models)
    try:
        return _run(demo)
    except KeyboardInterrupt:
        console.print(f"interrupted during {demo.step}; everything that was started is stopped")
        return 130
    except StepError as error:
        console.print(f"{demo.step}: {error}", style="bold red", markup=False, soft_wrap=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, say during which step
        text = f"{demo.step}: {type(error).__name__}: {error}. Its log: {stack.emulator_log}"
        console.print(text, style="bold red", markup=False, soft_wrap=True)
    return 1


def _starting(console: Console, step: str) -> None:
    console.print(f"  {_STEPS.get(step, step)} …", style="dim")


def _run(demo: Demo) -> int:
    began = time.monotonic()
    with ExitStack() as leaving:
        leaving.enter_context(demo.stack)
        text = "both templates built and deployed to an emulator of AWS"
        show_line(demo.console, text, good=True, seconds=time.monotonic() - began)
        with demo.status:
            good = demo.run()
        seconds = time.monotonic() - began
        text = "all is right" if good else "something is wrong"
        text += f" (ROWS={demo.rows} SEED={demo.seed})"
        show_line(demo.console, text, good=good, seconds=seconds)
        kept = bool(os.environ.get("KEEP"))
        if kept:
            demo.stack.keep()
            KEYS.write_text(_exports(demo))
            demo.console.print("\nThe stack is up; make stop stops it. To try it in this shell:\n")
            demo.console.print(f"  . {KEYS.relative_to(ROOT)}", markup=False)
        demo.console.print()
        for what, line in report.next_steps(kept, ACCOUNT, *demo.hours, PAGE.relative_to(ROOT)):
            demo.console.print(f"{what}:\n  {line}", markup=False, soft_wrap=True)
    return 0 if good else 1


def _exports(demo: Demo) -> str:
    """What a shell needs to run the commands on the kept stack."""
    path = f"{ROOT / '.venv' / 'bin'}:$PATH"
    names = {"STACK": APP_STACK, "GRAPHQL_ENDPOINT": demo.stack.graphql_endpoint}
    variables = demo.stack.variables(demo.keys) | names
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([*lines, f'export PATH="{path}"', ""])


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
