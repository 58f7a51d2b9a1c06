"""Builds what is deployed: the app, and all it needs, in one zip. `python -m scripts.package`, or `make package`.

Azure unpacks the zip and runs it as it is, without building anything, so that what was tested is what runs. The same
commit gives the same bytes: wheels come by their hashes in requirements-lock.txt, bytecode names the place where Azure
has the files, and the zip knows neither times nor the order of a file system.

Bytecode is `unchecked-hash` (PEP 552): bytecode that is judged by times would be stale once Azure has unpacked the zip,
and compiling everything anew costs each cold start more than a second.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
APP = ("function_app.py", "host.json", "requirements.txt", "lib", "web")
"""All that is deployed of this repository."""
LOCK = "requirements-lock.txt"
PACKAGES = Path(".python_packages/lib/site-packages")
"""Where Azure Functions looks for an app's packages."""
DEPLOYED_TO = "/home/site/wwwroot"
MANIFEST = "manifest.json"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_26_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
"""The wheels that may be used, whatever machine builds: glibc 2.28 is older than every image of Azure Functions 4."""
PYTHON = (3, 13)
LEFT_OUT_FOLDERS = {"tests", "__pycache__"}
LEFT_OUT_SUFFIXES = {".pyi", ".pyx", ".pxd", ".pxi", ".c", ".h"}
LEFT_OUT_RECORDS = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""What pip writes about an installation, RECORD of files that are no longer there; METADATA and licences stay."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_IMPORT = """
import sys, time
sys.path[:0] = sys.argv[1:]
begun = time.perf_counter()
import function_app
print(time.perf_counter() - begun)
"""


class NotBuildable(RuntimeError):
    """No package can be made here; the text says what to do."""


def build(root: Path, output: Path, *, changes_allowed: bool = False) -> dict[str, Any]:
    """Makes `output`/app, the files as they are deployed, and `output`/gateway.zip and gateway.json of it.

    Returns what gateway.json says. Raises `NotBuildable` where files differ from the commit, unless that is allowed.
    """
    if sys.version_info[:2] != PYTHON:
        raise NotBuildable(f"bytecode for Python 3.13 is made by Python 3.13, not by {sys.version}")
    changed = changes(root)
    if changed and not changes_allowed:
        raise NotBuildable(f"commit these first, since a package belongs to a commit: {', '.join(changed)}")
    tree, archive = output / "app", output / "gateway.zip"
    shutil.rmtree(tree, ignore_errors=True)
    copy_app(root, tree)
    install(root / LOCK, tree / PACKAGES)
    strip(tree / PACKAGES)
    compile_all(tree)
    manifest = {
        "commit": git(root, "rev-parse", "HEAD"),
        "committed": git(root, "show", "--no-patch", "--format=%cI", "HEAD"),
        "changed": changed,
        "python": f"{PYTHON[0]}.{PYTHON[1]}",
        "platform": PLATFORMS[0],
        "packages": packages(root / LOCK),
    }
    (tree / MANIFEST).write_text(as_json(manifest), encoding="utf-8")
    write_archive(tree, archive)
    told = manifest | {"files": len(files(tree)), "bytes_unpacked": sum(file.stat().st_size for file in files(tree))}
    told |= {"bytes": archive.stat().st_size, "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    (output / "gateway.json").write_text(as_json(told), encoding="utf-8")
    return told


def changes(root: Path) -> list[str]:
    """The files that the package is made of and that differ from the commit; new ones too."""
    status = git(root, "status", "--porcelain", "--no-renames", "--untracked-files=all", "--", *APP, LOCK)
    return [line[3:] for line in status.splitlines()]


def copy_app(root: Path, tree: Path) -> None:
    """Copies what git knows or would take, and nothing else that happens to lie in the folders."""
    listed = git(root, "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *APP)
    for name in filter(lambda name: (root / name).is_file(), listed.splitlines()):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, tree / name)


def install(lock: Path, target: Path) -> None:
    """Installs the locked wheels, each checked by its hash; nothing is built, and nothing else is taken."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    options = ["--quiet", "--no-compile", "--require-hashes", "--only-binary", ":all:", "--no-warn-script-location"]
    interpreter = ["--implementation", "cp", "--python-version", f"{PYTHON[0]}.{PYTHON[1]}"]
    where = ["--target", str(target), "--requirement", str(lock)]
    run([sys.executable, "-m", "pip", "install", *options, *interpreter, *platforms, *where])


def strip(target: Path) -> None:
    """Takes away what no import needs: tests, sources and types of compiled modules, programs, pip's own records."""
    shutil.rmtree(target / "bin", ignore_errors=True)
    for folder in [path for path in target.rglob("*") if path.is_dir() and path.name in LEFT_OUT_FOLDERS]:
        shutil.rmtree(folder, ignore_errors=True)
    for file in files(target):
        record = file.parent.suffix == ".dist-info" and file.name in LEFT_OUT_RECORDS
        if record or file.suffix in LEFT_OUT_SUFFIXES:
            file.unlink()


def compile_all(tree: Path) -> None:
    """Compiles every module, one after another and with a fixed seed: bytecode is then the same each time.

    Without `site` (-S): what an environment loads at every start, as tools that measure do, shows in the bytecode too.
    """
    options = ["-q", "-j1", "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", DEPLOYED_TO]
    run([sys.executable, "-S", "-m", "compileall", *options, str(tree)], PYTHONHASHSEED="0")


def packages(lock: Path) -> dict[str, str]:
    """The locked packages and their versions."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    pins = [line.split()[0] for line in lines if line and line[0].isalnum()]
    return dict(pin.split("==", 1) for pin in pins)


def write_archive(tree: Path, archive: Path) -> None:
    """Zips a tree: sorted, without times, everything readable and nothing executable."""
    with zipfile.ZipFile(archive, "w") as written:
        for file in files(tree):
            entry = zipfile.ZipInfo(file.relative_to(tree).as_posix(), _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            written.writestr(entry, file.read_bytes())


def import_seconds(tree: Path, times: int = 3) -> float:
    """How long the app takes to be imported from its package alone; the best of some `times`."""
    command = [sys.executable, "-I", "-S", "-c", _IMPORT, str(tree), str(tree / PACKAGES)]
    return min(float(run(command)) for _ in range(times))


def files(folder: Path) -> list[Path]:
    """All files below a folder, sorted by their names as they stand in the zip."""
    return sorted(filter(Path.is_file, folder.rglob("*")), key=lambda file: file.relative_to(folder).as_posix())


def as_json(value: dict[str, Any]) -> str:
    """A value as a file that people read too."""
    return json.dumps(value, indent=2) + "\n"


def git(root: Path, *arguments: str) -> str:
    """What a git command says about the repository."""
    return run(["git", "-C", str(root), *arguments]).rstrip("\n")


def run(command: Sequence[str], **environ: str) -> str:
    """Runs a program and returns what it says. Raises `NotBuildable` with its complaint where it fails."""
    done = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotBuildable(f"{' '.join(command[:4])} … failed:\n{done.stderr or done.stdout}")
    return done.stdout


def report(told: dict[str, Any], seconds: float) -> Iterator[str]:
    """What somebody wants to know of a package that was made."""
    yield f"commit    {told['commit']}{' with changes' if told['changed'] else ''}"
    yield f"zip       {told['bytes'] / 1e6:.1f} MB, sha256 {told['sha256']}"
    yield f"unpacked  {told['bytes_unpacked'] / 1e6:.1f} MB in {told['files']} files"
    yield f"import    {seconds * 1000:.0f} ms for function_app, from the package alone"


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds the package of this commit; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.package", description="Build what is deployed.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for what is made (default: dist)")
    parser.add_argument("--changed", action="store_true", help="take files as they are, committed or not")
    options = parser.parse_args(arguments)
    try:
        told = build(ROOT, options.output, changes_allowed=options.changed)
        print(*report(told, import_seconds(options.output / "app")), sep="\n")
    except NotBuildable as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
