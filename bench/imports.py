"""How long it takes until the app can be called: its import and index, beside an empty app in the same environment."""

import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.row import Row
from bench.stage import ROOT, Stage

EMPTY = Path(__file__).parent / "empty"
ROUNDS, ROUNDS_WITHOUT = 9, 3
LONGEST_LIST = 12
PAUSE_SECONDS = 3
"""Within it the gateway imports what the first question needs, behind the first reply."""
_LOAD = """
import sys, time
began = time.perf_counter(), time.process_time()
from pathlib import Path
from local import runtime
runtime.load(Path(sys.argv[1]))
print((time.perf_counter() - began[0]) * 1000, (time.process_time() - began[1]) * 1000, len(sys.modules))
sys.stdout.flush()
import os
os._exit(0)
"""
_LINE = re.compile(r"import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)")


def rows(stage: Stage) -> Iterator[Row]:
    """With bytecode and without, then what is imported before the first request, and by it."""
    with TemporaryDirectory(prefix="bench-bytecode-") as kept:
        for app in (ROOT, EMPTY):
            _load(app, kept)
        how = "`function_app` imported and indexed by Microsoft's runtime, a new process each, median of {} in turn"
        yield from _both(_kept(kept), ROUNDS, "with bytecode", how, "≤ 2 × the empty app")
        nothing = {"PYTHONPYCACHEPREFIX": f"{kept}/none", "PYTHONDONTWRITEBYTECODE": "1"}
        yield from _both(nothing, ROUNDS_WITHOUT, "without bytecode", how, "")
        ours, theirs = (_imported(app, kept) for app in (ROOT, EMPTY))
        first = list(_first_requests(stage, kept))
    added = Counter({name: time for name, time in ours.items() if name not in theirs})
    yield Row(
        "packages that the app imports and an empty one does not",
        len(added),
        "packages",
        f"By `-X importtime`, each with the ms of its own modules: {_listed(added)}.",
    )
    yield Row(
        "packages imported before the first request",
        len(ours),
        "packages",
        f"The same for all of them, Python's own among them: {_listed(ours)}.",
        len(theirs),
    )
    yield from first


def _both(environment: Mapping[str, str], rounds: int, state: str, how: str, target: str) -> Iterator[Row]:
    times: dict[Path, list[tuple[float, float]]] = {ROOT: [], EMPTY: []}
    for _ in range(rounds):
        for app, found in times.items():
            found.append(_load(app, **environment))
    for number, unit in enumerate(("ms", "ms CPU")):
        ours, theirs = (statistics.median(each[number] for each in times[app]) for app in (ROOT, EMPTY))
        low, high = (select([each[number] for each in times[ROOT]]) for select in (min, max))
        method = f"{how.format(rounds)}; beside: an app with one empty function. From {low:.0f} to {high:.0f}."
        yield Row(f"import and index, {state}: {unit}", ours, unit, method, theirs, target)


def _load(app: Path, kept: str = "", **environment: str) -> tuple[float, float]:
    """Milliseconds on the wall and of CPU."""
    added = _kept(kept) if kept else environment
    wall, cpu, _ = _run(["-c", _LOAD, str(app)], added).stdout.split()
    return float(wall), float(cpu)


def _kept(folder: str) -> dict[str, str]:
    """Bytecode is kept in that folder, whatever the shell of whoever measures says."""
    return {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}


def _imported(app: Path, kept: str) -> Counter[str]:
    """Milliseconds by package, of its own modules alone."""
    return _by_package(_run(["-X", "importtime", "-c", _LOAD, str(app)], _kept(kept)).stderr)


def _by_package(log: str, only: frozenset[str] | None = None) -> Counter[str]:
    packages: Counter[str] = Counter()
    for microseconds, module in _LINE.findall(log):
        if only is None or module in only:
            packages[_package(module)] += int(microseconds) / 1000  # type: ignore[assignment]  # a Counter takes floats
    return packages


def _package(module: str) -> str:
    """`azure` alone tells nothing: the distribution is one level below."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in {"azure", "lib"} else parts[0]


def _listed(packages: Mapping[str, float]) -> str:
    costly = Counter(packages).most_common(LONGEST_LIST)
    return ", ".join(f"{name} {time:.0f}" for name, time in costly)


def _first_requests(stage: Stage, kept: str) -> Iterator[Row]:
    """What the first requests of a process add, told by the modules that are there afterwards."""
    with stage.people(3) as people:  # the first process leaves the bytecode and the tables
        for person, pause in zip(people, (0, 0, PAUSE_SECONDS), strict=True):
            given = {"token": stage.token(person), "pause": pause}
            done = stage.run_inside("first", given, _kept(kept), "-X", "importtime")
            phases = json.loads(done.stdout.splitlines()[-1])
            if pause:
                phases = {f"first question, {pause} s after the first reply": phases["first question"]}
            rows = [_first(name, phase, done.stderr) for name, phase in phases.items()]
            if person is not people[0]:
                yield from rows


def _first(name: str, phase: Mapping[str, Any], log: str) -> Row:
    packages = _by_package(log, frozenset(phase["modules"]))
    method = f"In one new process, timed with `-X importtime` on; it imports {len(phase['modules'])} modules: "
    return Row(f"{name}: ms", phase["ms"], "ms", f"{method}{_listed(packages) or 'none'}.")


def _run(arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
