"""`python -m scripts.doctor`: prints what is wrong with an environment, why, and what mends it."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.doctor.sources import Source, SourceUnreadable, deployed, here, local_settings
from scripts.findings import Finding, as_json, exit_code, failed, summary

TOKEN = "DOCTOR_TOKEN"  # noqa: S105  # the name of a variable


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Examines, and tells; returns 1 where anything has failed."""
    return asyncio.run(_run(_options(arguments), environ))


async def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    subject = "nothing"
    findings: list[Finding] = []
    try:
        source = await _source(options, environ)
        subject = source.told
        await _examine(source, environ.get(TOKEN, ""), findings, quiet=options.json)
    except SourceUnreadable as fault:
        findings.append(failed("environment", "not to be had", fault.cause, fault.cure))
        if not options.json:
            print(findings[-1].told())
    print(as_json(subject, findings) if options.json else f"\n{summary(findings)}: {subject}")
    return exit_code(findings)


async def _examine(source: Source, token: str, findings: list[Finding], *, quiet: bool) -> None:
    source.move_in()
    from scripts.doctor.examination import examine  # noqa: PLC0415  # libraries look at the environment when imported
    from scripts.doctor.patient import Patient  # noqa: PLC0415

    patient = Patient(source, token or _alices_token(source))
    try:
        async for finding in examine(patient):
            findings.append(finding)
            if not quiet:
                print(finding.told(), flush=True)
    finally:
        await patient.close()


async def _source(options: argparse.Namespace, environ: Mapping[str, str]) -> Source:
    if options.app:
        return await deployed(options.app, options.resource_group)
    if options.local_settings:
        return local_settings(options.local_settings, environ)
    return here(environ)


def _alices_token(source: Source) -> str:
    """On the local stack somebody is always at hand."""
    from local import ask  # noqa: PLC0415  # for the local stack alone

    return ask.token("alice") if source.kind == "local stack" else ""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.doctor",
        description="Examine an environment: by default the local stack that runs here, else this environment.",
        epilog=f"{TOKEN}: a person's access token for the gateway; with it what happens on their behalf is tried too.",
    )
    parser.add_argument("--local-settings", type=Path, help="a local.settings.json")
    parser.add_argument("--app", help="a deployed function app, read by the Azure CLI")
    parser.add_argument("--resource-group", help="its resource group")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args(arguments)
    if bool(options.app) != bool(options.resource_group):
        parser.error("--app and --resource-group go together")
    return options


if __name__ == "__main__":
    logging.getLogger().addHandler(logging.NullHandler())  # the findings tell, and libraries would on stderr
    sys.exit(main())
