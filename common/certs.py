"""The mesh's own certificate authority: makes the certificates by which its members know each other.

    authority = Authority.init(authority_folder(folder), "malla.local")
    authority.issue("query", leaf_folder(folder, "query"))

X.509 certificates with a SPIFFE id (https://spiffe.io/docs/latest/spiffe-specs/x509-svid/). Another issuer's, such as
SPIRE's or cert-manager's, do as well: the servers and the proxy read files and do not care who wrote them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import InvalidArgumentError, NotFoundError
from common.mtls import LEAF_CA, LEAF_CERT, LEAF_KEY, dns_name, spiffe_id
from common.tokens import exclusive, write_whole

AUTHORITY_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=30)

# Clocks of machines differ.
_BACKDATED = timedelta(minutes=5)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,189}[a-z0-9])?")
_CERT, _KEY = "ca.crt", "ca.key"


@dataclass(frozen=True)
class Issued:
    """A certificate in a member's folder.

    Attributes:
        member: The folder's name.
        spiffe_id: As the certificate says.
        begins: When it is good from.
        expires: When it is good for nothing.
    """

    member: str
    spiffe_id: str
    begins: datetime
    expires: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether less than a third of its life is left."""
        return self.expires - now < (self.expires - self.begins) / 3


@dataclass(frozen=True)
class Authority:
    """Signs the members' certificates. Its key stays in its folder, which only the issuer needs."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def init(cls, folder: Path, trust_domain: str, *, lifetime: timedelta = AUTHORITY_LIFETIME) -> Authority:
        """Makes the authority of a folder, or opens the one that is there.

        Raises InvalidArgumentError for a trust domain that is no name, or where the one there is another domain's.
        """
        if not _DOMAIN.fullmatch(trust_domain):
            raise InvalidArgumentError([("trust_domain", "must be a lower-case name, such as malla.local")])
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with exclusive(folder):
            if not (folder / _CERT).exists():
                _make(folder, trust_domain, lifetime)
        opened = cls.open(folder)
        if opened.trust_domain != trust_domain:
            said = f"the authority in {folder} is that of {opened.trust_domain}; use that name, or another folder"
            raise InvalidArgumentError([("trust_domain", said)])
        return opened

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """Reads the authority of a folder. Raises NotFoundError where there is none."""
        try:
            certificate = x509.load_pem_x509_certificate((folder / _CERT).read_bytes())
            key = load_pem_private_key((folder / _KEY).read_bytes(), password=None)
        except FileNotFoundError:
            raise NotFoundError("certificate_authority", str(folder), "Make one with `malla certs init`.") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidArgumentError([("folder", f"{folder / _KEY} is not a key of `malla certs init`")])
        return cls(folder, certificate, key)

    @property
    def trust_domain(self) -> str:
        """The domain of every id it signs."""
        return _uri(self.certificate).removeprefix("spiffe://")

    def issue(self, member: str, folder: Path, *, lifetime: timedelta = LEAF_LIFETIME, now: datetime | None = None) -> Issued:
        """Makes a key and a certificate and writes them to a member's folder, over those that are there.

        Each file is moved into place whole, the key first: a reader that finds the new key beside the old certificate waits for
        the other half. Raises InvalidArgumentError for a member that is no name.
        """
        if not _NAME.fullmatch(member):
            raise InvalidArgumentError([("service", f"'{member}' must be lower-case letters, digits and dashes")])
        begins = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(member, key.public_key(), begins, begins + lifetime)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with exclusive(folder):
            write_whole(folder / LEAF_CA, _pem(self.certificate))
            write_whole(folder / LEAF_KEY, _private_pem(key), mode=0o600)
            write_whole(folder / LEAF_CERT, _pem(certificate))
        return _issued(member, certificate)

    def _sign(self, member: str, key: ec.EllipticCurvePublicKey, begins: datetime, expires: datetime) -> x509.Certificate:
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(spiffe_id(self.trust_domain, member)),
            x509.DNSName(dns_name(self.trust_domain, member)),
        ]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return (
            _begun(key, member, self.certificate.subject, begins, min(expires, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("leaf"), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def issued_in(folder: Path) -> list[Issued]:
    """Returns the certificates of a mesh's folder, by member."""
    files = sorted(leaf_folder(folder, "*").parent.glob(f"*/{LEAF_CERT}"))
    return [_issued(file.parent.name, x509.load_pem_x509_certificate(file.read_bytes())) for file in files]


def authority_folder(folder: Path) -> Path:
    """Returns where the authority of a mesh's folder is: among the keys, which the servers do not see."""
    return folder / "keys" / "mesh-ca"


def leaf_folder(folder: Path, member: str) -> Path:
    """Returns where a member's files are in a mesh's folder; the one folder that this member sees."""
    return folder / "certs" / member


def renew_due(folder: Path, *, lifetime: timedelta = LEAF_LIFETIME, everyone: bool = False) -> list[Issued]:
    """Makes new certificates for the members of a mesh's folder that have less than a third of their life left."""
    now = datetime.now(UTC)
    due = [one.member for one in issued_in(folder) if everyone or one.is_due(now)]
    authority = Authority.open(authority_folder(folder))
    return [authority.issue(member, leaf_folder(folder, member), lifetime=lifetime) for member in due]


def _make(folder: Path, trust_domain: str, lifetime: timedelta) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "malla mesh authority")])
    now = datetime.now(UTC)
    certificate = (
        _begun(key.public_key(), "malla mesh authority", name, now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("authority"), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    write_whole(folder / _KEY, _private_pem(key), mode=0o600)
    write_whole(folder / _CERT, _pem(certificate))


def _begun(
    key: ec.EllipticCurvePublicKey, common_name: str, issuer: x509.Name, begins: datetime, expires: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - _BACKDATED)
        .not_valid_after(expires)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(of: Literal["authority", "leaf"]) -> x509.KeyUsage:
    signs = of == "authority"
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _issued(member: str, certificate: x509.Certificate) -> Issued:
    return Issued(member, _uri(certificate), certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _uri(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uri


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
