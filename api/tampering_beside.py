"""Mutations of what lies beside the log (`ledger.beside`): cosigned checkpoints, timestamps, API keys."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.tampering import Log, Mutation, Place
from ledger.beside import COSIGNED, Cosigned, Stamped, where_stamped
from ledger.checkpoint import Checkpoint, sign
from ledger.note import Signature, Signer, parse_note

MUTATIONS: dict[str, Mutation] = {}


def mutation(act: Mutation) -> Mutation:
    MUTATIONS[act.__name__] = act
    return act


def possible(name: str, log: Log) -> bool:
    """Not every log has witnesses, timestamps and keys."""
    beside = log.beside
    assert beside is not None
    cosigned, stamps = beside.cosigned, beside.stamps
    needs = {
        "move_a_cosignature": cosigned is not None and any(s.size < cosigned.size for s in stamps),
        "swap_two_timestamps": len(stamps) > 1,
        "revive_an_api_key": bool(log.beside.revoked),
    }
    whole = {"cosign": cosigned is not None, "timestamp": bool(stamps), "api_key": bool(log.beside.keys)}
    return needs.get(name, True) and all(there for word, there in whole.items() if word in name)


# --- the cosigned checkpoint ----------------------------------------------------------------------


@mutation
async def edit_a_cosignature(log: Log) -> Place:
    note, line = _cosignature(log)
    changed = line._replace(signature=log.flipped(line.signature))
    return await _put_note(log, note.replace(str(line), str(changed)))


@mutation
async def strip_a_cosignature(log: Log) -> Place:
    note, line = _cosignature(log)
    return await _put_note(log, note.replace(str(line), ""))


@mutation
async def move_a_cosignature(log: Log) -> Place:
    """To another checkpoint of the log, which is signed as it should be."""
    _, line = _cosignature(log)
    cosigned, stamps = _cosigned(log), _stamps(log)
    to = log.random.choice([one for one in stamps if one.size < cosigned.size])
    return await _put_note(log, to.note + str(line), size=to.size)


@mutation
async def cosign_another_tree(log: Log) -> Place:
    """Signed in the log's name with a key that is not its own, and cosigned as before."""
    _, line = _cosignature(log)
    cosigned = _cosigned(log)
    origin = cosigned.note.partition("\n")[0]
    other = Checkpoint(origin, cosigned.size, log.random.randbytes(32))
    return await _put_note(log, sign(other, Signer(origin, Ed25519PrivateKey.generate())) + str(line))


@mutation
async def delete_the_cosigned_checkpoint(log: Log) -> Place:
    await log.run("DELETE FROM witnessed")
    return Place(COSIGNED, where=COSIGNED)


def _cosigned(log: Log) -> Cosigned:
    assert log.beside.cosigned is not None
    return log.beside.cosigned


def _cosignature(log: Log) -> tuple[str, Signature]:
    """The note, and one of its lines that is a witness's."""
    note = _cosigned(log).note
    text, lines = parse_note(note)
    return note, log.random.choice([line for line in lines if line.name != text.partition("\n")[0]])


async def _put_note(log: Log, note: str, *, size: int | None = None) -> Place:
    await log.run("UPDATE witnessed SET note = %s, size = coalesce(%s, size)", note, size)
    return Place(COSIGNED, where=COSIGNED)


# --- timestamps -----------------------------------------------------------------------------------


@mutation
async def edit_a_timestamp(log: Log) -> Place:
    one = log.random.choice(_stamps(log))
    column = log.random.choice(("token", "note", "stamped_at"))
    if column == "token":
        return await _put_stamp(log, one, "token = %s", log.flipped(one.token))
    if column == "note":
        at = log.random.randrange(len(one.note))
        changed = one.note[:at] + ("A" if one.note[at] != "A" else "B") + one.note[at + 1 :]
        return await _put_stamp(log, one, "note = %s", changed)
    return await _put_stamp(log, one, "stamped_at = stamped_at - interval '1 day'")


@mutation
async def swap_two_timestamps(log: Log) -> Place:
    one, other = log.random.sample(_stamps(log), 2)
    await _put_stamp(log, other, "token = %s", one.token)
    return await _put_stamp(log, one, "token = %s", other.token)


@mutation
async def move_a_timestamp(log: Log) -> Place:
    """To a checkpoint of another size."""
    one, size = _not_stamped(log)
    return await _put_stamp(log, one, "size = %s", size)


@mutation
async def delete_a_timestamp(log: Log) -> Place:
    one = log.random.choice(_stamps(log))
    await log.run("DELETE FROM timestamps WHERE authority = %s AND size = %s", one.authority, one.size)
    return Place(one.where, where=one.where)


@mutation
async def invent_a_timestamp(log: Log) -> Place:
    """Of another size, with the token of a checkpoint that has one."""
    one, size = _not_stamped(log)
    await log.run(
        "INSERT INTO timestamps SELECT authority, %s, note, token, stamped_at FROM timestamps"
        " WHERE authority = %s AND size = %s",
        size, one.authority, one.size,
    )  # fmt: skip
    where = where_stamped(one.authority, size)
    return Place(where, where=where)


def _not_stamped(log: Log) -> tuple[Stamped, int]:
    """A timestamp, and a size that has none."""
    taken = {stamp.size for stamp in _stamps(log)}
    sizes = [size for size in range(1, log.size + 1) if size not in taken]
    return log.random.choice(_stamps(log)), log.random.choice(sizes)


def _stamps(log: Log) -> Sequence[Stamped]:
    return log.beside.stamps


async def _put_stamp(log: Log, one: Stamped, change: str, *values: object) -> Place:
    await log.run(
        f"UPDATE timestamps SET {change} WHERE authority = %s AND size = %s", *values, one.authority, one.size
    )
    return Place(one.where, where=one.where)


# --- API keys -------------------------------------------------------------------------------------


@mutation
async def edit_an_api_key(log: Log) -> Place:
    id_ = log.random.choice(log.beside.keys)
    change = log.random.choice(
        (
            "secret_sha256 = sha256(secret_sha256)",
            "role = CASE role WHEN 'operator' THEN 'auditor' ELSE 'operator' END",
            "party = coalesce(party, '') || 'x'",
            "expires_at = coalesce(expires_at, now()) + interval '1 year'",
            "denials_per_hour = coalesce(denials_per_hour, 0) + 1",
            "withholds = withholds || '{event:invoice.issued}'",
        )
    )
    await log.run(f"UPDATE api_keys SET {change} WHERE id = %s", id_)
    return Place(f"API key {id_}", where=f"API key {id_}")


@mutation
async def revive_an_api_key(log: Log) -> Place:
    id_ = log.random.choice(log.beside.revoked)
    await log.run("UPDATE api_keys SET revoked_at = NULL WHERE id = %s", id_)
    return Place(f"API key {id_}", where=f"API key {id_}")


@mutation
async def delete_an_api_key(log: Log) -> Place:
    id_ = log.random.choice(log.beside.keys)
    await log.run("DELETE FROM api_keys WHERE id = %s", id_)
    return Place(f"API key {id_}", where=f"API key {id_}")
