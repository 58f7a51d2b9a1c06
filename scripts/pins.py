"""Says what is not pinned, so that somebody else could change what it is. `python -m scripts.pins`.

Python packages are pinned by version, those that are deployed by hash too; npm's by version and integrity; actions by
the commit (a tag can be moved), with the version beside it for people and Dependabot; images by digest.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[a-z,]+\])?==(?P<version>[0-9][A-Za-z0-9.!+]*)")
_ACTION = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+@[0-9a-f]{40} +# v[0-9]+\.[0-9]+\.[0-9]+")
_USES = re.compile(r"^\s*(?:- +)?uses: *(?P<used>.+?)\s*$")
_FROM = re.compile(r"^FROM +(?:--\S+ +)*(?P<image>\S+)(?: +AS +(?P<stage>\S+))?", re.IGNORECASE)
_IMAGE = re.compile(r"\S+:[A-Za-z0-9_.-]+@sha256:[0-9a-f]{64}")


def pins(requirements: str) -> dict[str, str]:
    """The packages that a requirements file pins, by their normal names (PEP 503)."""
    found = (_PIN.match(line) for line in requirements.splitlines())
    return {re.sub(r"[-_.]+", "-", pin["name"]).lower(): pin["version"] for pin in found if pin}


def of_requirements(text: str) -> Iterator[str]:
    """Lines of a requirements file that leave a choice."""
    for line in text.splitlines():
        stated = re.sub(r"(^|\s+)#.*", "", line).strip()
        if stated and not _PIN.fullmatch(stated) and not re.fullmatch(r"-r [a-z-]+\.txt", stated):
            yield f"{stated} is not pinned by =="


def of_lock(lock: str, requirements: str) -> Iterator[str]:
    """Where the lock has no hash, or does not say what requirements.txt says."""
    for entry in re.split(r"\n(?=[A-Za-z0-9])", lock):
        if (pin := _PIN.match(entry)) and "--hash=sha256:" not in entry:
            yield f"{pin[0]} has no hash"
    for name, version in sorted(pins(lock).items() ^ pins(requirements).items()):
        yield f"{name}=={version} stands in one of requirements.txt and requirements-lock.txt alone: run make lock"


def of_npm(package: str, lock: str) -> Iterator[str]:
    """Node packages with a range for a version, without integrity, or bound to a place."""
    for name, version in json.loads(package).get("devDependencies", {}).items():
        if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?", version):
            yield f"{name} {version} is not one version"
    for path, entry in json.loads(lock)["packages"].items():
        if path and "integrity" not in entry:
            yield f"{path} has no integrity"
        if "resolved" in entry:
            yield f"{path} names the registry it came from, which is each machine's own affair (.npmrc)"


def of_workflow(text: str) -> Iterator[str]:
    """Actions that are not pinned by a commit, or do not say which version that is."""
    for line in text.splitlines():
        if (uses := _USES.match(line)) and not uses["used"].startswith("./") and not _ACTION.fullmatch(uses["used"]):
            yield f"{uses['used']} is not pinned by a commit with its version behind it"


def of_dockerfile(text: str) -> Iterator[str]:
    """Images without a digest; a stage of the same file is none."""
    stages: set[str] = set()
    for line in text.splitlines():
        if origin := _FROM.match(line):
            if origin["image"] not in stages and not _IMAGE.fullmatch(origin["image"]):
                yield f"{origin['image']} is not pinned by tag and digest"
            stages.add(origin["stage"] or "")


def problems(root: Path) -> Iterator[str]:
    """All that is not pinned in the repository, file by file."""

    def read(name: str) -> str:
        return (root / name).read_text(encoding="utf-8")

    checked = [("requirements-lock.txt", of_lock(read("requirements-lock.txt"), read("requirements.txt")))]
    checked += [("package-lock.json", of_npm(read("package.json"), read("package-lock.json")))]
    checked += [("Dockerfile", of_dockerfile(read("Dockerfile")))]
    names = ["requirements.txt", "requirements-dev.txt", "requirements-tools.txt"]
    checked += [(name, of_requirements(read(name))) for name in names]
    workflows = sorted(file.relative_to(root).as_posix() for file in (root / ".github").rglob("*.yml"))
    checked += [(name, of_workflow(read(name))) for name in workflows]
    for name, found in checked:
        yield from (f"{name}: {problem}" for problem in found)


def main() -> int:
    """Prints what is not pinned; returns the exit code."""
    found = list(problems(ROOT))
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
