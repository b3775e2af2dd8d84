"""Whom a receiver's certificate must name: the host of its URL, now, by somebody whom the system trusts."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from api.webhooks.network import Unreachable
from tests.api.test_webhook_network import post

HOST = "receiver.example"
ISSUER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
DAY = timedelta(days=1)
NOW = datetime.now(UTC)


class Authority:
    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.BasicConstraints(ca=True, path_length=None)
        made = _builder(self._key.public_key(), NOW - DAY, NOW + DAY).subject_name(ISSUER)
        self.certificate = made.add_extension(authority, critical=True).sign(self._key, SHA256())

    def issued(self, path: Path, name: str, begins: datetime, ends: datetime) -> ssl.SSLContext:
        """A server's, with a key and a certificate of that name."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        made = _builder(key.public_key(), begins, ends).subject_name(x509.Name([]))
        certificate = made.add_extension(names, critical=True).sign(self._key, SHA256())
        spelled = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(spelled + certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _builder(key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().issuer_name(ISSUER).public_key(key)
    return made.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)


@pytest.mark.parametrize(
    ("name", "begins", "ends", "taken"),
    [
        (HOST, NOW - DAY, NOW + DAY, True),
        ("elsewhere.example", NOW - DAY, NOW + DAY, False),
        ("127.0.0.1", NOW - DAY, NOW + DAY, False),
        (HOST, NOW - 2 * DAY, NOW - DAY, False),
        (HOST, NOW + DAY, NOW + 2 * DAY, False),
    ],
    ids=["its own", "of another", "of the address", "expired", "not yet valid"],
)
def test_a_certificate_must_name_the_host_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, begins: datetime, ends: datetime, taken: bool
) -> None:
    authority = Authority()
    (tmp_path / "trusted.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    context = authority.issued(tmp_path / "server.pem", name, begins, ends)
    read: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        with (
            closing(listener.accept()[0]) as connection,
            suppress(OSError),
            context.wrap_socket(connection, server_side=True) as encrypted,
        ):
            read.append(encrypted.recv(65_536))
            encrypted.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=answer, args=[listener])
        thread.start()
        url = f"https://{HOST}:{listener.getsockname()[1]}/"
        asked = {"allowed_hosts": [HOST], "resolve": lambda *_: ["127.0.0.1"]}
        if taken:
            assert post(url, **asked).status == 200
        else:
            with pytest.raises(Unreachable, match="its certificate is not good"):
                post(url, **asked)
        thread.join(10)
    assert any(read) == taken
