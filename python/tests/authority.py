"""Certificates of the tests, made anew each time."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Optional

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    """Issues certificates."""

    def __init__(self, name: str = "An authority") -> None:
        self.name = named(name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = (
            builder(self.name, self.name, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def trust(self, security: Path) -> None:
        """Daemons that start with this security directory trust it."""
        directory = security / "cacert"
        directory.mkdir(parents=True, exist_ok=True)
        pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        (directory / f"{len(list(directory.iterdir()))}.pem").write_bytes(pem)

    def issue(
        self,
        directory: Path,
        name: str,
        *,
        expired: bool = False,
        key: Optional[ec.EllipticCurvePrivateKey] = None,
    ) -> None:
        """Writes crt.pem for *name* and key.pem; with *key*, a key that is another's."""
        own = ec.generate_private_key(ec.SECP256R1())
        end = -DAY if expired else DAY
        certificate = builder(named(name), self.name, own.public_key(), end).sign(
            self.key, hashes.SHA256()
        )
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "crt.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem = (own if key is None else key).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = directory / "key.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    end: datetime.timedelta = DAY,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + end)
    )
