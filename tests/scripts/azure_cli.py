"""An Azure CLI that answers what a test has told it to, and refuses everything else."""

import json
from pathlib import Path
from typing import Any

import pytest


class AzureCli:
    """A program `az`, first on the PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder / "azure-cli"
        self._folder.mkdir()
        self._cases: list[str] = []
        monkeypatch.setenv("PATH", str(self._folder), prepend=":")
        self._write()

    def answers(self, arguments: str, told: Any) -> None:
        """From now on prints `told` as JSON for these arguments, a pattern of the shell's."""
        self.says(arguments, json.dumps(told))

    def says(self, arguments: str, text: str, *, exit_code: int = 0) -> None:
        """From now on prints this text, and ends so."""
        file = self._folder / f"answer-{len(self._cases)}"
        file.write_text(text, encoding="utf-8")
        pattern = arguments.replace(" ", "\\ ")
        self._cases.append(f"{pattern}) cat {file}; exit {exit_code};;")
        self._write()

    def runs(self, arguments: str, command: str) -> None:
        """From now on does this, in the shell."""
        pattern = arguments.replace(" ", "\\ ")
        self._cases.append(f"{pattern}) {command};;")
        self._write()

    def forget(self) -> None:
        """From now on refuses everything."""
        self._cases.clear()
        self._write()

    def _write(self) -> None:
        program = self._folder / "az"
        lines = ["#!/bin/sh", 'case "$*" in', *self._cases, "esac", "echo refused >&2; exit 1", ""]
        program.write_text("\n".join(lines), encoding="utf-8")
        program.chmod(0o700)
