"""What the tests of the scripts share."""

from pathlib import Path

import pytest

from tests.scripts.azure_cli import AzureCli


@pytest.fixture
def azure_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AzureCli:
    """An Azure CLI at which somebody has signed in who may do nothing yet."""
    return AzureCli(tmp_path, monkeypatch)
