"""A witness as C2SP tlog-witness describes it, on a loopback port; and a time-stamping authority by OpenSSL.

Neither shares more with what is tested than the check of proofs: the note is taken apart by hand.
"""

from __future__ import annotations

import subprocess
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.checkpoint import open_checkpoint
from ledger.cosignature import TrustPolicy, Witness, cosign
from ledger.errors import VerificationError
from ledger.merkle import check_consistency
from ledger.note import Verifier

TIME = 1_800_000_000


@dataclass
class WitnessServer:
    """It cosigns what continues the last checkpoint that it has cosigned."""

    name: str
    log: Verifier
    seed: int = 7
    size: int = 0
    root: bytes = b""
    asked: list[bytes] = field(default_factory=list)
    behave: Any = None
    """Given the body of a request, a (status, answer) in place of its own; None: its own."""
    url: str = ""

    @property
    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(bytes([self.seed] * 32))

    @property
    def witness(self) -> Witness:
        return Witness(self.name, self.key.public_key().public_bytes_raw())

    def answer(self, body: bytes) -> tuple[int, str]:
        self.asked.append(body)
        if self.behave is not None and (answer := self.behave(body)) is not None:
            return answer  # type: ignore[no-any-return]
        head, _, note = body.decode().partition("\n\n")
        first, *proof = head.split("\n")
        old = int(first.removeprefix("old "))
        try:
            checkpoint = open_checkpoint(note, self.log, self.log.name)
        except VerificationError:
            return 403, ""
        if old > checkpoint.size:
            return 400, ""
        if old != self.size or (old == checkpoint.size and self.root != checkpoint.root):
            return 409, f"{self.size}\n"
        hashes = [b64decode(line) for line in proof]
        try:
            if old:
                check_consistency(
                    hashes, old_size=old, old_root=self.root, new_size=checkpoint.size,
                    new_root=checkpoint.root,
                )  # fmt: skip
            elif hashes:
                return 422, ""
        except VerificationError:
            return 422, ""
        self.size, self.root = checkpoint.size, checkpoint.root
        return 200, cosign(checkpoint.text(), self.name, self.key, time=TIME)


def policy_of(*servers: WitnessServer, needed: str = "all") -> TrustPolicy:
    lines = [f"witness W{n} {server.witness} {server.url}" for n, server in enumerate(servers)]
    group = f"group G {needed} {' '.join(f'W{n}' for n in range(len(servers)))}"
    return TrustPolicy.parse("\n".join([*lines, group, "quorum G"]))


DRIP_S = 0.02


@contextmanager
def served(answer: Any, *, drips: bool = False) -> Iterator[str]:
    """A server on a loopback port; `answer` gets path and body, and gives status, type and content.

    Where `drips`, the content comes byte by byte, each within any time that a read may take.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, media_type, content = answer(self.path, body)
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            pieces = [content[at : at + 1] for at in range(len(content))] if drips else [content]
            with suppress(OSError):  # whoever asked has given up
                for piece in pieces:
                    self.wfile.write(piece)
                    over.wait(DRIP_S if drips else 0)

        def log_message(self, *_: object) -> None:
            return

    over = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def witnesses(*servers: WitnessServer) -> Iterator[None]:
    """All of them at work, each under its `url`."""
    if not servers:
        yield
        return
    first, *others = servers

    def answer(path: str, body: bytes) -> tuple[int, str, bytes]:
        if path != "/w/add-checkpoint":
            return 404, "text/plain", b""
        status, content = first.answer(body)
        return status, "text/x.tlog.size" if status == 409 else "text/plain", content.encode()

    with served(answer) as url:
        first.url = f"{url}/w/"
        with witnesses(*others):
            yield


# --- OpenSSL's time-stamping authority -------------------------------------------------------------

CONFIGURATION = """
[ tsa ]
default_tsa = t
[ t ]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@dataclass
class AuthorityServer:
    folder: Path
    url: str = ""

    def prepare(self) -> None:
        """A root of its own, and a certificate for time-stamping under it."""
        (self.folder / "serial").write_text("01\n")
        (self.folder / "tsa.cnf").write_text(CONFIGURATION.format(folder=self.folder))
        (self.folder / "ext.cnf").write_text("extendedKeyUsage=critical,timeStamping\n")
        ca = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=Test root")
        self._openssl(*ca, "-keyout", "ca.key", "-out", "ca.pem")
        request = ("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Test TSA")
        self._openssl(*request, "-keyout", "tsa.key", "-out", "tsa.csr")
        self._openssl(
            "x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "30", "-extfile", "ext.cnf", "-out", "tsa.pem",
        )  # fmt: skip

    @property
    def roots(self) -> Path:
        return self.folder / "ca.pem"

    def reply(self, query: bytes) -> bytes:
        (self.folder / "query.tsq").write_bytes(query)
        self._openssl(
            "ts", "-reply", "-config", "tsa.cnf", "-section", "t", "-queryfile", "query.tsq",
            "-inkey", "tsa.key", "-signer", "tsa.pem", "-out", "reply.tsr",
        )  # fmt: skip
        return (self.folder / "reply.tsr").read_bytes()

    def verifies(self, token: bytes, note: str) -> bool:
        """Whether OpenSSL itself takes the token for a timestamp of the note."""
        (self.folder / "kept.tsr").write_bytes(token)
        (self.folder / "note").write_text(note)
        done = self._openssl(
            "ts", "-verify", "-in", "kept.tsr", "-data", "note", "-CAfile", "ca.pem", check=False
        )
        return done.returncode == 0 and b"Verification: OK" in done.stdout + done.stderr

    def _openssl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, check=check)


@contextmanager
def authority(folder: Path) -> Iterator[AuthorityServer]:
    tsa = AuthorityServer(folder)
    tsa.prepare()
    with served(lambda _, body: (200, "application/timestamp-reply", tsa.reply(body))) as url:
        tsa.url = url
        yield tsa
