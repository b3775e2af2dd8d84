"""Who has signed what: the signatures of a log, checked against the keys that the log itself registers.

For the offline verifier. It follows four kinds of event: `contract.opened` and `contract.amended` say of
what a contract demands signatures, `key.registered` and `key.retired` whose a key is. A key registered by
entry i and retired by entry j signs the entries i + 1 to j.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ledger import dsse
from ledger.canonical import parse
from ledger.dsse import Envelope, PublicKey
from ledger.errors import NotJSON, VerificationError

DEMANDED_BY_DEFAULT: Final = ("license.*", "shipment.*")
"""Of a contract that does not say otherwise: who licensed and who shipped must stand beyond the operator."""

_OURS: Final = "_ledger"


def demanded(patterns: Iterable[str], kind: str) -> bool:
    """Whether a contract that demands signatures of `patterns` (`license.*`, `order.placed`) asks it."""
    return any(kind == one or (one[-1] == "*" and kind.startswith(one[:-1])) for one in patterns)


@dataclass(slots=True)
class _Key:
    public_key: PublicKey
    retired: int | None = None


class Signatories:
    """`take` each entry that may matter, in order: one with signatures, or of a kind that is followed."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str, str], _Key] = {}
        """By contract, party and fingerprint."""
        self._in_use: dict[tuple[str, str], int] = {}
        """How many keys of a party are not retired."""
        self._demands: dict[str, tuple[str, ...]] = {}
        self._doubtful: set[str] = set()
        """Contracts of which something is withheld: it may have been a key."""
        self._signed_with: set[str] = set()
        self.checked = 0
        """Signatures that hold."""
        self.unchecked = 0
        """Signatures that nobody can check here: something is withheld, or a refused event's key unknown."""

    @property
    def keys(self) -> int:
        """How many keys the checked signatures are of."""
        return len(self._signed_with)

    def demands(self, contract: str) -> bool:
        """Whether some kind of event must be signed: then every entry of the contract is to be taken."""
        return contract in self._demands

    def take(
        self, index: int, contract: str, event: bytes, decision: bytes, signatures: bytes | None
    ) -> None:
        """Check the entry, and learn from it. `signatures`: None where there are none; b"": withheld.

        Raises VerificationError.
        """
        if not event or not decision:
            self._doubtful.add(contract)
            self.unchecked += signatures is not None
            return
        said, denied = _object(event), _object(decision).get("outcome") == "denied"
        kind, party = _text(said, "kind"), _text(_member(said, "actor"), "party")
        if signatures:
            self._check(index, contract, party, Envelope.committed(event, signatures), denied)
        elif signatures is not None:
            self.unchecked += 1
        elif not denied and party != _OURS and demanded(self._demands.get(contract, ()), kind):
            raise VerificationError(f"{kind} is not signed, and its contract demands that it is")
        if denied:
            return
        if kind in ("contract.opened", "contract.amended"):
            self._learn_demands(contract, said)
        elif kind in ("key.registered", "key.retired"):
            self._learn_key(index, (contract, party), said, signed=signatures is not None)

    def _check(self, index: int, contract: str, party: str, envelope: Envelope, denied: bool) -> None:
        message = dsse.pae(envelope.payload)
        for signature in envelope.signatures:
            key = self._keys.get((contract, party, signature.keyid))
            name = f"the signature by {party or 'nobody'} with key {signature.keyid}"
            if key is None:
                if denied or contract in self._doubtful:
                    self.unchecked += 1
                    continue
                raise VerificationError(f"{name}: the party had registered no such key in this contract")
            if not denied and key.retired is not None and key.retired < index:
                raise VerificationError(f"{name}: the key was retired by entry {key.retired}")
            if not dsse.check(key.public_key, message, signature.raw):
                raise VerificationError(f"{name} does not hold over the event")
            self.checked += 1
            self._signed_with.add(signature.keyid)

    def _learn_demands(self, contract: str, said: dict[str, Any]) -> None:
        data, before = _member(said, "data"), self._demands.get(contract, ())
        default: Any = ()
        if said["kind"] == "contract.opened" and said.get("version") != 1:
            default = DEMANDED_BY_DEFAULT
        named = data.get("signed", default)
        if not isinstance(named, list | tuple) or not all(isinstance(one, str) and one for one in named):
            raise VerificationError("signed is no list of kinds of event")
        if after := tuple(dict.fromkeys((*before, *named))):
            self._demands[contract] = after

    def _learn_key(self, index: int, who: tuple[str, str], said: dict[str, Any], *, signed: bool) -> None:
        (contract, party), data = who, _member(said, "data")
        in_use, sure = self._in_use.get(who, 0), contract not in self._doubtful
        if in_use and not signed and sure:
            raise VerificationError(f"{said['kind']} is not signed, though {party} has a key in use")
        if said["kind"] == "key.registered":
            spelled = _text(data, "public_key")
            try:
                key = dsse.public_key_of(spelled, _text(data, "algorithm"))
            except ValueError as error:
                raise VerificationError(str(error)) from None
            self._keys.setdefault((*who, dsse.fingerprint_of(spelled)), _Key(key))
            self._in_use[who] = in_use + 1
            return
        known = self._keys.get((*who, _text(data, "fingerprint")))
        if known is None and sure:
            raise VerificationError(f"{party} retires a key that it had not registered in this contract")
        if known is not None and known.retired is None:
            known.retired = index
            self._in_use[who] = in_use - 1


def _object(raw: bytes) -> dict[str, Any]:
    """{} for what is none: whatever needs it then is not there."""
    try:
        value = parse(raw)
    except NotJSON:
        return {}
    return value if isinstance(value, dict) else {}


def _member(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""
