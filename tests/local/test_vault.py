"""What a key vault holds."""

import stat
from pathlib import Path

import pytest

from local.vault import Vault


@pytest.fixture
def clock() -> list[float]:
    """The time now, for a test to set."""
    return [1000.9]


@pytest.fixture
def vault(clock: list[float]) -> Vault:
    """A vault that keeps nothing."""
    return Vault(now=lambda: clock[0])


def test_the_latest_version_is_the_one_put_last(vault: Vault) -> None:
    """Whenever it says that it was created."""
    first, second = vault.put("ring", "one"), vault.put("ring", "two", created=10)
    assert first != second
    assert vault.get("ring").value == "two"
    assert vault.get("ring", first).value == "one"
    assert [(secret.version, secret.created) for secret in vault.versions("ring")] == [(first, 1000), (second, 10)]


def test_the_latest_version_of_each_secret_is_listed(vault: Vault) -> None:
    """One per name."""
    vault.put("a", "1")
    vault.put("b", "2")
    vault.put("a", "3")
    assert [(secret.name, secret.value) for secret in vault.latest()] == [("a", "3"), ("b", "2")]


def test_disabling_a_version_keeps_its_place_and_is_an_update(vault: Vault, clock: list[float]) -> None:
    """It may be enabled again."""
    first = vault.put("ring", "one")
    vault.put("ring", "two")
    clock[0] = 2000
    vault.disable("ring", first)
    secret = vault.get("ring", first)
    assert (secret.enabled, secret.created, secret.updated) == (False, 1000, 2000)
    assert vault.get("ring").value == "two"
    vault.enable("ring", first)
    assert vault.get("ring", first).enabled


def test_what_does_not_exist_is_a_key_error(vault: Vault) -> None:
    """For names and versions alike."""
    vault.put("ring", "one")
    for name, version in (("other", ""), ("ring", "0" * 32)):
        with pytest.raises(KeyError):
            vault.get(name, version)
    with pytest.raises(KeyError):
        vault.disable("ring", "0" * 32)
    with pytest.raises(KeyError):
        vault.versions("other")


@pytest.mark.parametrize("name", ["", "a_b", "a/b", "x" * 128, "å"])
def test_an_impossible_name_is_refused(vault: Vault, name: str) -> None:
    """Key Vault's own rule."""
    with pytest.raises(ValueError, match="1 to 127 letters"):
        vault.put(name, "value")


def test_a_vault_in_a_folder_survives_a_restart_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    """Values, versions, order and attributes."""
    vault = Vault(tmp_path)
    first = vault.put("ring", "one", created=10)
    vault.put("ring", "two")
    vault.disable("ring", first)
    again = Vault(tmp_path)
    assert again.versions("ring") == vault.versions("ring")
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_value_shows_in_a_representation(vault: Vault) -> None:
    """A secret is printed by its name."""
    vault.put("ring", "the value")
    assert "the value" not in repr(vault.get("ring"))


def test_a_secret_may_be_taken_out_and_put_back(vault: Vault) -> None:
    """With all its versions, as they were."""
    vault.put("ring", "one", expires=3000)
    vault.put("ring", "two")
    removed = vault.remove("ring")
    assert not vault.has("ring")
    vault.put("ring", "three")
    vault.restore(removed)
    assert [(secret.value, secret.expires) for secret in vault.versions("ring")] == [("one", 3000), ("two", None)]
