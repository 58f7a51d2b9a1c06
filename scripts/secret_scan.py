"""Looks for secrets in what git has, or would take. `python -m scripts.secret_scan`, by the Python of .tools.

detect-secrets knows many shapes of keys and tokens, and strings that look random. Where that is what a file is full
of (hashes of packages, the made-up ids of tests), the shapes alone are looked for; names such as `token = "…"` are
ruff's matter in Python (S105 to S107). What is known has its reason below, found by its hash: another secret in the
same file is another finding.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
RANDOM = ("HexHighEntropyString", "Base64HighEntropyString")
PASSES = (
    (("*.py", ":!tests", ":!scripts/secret_scan.py"), ("KeywordDetector",)),
    (("tests",), ("KeywordDetector", *RANDOM)),
    ((":!*.py", ":!tests", ":!requirements-lock.txt", ":!package-lock.json"), ()),
)
"""Which files, and which detectors are of no use in them. The locks and this file hold public hashes alone."""
KNOWN = {
    ("lib/settings.py", "726684b05966cd486e3461450ac94907c0b6709a"): "Azurite's key, public and the same everywhere",
    ("tests/lib/agents/test_addresses.py", "9d4e1e23bd5b727046a9e3b4b7db57bd8d6ee684"): "an address to be refused",
    (
        "tests/lib/telemetry/test_logs.py",
        "3c56d43118c3a1a290ac2516ff8e08f55e25508e",
    ): "a token of one letter, to be cut out",
    ("tests/lib/telemetry/test_logs.py", "087f32f6863aa729210e15696c85c6f3a5132405"): "no key: text to be cut out",
    (
        "tests/lib/test_telemetry_settings.py",
        "a62f2225bf70bfaccbc7f1ef2a397836717377de",
    ): "an address to be refused",
    (
        "tests/local/test_issuer.py",
        "38ce65cc87ec7ff3892ef529204aad16fc6dd805",
    ): "a key of the wrong kind, to be refused",
}
"""File and hash of what is no secret, and why."""


def findings(root: Path) -> Iterator[tuple[str, str]]:
    """Each finding that is not known: its file and its hash, and what it is and where."""
    for paths, without in PASSES:
        for file, line, kind, digest in scan(root, files(root, paths), without):
            if (file, digest) not in KNOWN:
                yield f"{file}:{line}", f"{kind} ({digest})"


def files(root: Path, paths: tuple[str, ...]) -> list[str]:
    """The files among `paths` that git has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *paths]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (root / name).is_file()]


def scan(root: Path, names: list[str], without: tuple[str, ...]) -> Iterator[tuple[str, int, str, str]]:
    """What detect-secrets finds: file, line, kind and hash."""
    if names:
        detectors = [word for detector in without for word in ("--disable-plugin", detector)]
        command = [sys.executable, "-m", "detect_secrets", "scan", "--no-verify", *detectors, *names]
        told = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
        for file, found in json.loads(told)["results"].items():
            for one in found:
                yield file, one["line_number"], one["type"], one["hashed_secret"]


def main() -> int:
    """Prints what was found; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.secret_scan", description="Look for secrets.")
    parser.add_argument("--root", type=Path, default=ROOT, help="a repository (default: this one)")
    found = list(findings(parser.parse_args().root))
    for place, what in found:
        print(f"{place}: {what}", file=sys.stderr)
    if found:
        print("A secret here is known to everybody: revoke it first, then take it out.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
