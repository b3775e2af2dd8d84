"""A timestamp of a checkpoint (RFC 3161): what it speaks of, and whether a trusted authority says so."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography.x509 import Certificate
from rfc3161_client import PKIStatus, TimeStampResponse, VerifierBuilder, decode_timestamp_response
from rfc3161_client import VerificationError as Unverified

from ledger.errors import VerificationError

_HASHES: Final = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
"""What may stand for the note in its imprint, by object identifier."""


def decoded(token: bytes) -> TimeStampResponse:
    """The DER of a TimeStampResp that grants a timestamp. Raises VerificationError."""
    try:
        response = decode_timestamp_response(token)
    except ValueError as error:
        raise VerificationError(f"the timestamp is no RFC 3161 response: {error}") from None
    if response.status != PKIStatus.GRANTED:
        raise VerificationError(f"the authority did not grant the timestamp: status {response.status}")
    return response


def told_time(token: bytes, note: str) -> datetime:
    """When the token says that a signed checkpoint existed, UTC; whose word that is is not looked at.

    Raises VerificationError unless its imprint is of the note, byte for byte.
    """
    try:
        told = decoded(token).tst_info
        imprint, at = told.message_imprint, told.gen_time.astimezone(UTC)
        name = _HASHES.get(imprint.hash_algorithm.dotted_string)
    except ValueError as error:
        raise VerificationError(f"the timestamp cannot be read: {error}") from None
    if name is None or hashlib.new(name, note.encode()).digest() != imprint.message:
        raise VerificationError("the timestamp is of something else than this checkpoint")
    return at


def check_timestamp(token: bytes, note: str, roots: Sequence[Certificate]) -> datetime:
    """When the authority says that a signed checkpoint existed, UTC.

    Raises VerificationError unless the token's imprint is of the note, byte for byte, and its signature
    leads to one of `roots`.
    """
    response = decoded(token)
    builder = VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(root)
    try:
        builder.build().verify_message(response, note.encode())
        return response.tst_info.gen_time.astimezone(UTC)
    except (Unverified, ValueError) as error:
        raise VerificationError(f"the timestamp does not hold: {error}") from None
