"""`python -m bench`: measures everything and writes the table; `--only cpu,calls` measures those and prints them."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from bench import calls, cost, cpu, imports, memory, rates, table
from bench.row import Row, told
from bench.stage import ROOT, Stage, stage

PAGE = ROOT / "docs" / "performance.md"
FAMILIES: dict[str, Callable[[Stage], Iterator[Row]]] = {
    "imports": imports.rows,
    "cpu": cpu.rows,
    "calls": calls.rows,
    "rates": rates.rows,
    "memory": memory.rows,
    "cost": cost.rows,
}
"""In the order of the table."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints each row as it is known, and writes the page where all were measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default=",".join(FAMILIES), help=f"some of: {', '.join(FAMILIES)}")
    parser.add_argument("--list", action="store_true", help="say what there is, and measure nothing")
    options = parser.parse_args(arguments)
    if options.list:
        print(*(f"{name:8} {sys.modules[f'bench.{name}'].__doc__}" for name in FAMILIES), sep="\n")
        return 0
    chosen = [name for name in FAMILIES if name in options.only.split(",")]
    if unknown := set(options.only.split(",")) - FAMILIES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    began = time.monotonic()
    measured = _measured(chosen)
    rows = [row for name in chosen for row in measured[name]]
    if len(chosen) == len(FAMILIES):
        written = f"{table.conditions(datetime.now(UTC), time.monotonic() - began)}\n\n{table.markdown(rows)}"
        PAGE.write_text(table.put(PAGE.read_text(encoding="utf-8"), written), encoding="utf-8")
        print(f"written to {PAGE.relative_to(ROOT)}")
    return 0


def _measured(chosen: Sequence[str]) -> dict[str, list[Row]]:
    """The rows of each family. Memory comes first, since no clock is in it: meanwhile the contenders are installed."""
    measured: dict[str, list[Row]] = {}
    ways = dict(FAMILIES)
    if "rates" in chosen:
        contenders = rates.begin()
        ways["rates"] = partial(rates.rows, contenders=contenders)
    with stage() as running:
        if "memory" in chosen:
            measured["memory"] = _shown(ways["memory"](running))
        if "rates" in chosen:
            for contender in contenders:
                contender.installation.wait()
        for name in chosen:
            if name not in measured:
                measured[name] = _shown(ways[name](running))
    return measured


def _shown(rows: Iterator[Row]) -> list[Row]:
    kept = []
    for row in rows:
        print(f"{row.name}: {told(row.value)} {row.unit}", f"({told(row.ratio)} ×)" if row.beside else "", flush=True)
        kept.append(row)
    return kept


if __name__ == "__main__":
    sys.exit(main())
