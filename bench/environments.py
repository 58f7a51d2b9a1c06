"""Throw-away environments for what stands beside the gateway, in `.bench/`, which git ignores; kept for later runs."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.stage import ROOT

FOLDER = ROOT / ".bench"
LONGEST_SECONDS = 240


@dataclass(frozen=True)
class Environment:
    """Packages at exact versions in a place of their own."""

    name: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is."""
        return FOLDER / self.name

    @property
    def is_there(self) -> bool:
        """Whether exactly these packages are installed."""
        return self._mark.is_file() and self._mark.read_text(encoding="utf-8") == self._wanted

    @property
    def _mark(self) -> Path:
        return self.folder / "installed"

    @property
    def _wanted(self) -> str:
        return "\n".join((sys.version, *self.packages))

    def program(self, name: str) -> str:
        """The path of a program in it."""
        return str(self.folder / "bin" / name)

    def begin(self) -> "Installation":
        """Begins to install it, where it is not there."""
        if self.is_there:
            return Installation(self)
        FOLDER.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.folder)], check=True, capture_output=True)
        pip = [self.program("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        log = self.folder / "pip.log"
        with log.open("wb") as lines:
            return Installation(self, subprocess.Popen([*pip, *self.packages], stdout=lines, stderr=lines))

    def mark(self) -> None:
        """Notes that it is there."""
        self._mark.write_text(self._wanted, encoding="utf-8")


@dataclass
class Installation:
    """An environment on its way."""

    environment: Environment
    pip: subprocess.Popen[bytes] | None = None
    problem: str = field(default="", init=False)

    def wait(self) -> str:
        """Why it is not there; nothing, where it is."""
        if self.pip is None:
            return self.problem
        pip, self.pip = self.pip, None
        try:
            failed = pip.wait(LONGEST_SECONDS) != 0
        except subprocess.TimeoutExpired:
            pip.kill()
            pip.wait()
            failed = True
        if failed:
            lines = (self.environment.folder / "pip.log").read_text(errors="replace").splitlines()
            said = [line for line in lines if line.startswith("ERROR")]
            self.problem = said[-1] if said else f"not installed within {LONGEST_SECONDS} s"
        else:
            self.environment.mark()
        return self.problem
