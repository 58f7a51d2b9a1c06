"""A throw-away certificate authority, so that every emulator speaks real TLS and no client switches a check off.

The authority's own key is never written: once `issue` returns, nobody can issue another certificate under it.
"""

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from cryptography import x509

from local import private_files

NAMES = ("localhost", "127.0.0.1", "::1")
LIFETIME_DAYS = 30
LEAST_LEFT_DAYS = 1


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: the authority to trust, the server's certificate and its key (mode 0600)."""

    ca: Path
    certificate: Path
    key: Path = field(repr=False)


def issue(folder: Path, *, now: Callable[[], float] = time.time) -> Certificates:
    """Certificates in `folder`: those already there while they are good for another day, else new ones."""
    certificates = Certificates(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
    today = dt.datetime.fromtimestamp(now(), dt.UTC)
    if not _is_usable(certificates, today):
        _write(certificates, today + dt.timedelta(days=LIFETIME_DAYS))
    return certificates


def client_certificate() -> str:
    """A certificate with its key, as one PEM text: what an app registration trusts and Key Vault keeps."""
    issued = trustme.CA().issue_cert("gateway.example", key_type=trustme.KeyType.RSA)
    return (issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes()).decode()


def _is_usable(certificates: Certificates, today: dt.datetime) -> bool:
    if not all(path.is_file() for path in (certificates.ca, certificates.certificate, certificates.key)):
        return False
    certificate = x509.load_pem_x509_certificate(certificates.certificate.read_bytes())
    return certificate.not_valid_after_utc - today >= dt.timedelta(days=LEAST_LEFT_DAYS)


def _write(certificates: Certificates, expiry: dt.datetime) -> None:
    authority = trustme.CA(organization_name="Fabric Data Agent Gateway, local stack")
    server = authority.issue_cert(*NAMES, common_name="localhost", not_after=expiry)
    private_files.write(certificates.key, server.private_key_pem.bytes())
    certificates.ca.write_bytes(authority.cert_pem.bytes())
    certificates.certificate.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
