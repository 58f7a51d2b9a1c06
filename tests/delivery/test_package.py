"""The package that is deployed: complete, the same each time, and it answers with nothing but itself."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import httpx
import pytest

from scripts import package
from scripts.package import LOCK, PACKAGES, ROOT, NotBuildable
from tests.delivery.conftest import Package

START_SECONDS = 120
UNCHECKED_HASH = (1).to_bytes(4, "little")
"""The flags of bytecode that is taken as it is (PEP 552)."""

SERVE = """
import json, sys
app, packages, host = sys.argv[1:]
sys.path += [app, packages, host]
from local.host import main
code = main(["--app", app, "--port", "0"])
print("loaded", json.dumps([str(m.__file__) for m in sys.modules.values() if getattr(m, "__file__", None)]))
sys.exit(code)
"""
IMPORT = """
import importlib, sys
sys.path += sys.argv[1:3]
for name in sys.argv[3:]:
    importlib.import_module(name)
"""


class Served:
    """The unpacked app on the local host, in an interpreter that knows no packages but those it is given."""

    def __init__(self, app: Path, host_programs: Path) -> None:
        command = [sys.executable, "-I", "-S", "-c", SERVE, str(app), str(app / PACKAGES), str(host_programs)]
        without_settings = {"PATH": os.environ["PATH"]}
        self.process = subprocess.Popen(command, env=without_settings, stdout=subprocess.PIPE, text=True)
        self._watchdog = threading.Timer(START_SECONDS, self.process.kill)
        self._watchdog.start()
        assert self.process.stdout
        ready = next((line for line in self.process.stdout if line.startswith("ready on ")), "")
        self.url = ready.removeprefix("ready on ").strip()

    def end(self) -> list[Path]:
        """Ends it; returns the files of all modules that it had loaded."""
        self.process.terminate()
        output, _ = self.process.communicate()
        self._watchdog.cancel()
        lines = [line for line in output.splitlines() if line.startswith("loaded ")]
        return [Path(file) for line in lines for file in json.loads(line.removeprefix("loaded "))]


@pytest.mark.stack
def test_the_package_answers_with_nothing_but_its_own_packages(unpacked: Path, host_programs: Path) -> None:
    """What is loaded comes from Python itself, the package, or the local host's few programs; nothing is configured."""
    served = Served(unpacked, host_programs)
    try:
        alive = httpx.get(f"{served.url}/api/health", trust_env=False)
        ready = httpx.get(f"{served.url}/api/health/ready", trust_env=False)
        page = httpx.get(f"{served.url}/api/app", trust_env=False)
    finally:
        loaded = served.end()
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert unpacked / "lib" / "gateway.py" in loaded
    assert any(file.is_relative_to(unpacked / PACKAGES / "azure_functions_runtime") for file in loaded)
    homes = (unpacked, Path(os.__file__).parent, host_programs)
    assert [file for file in loaded if not any(file.is_relative_to(home) for home in homes)] == []
    assert [file for file in loaded if "site-packages" in file.parts and not file.is_relative_to(unpacked)] == []


def imported(module: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_everything_that_the_app_ever_imports_is_in_the_package(unpacked: Path) -> None:
    """What is imported late fails late: a package without aiohttp would start, and break at the first sign-in."""
    modules = [unpacked / "function_app.py", *(unpacked / "lib").rglob("*.py")]
    names = sorted({name for module in modules for name in imported(module)})
    assert "aiohttp" not in names, "the Azure SDK alone imports it"
    lazy = ["aiohttp", "azure.identity.aio", "azure.data.tables.aio", "azure.keyvault.secrets.aio"]
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", IMPORT, str(unpacked), str(unpacked / PACKAGES)]
    done = subprocess.run([*command, *names, *lazy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_module_is_compiled_for_this_python_and_never_judged_by_times(unpacked: Path) -> None:
    """Azure unpacks the files with times of its own; bytecode that is checked would be thrown away."""
    modules = list(unpacked.rglob("*.py"))
    assert len(modules) > 1000
    for module in modules:
        compiled = module.parent / "__pycache__" / f"{module.stem}.cpython-313.pyc"
        assert compiled.read_bytes()[:8] == MAGIC_NUMBER + UNCHECKED_HASH, module


def test_nothing_is_deployed_but_the_app(built: Package) -> None:
    """No test, script, document or setting of a developer; nobody's programs, tests or C sources among the packages."""
    with zipfile.ZipFile(built.output / "gateway.zip") as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops - {"__pycache__"} == {*package.APP, ".python_packages", package.MANIFEST}
    paths = [Path(name) for name in names]
    assert [path for path in paths if "tests" in path.parts or path.suffix in package.LEFT_OUT_SUFFIXES] == []
    assert [path for path in paths if path.parts[:4] == (*PACKAGES.parts, "bin")] == []


def test_the_manifests_tell_what_was_made_of_what(built: Package, unpacked: Path) -> None:
    """The one inside says which commit runs, the one beside the zip also what to check the zip by."""
    inside = json.loads((unpacked / package.MANIFEST).read_text(encoding="utf-8"))
    beside = json.loads((built.output / "gateway.json").read_text(encoding="utf-8"))
    assert beside == built.told
    assert {name: beside[name] for name in inside} == inside
    assert inside["commit"] == package.git(ROOT, "rev-parse", "HEAD")
    assert inside["packages"]["azure-functions-runtime"] == "1.3.0"
    archive = (built.output / "gateway.zip").read_bytes()
    assert (beside["sha256"], beside["bytes"]) == (hashlib.sha256(archive).hexdigest(), len(archive))


def test_the_same_files_give_the_same_bytes_whenever_and_wherever(built: Package, tmp_path: Path) -> None:
    """Other times, another folder, another order on disk: what was signed can be made again and compared."""
    first, second = tmp_path / "first", tmp_path / "elsewhere" / "second"
    shutil.copytree(built.app, first, ignore=shutil.ignore_patterns(".python_packages"))
    for file in reversed(package.files(first)):
        if "__pycache__" not in file.parts:
            copy = second / file.relative_to(first)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            os.utime(copy, (1, 1))
    package.compile_all(second)
    archives = [tree.with_suffix(".zip") for tree in (first, second)]
    for tree, archive in zip((first, second), archives, strict=True):
        package.write_archive(tree, archive)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with zipfile.ZipFile(archives[0]) as ours, zipfile.ZipFile(built.output / "gateway.zip") as whole:
        assert {entry.filename: entry.CRC for entry in ours.infolist()}.items() <= {
            entry.filename: entry.CRC for entry in whole.infolist()
        }.items()


def repository(folder: Path) -> Path:
    """A small repository with one commit."""
    for name in ("function_app.py", "host.json", "requirements.txt", LOCK, "lib/a.py", "web/app.js"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n", encoding="utf-8")
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@contoso.example", "-c", "commit.gpgsign=false")
    package.git(folder, "init", "--quiet")
    package.git(folder, "add", ".")
    package.git(folder, *who, "commit", "--quiet", "--message", "All")
    return folder


def test_a_package_is_made_of_a_commit_and_of_nothing_else(tmp_path: Path) -> None:
    """Changed, new and missing files are named; what is not deployed may change as it likes."""
    root = repository(tmp_path)
    (root / "README.md").write_text("2\n", encoding="utf-8")
    assert package.changes(root) == []
    (root / "lib" / "a.py").write_text("2\n", encoding="utf-8")
    (root / "lib" / "b.py").write_text("1\n", encoding="utf-8")
    (root / "web" / "app.js").unlink()
    with pytest.raises(NotBuildable, match=r"commit these first, .+: lib/a[.]py, web/app[.]js, lib/b[.]py"):
        package.build(root, tmp_path / "dist")


def test_what_lies_about_is_not_taken(tmp_path: Path) -> None:
    """Caches and settings that git ignores stay where they are."""
    root = repository(tmp_path / "root")
    (root / ".gitignore").write_text("*.secret\n", encoding="utf-8")
    (root / "lib" / "mine.secret").write_text("1\n", encoding="utf-8")
    package.copy_app(root, tmp_path / "tree")
    assert [file.name for file in package.files(tmp_path / "tree" / "lib")] == ["a.py"]


@pytest.mark.parametrize(
    ("lock", "complaint"),
    [
        (f"mdurl==0.1.2 --hash=sha256:{'0' * 64}\n", "DO NOT MATCH THE HASHES"),
        ("mdurl==0.1.2\n", "Hashes are required"),
        ("markdown-it-py==4.3.0 --hash=sha256:{markdown}\n", "must have their versions pinned"),
    ],
    ids=["other bytes", "no hash", "a package that another needs is missing"],
)
def test_nothing_is_installed_that_the_lock_does_not_name_with_its_hash(
    lock: str, complaint: str, tmp_path: Path
) -> None:
    """A registry that gives out other bytes, or a lock with a gap, ends the build."""
    known = (ROOT / LOCK).read_text(encoding="utf-8").partition("markdown-it-py==")[2].partition("sha256:")[2]
    second = known.partition("sha256:")[2]
    (tmp_path / LOCK).write_text(
        lock.replace("{markdown}", f"{known[:64]} --hash=sha256:{second[:64]}"), encoding="utf-8"
    )
    with pytest.raises(NotBuildable, match=complaint):
        package.install(tmp_path / LOCK, tmp_path / "packages")


def test_what_func_publishes_from_this_folder_is_the_app_too() -> None:
    """`.funcignore` keeps everything else at home, and neither packages nor bytecode."""
    ignored = set(package.git(ROOT, "ls-files", "--cached", "--ignored", "--exclude-from=.funcignore").splitlines())
    left = {name for name in package.git(ROOT, "ls-files").splitlines() if name not in ignored}
    assert {name.partition("/")[0] for name in left} == set(package.APP)
    lines = (ROOT / ".funcignore").read_text(encoding="utf-8").splitlines()
    assert "!/.python_packages" in lines
    assert not any("pycache" in line or ".pyc" in line for line in lines if not line.startswith("#"))
