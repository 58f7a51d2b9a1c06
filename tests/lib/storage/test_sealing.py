"""Sealing: what was sealed for a place opens there, for as long as its key is enabled, and nowhere else."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.errors import StateUnavailable
from lib.storage.key_vault import KeyVault
from lib.storage.sealing import KeyRing, Sealer, SealingKey, Unsealable
from lib.storage.secret_keys import decode_key
from local.faults import drop
from tests.clock import Clock
from tests.lib.conftest import RunningVault, new_key

pytestmark = pytest.mark.stack

PLACE = ("sessions", "partition", "row")
VERSION = slice(2, 34)

of_fixtures = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def ring(key_vault_client: KeyVault, clock: Clock) -> KeyRing:
    """The ring of the emulated vault."""
    return KeyRing(key_vault_client, now=clock)


@pytest.fixture
def sealer(ring: KeyRing) -> Sealer:
    """A sealer by that ring."""
    return Sealer(ring)


@of_fixtures
@given(st.binary(max_size=200), st.lists(st.text(max_size=5), min_size=1, max_size=3))
async def test_what_is_sealed_opens_in_its_place(sealer: Sealer, plaintext: bytes, place: list[str]) -> None:
    """Whatever it is, wherever that is; and it cannot be read in the sealed bytes."""
    sealed = await sealer.seal(plaintext, *place)
    assert await sealer.open(sealed, *place) == plaintext
    assert len(sealed) == 2 + 32 + 16 + 12 + len(plaintext) + 16


PLACES = st.lists(st.text("ab", max_size=2), min_size=1, max_size=3)


@of_fixtures
@given(PLACES, PLACES)
async def test_what_is_sealed_opens_nowhere_else(sealer: Sealer, place: list[str], other: list[str]) -> None:
    """A row copied to another row, table or person is refused."""
    sealed = await sealer.seal(b"plaintext", *place)
    if place == other:
        assert await sealer.open(sealed, *other) == b"plaintext"
    else:
        with pytest.raises(Unsealable):
            await sealer.open(sealed, *other)


@of_fixtures
@given(st.data())
async def test_a_changed_byte_is_noticed(sealer: Sealer, data: st.DataObject) -> None:
    """Wherever it is, the format and the key's version included."""
    sealed = bytearray(await sealer.seal(b"plaintext", *PLACE))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unsealable):
        await sealer.open(bytes(sealed), *PLACE)


async def test_what_one_key_sealed_no_other_opens(ring: KeyRing, sealer: Sealer, vault: RunningVault) -> None:
    """Not even where the value is made to name the other key, which is as good a one."""
    other = vault.content.put("sealing-key", new_key())
    sealed = bytearray(await sealer.seal(b"plaintext", *PLACE))
    assert sealed[VERSION] != other.encode()
    assert await ring.opening_key(other) is not None
    sealed[VERSION] = other.encode()
    with pytest.raises(Unsealable):
        await sealer.open(bytes(sealed), *PLACE)


@of_fixtures
@given(st.data())
async def test_a_cut_or_longer_value_is_noticed(sealer: Sealer, data: st.DataObject) -> None:
    """Down to nothing at all."""
    sealed = await sealer.seal(b"plaintext", *PLACE)
    changed = data.draw(st.integers(0, len(sealed) - 1).map(lambda end: sealed[:end]) | st.just(sealed + b"\0"))
    with pytest.raises(Unsealable):
        await sealer.open(changed, *PLACE)


@of_fixtures
@given(st.binary(max_size=120))
async def test_bytes_from_anywhere_are_unsealable(sealer: Sealer, anything: bytes) -> None:
    """They raise that and nothing else."""
    with pytest.raises(Unsealable):
        await sealer.open(anything, *PLACE)


async def test_the_form_is_the_documented_one(ring: KeyRing, vault: RunningVault) -> None:
    """Rows outlive releases: what one release seals, every later one must open."""
    stream = iter(range(256))
    sealer = Sealer(ring, random=lambda count: bytes(next(stream) for _ in range(count)))
    key = vault.content.get("sealing-key")
    secret = decode_key("sealing-key", key.value)
    assert secret is not None
    salt, nonce = bytes(range(16)), bytes(range(16, 28))
    derived = HKDF(SHA256(), 32, salt, b"fabric-gateway|sessions").derive(secret)
    place = b"".join(
        len(part).to_bytes(4) + part for part in (*(text.encode() for text in PLACE), key.version.encode())
    )
    ciphertext = AESGCM(derived).encrypt(nonce, b"plaintext", place)
    expected = b"\x01\x20" + key.version.encode() + salt + nonce + ciphertext
    assert await sealer.seal(b"plaintext", *PLACE) == expected


async def test_two_seals_of_the_same_differ(sealer: Sealer) -> None:
    """Salt and nonce are new each time."""
    assert await sealer.seal(b"plaintext", *PLACE) != await sealer.seal(b"plaintext", *PLACE)


async def test_a_version_seals_once_it_is_ten_minutes_old(sealer: Sealer, vault: RunningVault, clock: Clock) -> None:
    """Until then some instance may not have heard of it."""
    old = vault.content.get("sealing-key").version
    new = vault.content.put("sealing-key", new_key())
    assert (await sealer.seal(b"", *PLACE))[VERSION] == old.encode()
    clock.advance(599)
    assert (await sealer.seal(b"", *PLACE))[VERSION] == old.encode()
    clock.advance(1)
    assert (await sealer.seal(b"", *PLACE))[VERSION] == new.encode()


async def test_the_first_version_seals_at_once(sealer: Sealer, vault: RunningVault, clock: Clock) -> None:
    """Where none is ten minutes old, the oldest is the likeliest to be known everywhere."""
    vault.content.disable("sealing-key", vault.content.get("sealing-key").version)
    oldest = vault.content.put("sealing-key", new_key(), created=clock.now - 300)
    vault.content.put("sealing-key", new_key(), created=clock.now - 200)
    assert (await sealer.seal(b"", *PLACE))[VERSION] == oldest.encode()


async def test_what_an_older_version_sealed_still_opens(sealer: Sealer, vault: RunningVault, clock: Clock) -> None:
    """A rotation ends no session."""
    sealed = await sealer.seal(b"plaintext", *PLACE)
    vault.content.put("sealing-key", new_key())
    clock.advance(3600)
    assert (await sealer.seal(b"", *PLACE))[VERSION] != sealed[VERSION]
    assert await sealer.open(sealed, *PLACE) == b"plaintext"


async def test_a_disabled_version_opens_nothing(sealer: Sealer, vault: RunningVault, clock: Clock) -> None:
    """Within the hour after it was disabled."""
    sealed = await sealer.seal(b"plaintext", *PLACE)
    vault.content.put("sealing-key", new_key())
    vault.content.disable("sealing-key", sealed[VERSION].decode())
    clock.advance(3600)
    with pytest.raises(Unsealable):
        await sealer.open(sealed, *PLACE)


async def test_a_version_that_another_instance_learned_of_is_learned_of(
    key_vault_client: KeyVault, sealer: Sealer, vault: RunningVault, clock: Clock
) -> None:
    """An unknown version makes the ring ask for the list."""
    await sealer.seal(b"", *PLACE)
    vault.content.put("sealing-key", new_key())
    clock.advance(700)
    sealed = await Sealer(KeyRing(key_vault_client, now=clock)).seal(b"plaintext", *PLACE)
    assert await sealer.open(sealed, *PLACE) == b"plaintext"


async def test_unknown_versions_make_the_ring_ask_once_a_minute(
    sealer: Sealer, vault: RunningVault, clock: Clock
) -> None:
    """And never for a version that is not on the list, whatever a forged cookie names."""
    forged = bytearray(await sealer.seal(b"plaintext", *PLACE))
    vault.faults.calls.clear()  # the first call of a client is asked for a token
    forged[VERSION] = b"f" * 32
    for expected in (0, 0, 1, 1, 2):
        for _ in range(3):
            with pytest.raises(Unsealable):
                await sealer.open(bytes(forged), *PLACE)
        assert (vault.faults.calls["versions"], vault.faults.calls["get"]) == (expected, expected)
        clock.advance(30)


async def test_an_unknown_version_while_the_vault_is_away_is_state_unavailable(
    sealer: Sealer, vault: RunningVault, clock: Clock
) -> None:
    """It may be a good one: what it sealed is not to be taken for a forgery."""
    sealed = bytearray(await sealer.seal(b"plaintext", *PLACE))
    clock.advance(60)
    vault.faults.plan("versions", *[drop] * 8)
    known = bytes(sealed)
    sealed[VERSION] = b"f" * 32
    with pytest.raises(StateUnavailable):
        await sealer.open(bytes(sealed), *PLACE)
    assert await sealer.open(known, *PLACE) == b"plaintext"


async def test_a_version_that_is_no_key_is_left_out(sealer: Sealer, vault: RunningVault, clock: Clock) -> None:
    """A mistake in a rotation does not end the service."""
    good = vault.content.get("sealing-key").version
    vault.content.put("sealing-key", "password", created=clock.now - 1000)
    assert (await sealer.seal(b"", *PLACE))[VERSION] == good.encode()


async def test_a_ring_without_keys_is_state_unavailable(sealer: Sealer, vault: RunningVault) -> None:
    """Nothing is sealed with a key that anybody could guess."""
    vault.content.disable("sealing-key", vault.content.get("sealing-key").version)
    vault.content.put("sealing-key", "password")
    with pytest.raises(StateUnavailable):
        await sealer.seal(b"plaintext", *PLACE)


def test_a_keys_secret_is_not_part_of_its_repr() -> None:
    """A key can be logged."""
    assert "secret" not in repr(SealingKey("v", 1.0, b"secret"))
