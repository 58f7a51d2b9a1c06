"""What the tests of the scripts share."""

from pathlib import Path

import pytest

from local import addresses
from tests.scripts.azure_cli import AzureCli


@pytest.fixture
def azure_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AzureCli:
    """An Azure CLI at which somebody has signed in who may do nothing yet."""
    return AzureCli(tmp_path, monkeypatch)


@pytest.fixture
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No local stack runs."""
    monkeypatch.setattr(addresses, "FILE", tmp_path / "stack.json")
