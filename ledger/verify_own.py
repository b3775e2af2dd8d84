"""What a log says of itself, for the offline verifier: its opening, keys, ends of chains, erasures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ledger.canonical import parse
from ledger.entry import FORMAT
from ledger.errors import NotJSON, UnusableInput, VerificationError
from ledger.note import Verifier
from ledger.succession import Succession
from ledger.summary import Tail, root_of
from ledger.verified import Remark, Tampered

_OURS = "_ledger"
_ROTATED = "checkpoint_key.rotated"
_RECOVERED = "ledger.recovered"


class OwnWords:
    """`open` with the first event; then `take` each that the ledger says in its own contract."""

    def __init__(self, origin: str) -> None:
        self.keys = Succession(origin)
        self.rotations = 0
        self.warnings: list[Remark] = []

    def open(self, event: bytes) -> None:
        """Entry 0 opens this log, and no other."""
        if not event:
            self.warnings.append(
                Remark(0, "the event is withheld: origin, key and clock of the opening are unknown")
            )
            return
        try:
            opened = parse(event)
            data = opened["data"]
            found = {
                "kind": opened["kind"],
                "contract": opened["contract"],
                "format": data["versions"]["format"],
                "origin": data["origin"],
                "key": data["key"],
            }
            clock = data["clock"]
        except (NotJSON, KeyError, TypeError):
            raise Tampered("the event is not ledger.opened", 0) from None
        must_be = {
            "kind": "ledger.opened",
            "contract": _OURS,
            "format": FORMAT,
        }
        for name, value in must_be.items():
            if type(found[name]) is not type(value) or found[name] != value:
                raise Tampered(f"{name} of the opening is {found[name]!r}, must be {value!r}", 0)
        try:
            key = Verifier.parse(str(found["key"]))
        except UnusableInput as error:
            raise Tampered(f"key of the opening: {error}", 0) from None
        if found["origin"] != key.name:
            raise Tampered(f"origin of the opening is {found['origin']!r}, must be {key.name!r}", 0)
        self.keys.open(key)
        if clock != "system":
            self.warnings.append(
                Remark(0, f"the clock is {str(clock)[:80]!r}, not the system's: a simulation")
            )

    def take(self, index: int, event: bytes, tails: Callable[[], Iterable[Tail]]) -> None:
        """`event` of entry `index`, empty where it is withheld; `tails`: how every chain ends before it."""
        if b'"kind":"contracts.summarised"' in event:
            self._check_summary(index, event, tails())
        self._follow_key(index, event)

    def _check_summary(self, index: int, event: bytes, tails: Iterable[Tail]) -> None:
        """Where the log says how every chain ends, that is how they end here."""
        data = _value_of(event, "data")
        ends = list(tails)
        must_be = {"contracts": len(ends), "root": root_of(ends).hex()}
        for name, value in must_be.items():
            if (found := data.get(name)) != value:
                raise Tampered(
                    f"{name} of the summary is {str(found)[:80]}, and the chains before it make {value}:"
                    " entries of some contract are missing, or too many",
                    index,
                )

    def _follow_key(self, index: int, event: bytes) -> None:
        """Of what the ledger says, the rotations of its key."""
        try:
            said = parse(event or b"null")
            if not isinstance(said, dict) or said["kind"] not in (_ROTATED, _RECOVERED):
                return
            key, note = said["data"]["key"], said["data"]["note"]
            if said["kind"] == _ROTATED:
                self.keys.rotate(note, index=index)
            else:
                self.keys.recover(note, index=index)
        except (NotJSON, KeyError, TypeError, AttributeError):
            raise Tampered("the event is not one of the ledger", index) from None
        except VerificationError as error:
            raise Tampered(str(error), index) from None
        if key != str(self.keys.at(index + 1)):
            raise Tampered("the new key is not the one that was signed for", index)
        if said["kind"] == _RECOVERED:
            _, lost = self.keys.lost[-1]
            self.warnings.append(
                Remark(
                    index,
                    f"the log was recovered here: {lost.origin} had promised {lost.size} entries, and"
                    f" {lost.size - index} of them are lost",
                )
            )
            return
        self.rotations += 1


def erased_in(line: bytes) -> int | None:
    """The entry of which a line of an export says that its bodies are erased."""
    try:
        event = parse(line.split(b"\t")[2])
        index = event["data"]["index"]
        said = (event["kind"], event["actor"]["party"]) == ("value.erased", _OURS)
    except (NotJSON, LookupError, TypeError):
        return None
    return index if said and type(index) is int else None


def _value_of(event: bytes, name: str) -> dict[str, Any]:
    """An object in an event, empty where it is none."""
    try:
        value = parse(event)
    except NotJSON:
        return {}
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
