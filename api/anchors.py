"""From the settings to whoever vouches for the log from outside: witnesses, and a time-stamping authority."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography.x509 import Certificate, load_pem_x509_certificates

from api.settings import Settings
from ledger.beside import Vouchers
from ledger.cosignature import TrustPolicy
from ledger.errors import UnusableInput
from ledger.note import Signer
from ledger.reader import Reader
from ledger.timestamping import Authority, Timestamping
from ledger.witnessing import Witnessing


def witnessing_of(settings: Settings, reader: Reader, writer_url: str, signer: Signer) -> Witnessing | None:
    """Raises UnusableInput for a policy that is none."""
    if settings.witness_policy is None:
        return None
    return Witnessing(reader, writer_url, signer, read_policy(settings.witness_policy))


def read_policy(path: Path) -> TrustPolicy:
    try:
        return TrustPolicy.parse(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise UnusableInput(f"the witness policy {path} cannot be read: {error.strerror}") from None


def timestamping_of(
    settings: Settings, reader: Reader, writer_url: str, signer: Signer
) -> Timestamping | None:
    """Raises UnusableInput, for roots that are none."""
    if settings.timestamp_url is None:
        return None
    if settings.timestamp_roots is None:
        raise UnusableInput(
            "CHIPLEDGER_TIMESTAMP_URL needs CHIPLEDGER_TIMESTAMP_ROOTS: whom does it lead to?"
        )
    authority = Authority(settings.timestamp_url, read_roots(settings.timestamp_roots))
    every = timedelta(hours=settings.timestamp_hours)
    return Timestamping(reader, writer_url, signer, authority, every=every)


def vouchers_of(witness_policy: Path | None, timestamp_roots: Path | None) -> Vouchers:
    """Whose word counts, for whoever looks at what is kept. Raises UnusableInput."""
    return Vouchers(
        read_policy(witness_policy) if witness_policy is not None else None,
        tuple(read_roots(timestamp_roots)) if timestamp_roots is not None else (),
    )


def read_roots(path: Path) -> list[Certificate]:
    try:
        return load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UnusableInput(f"the certificates in {path} cannot be read: {error}") from None
