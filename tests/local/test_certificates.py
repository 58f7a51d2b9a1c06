"""The throw-away certificate authority."""

import ssl
import stat
from pathlib import Path

from cryptography import x509

from local.certificates import LIFETIME_DAYS, issue

DAY = 24 * 3600


def test_the_certificate_names_every_loopback_name_and_address(tmp_path: Path) -> None:
    """Clients may say localhost, 127.0.0.1 or ::1."""
    certificates = issue(tmp_path)
    certificate = x509.load_pem_x509_certificate(certificates.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_the_files_make_a_server_and_a_client_context(tmp_path: Path) -> None:
    """The key belongs to the certificate, and the authority loads as one to trust."""
    certificates = issue(tmp_path)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificates.certificate, certificates.key)
    assert len(ssl.create_default_context(cafile=certificates.ca).get_ca_certs()) == 1


def test_only_the_owner_reads_the_key(tmp_path: Path) -> None:
    """The key's file has mode 0600."""
    assert stat.S_IMODE(issue(tmp_path / "new" / "folder").key.stat().st_mode) == 0o600


def test_certificates_are_used_again_until_a_day_before_their_end(tmp_path: Path) -> None:
    """A restart keeps what browsers were told to trust, and never hands out what ends today."""
    first = issue(tmp_path, now=lambda: 2e9).certificate.read_bytes()
    assert issue(tmp_path, now=lambda: 2e9 + (LIFETIME_DAYS - 1) * DAY).certificate.read_bytes() == first
    assert issue(tmp_path, now=lambda: 2e9 + (LIFETIME_DAYS - 1) * DAY + 1).certificate.read_bytes() != first


def test_certificates_with_a_missing_file_are_made_anew(tmp_path: Path) -> None:
    """Half a set is no set: the authority's own key is gone, so the rest is of no use."""
    certificates = issue(tmp_path)
    authority = certificates.ca.read_bytes()
    certificates.key.unlink()
    assert issue(tmp_path).ca.read_bytes() != authority
