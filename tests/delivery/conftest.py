"""One package for all tests of this folder: making it takes as long as installing the app's packages."""

import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts import package

DEVELOPMENT = Path(sys.modules["pytest"].__file__ or "").parent.parent
"""Where this process has its packages."""


@dataclass(frozen=True)
class Package:
    """What `make package` leaves behind: the folder, and what gateway.json says."""

    output: Path
    told: dict[str, Any]

    @property
    def app(self) -> Path:
        """The files as they are deployed."""
        return self.output / "app"


MADE = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Package:
    """The package of the files as they are, committed or not."""
    output = tmp_path_factory.mktemp("dist")
    made = Package(output, package.build(package.ROOT, output, changes_allowed=True))
    request.config.stash[MADE] = list(package.report(made.told, package.import_seconds(made.app)))
    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tells the sizes and the time to import, which no test judges on a machine that others use too."""
    if MADE in config.stash:
        terminalreporter.section("package")
        terminalreporter.write("\n".join([*config.stash[MADE], ""]))


@pytest.fixture(scope="session")
def unpacked(built: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip as Azure unpacks it: by now, whatever times it tells."""
    folder = tmp_path_factory.mktemp("wwwroot")
    with zipfile.ZipFile(built.output / "gateway.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def host_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local host needs and the app does not: a folder of these alone, to stand behind the package's own."""
    folder = tmp_path_factory.mktemp("host")
    for name in ("uvicorn", "starlette", "click", "trustme"):
        (folder / name).symlink_to(DEVELOPMENT / name)
    (folder / "local").symlink_to(package.ROOT / "local")
    return folder
