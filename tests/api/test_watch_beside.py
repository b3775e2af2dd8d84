"""What lies beside the log under the watch: cosigned checkpoint, timestamps, API keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from api import keys
from api.database import Logins
from api.watch import Watch
from ledger.beside import Vouchers
from ledger.checkpoint import Checkpoint, sign
from ledger.cosignature import cosign
from ledger.findings import DEPTHS
from ledger.timestamp import told_time
from ledger.witnessing import Witnessing
from tests.api.test_watch import damage, places, watching
from tests.ledger.live_log import LiveLog, denied, in_loop, live
from tests.ledger.sample_log import ORIGIN, SIGNER
from tests.ledger.witness_server import TIME, AuthorityServer, policy_of
from tests.vouching import Outside, vouching

COSIGNED = "cosigned checkpoint"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    (tmp_path / "tsa").mkdir()
    with vouching(tmp_path / "tsa") as outside:
        yield outside


async def vouched(log: LiveLog, logins: Logins, outside: Outside, times: int = 2) -> None:
    """Checkpoints of 2, 3, ... entries, each of which third parties vouch for."""
    for _ in range(times):
        await log.append(denied())
        await outside.vouch(log, logins.writer)


def change(owner: str, statement: str, *values: object) -> None:
    with psycopg.connect(owner) as connection:
        connection.execute("ALTER TABLE timestamps DISABLE TRIGGER ALL")
        connection.execute(statement, values)
        connection.execute("ALTER TABLE timestamps ENABLE ALWAYS TRIGGER append_only")


async def at_every_depth(watch: Watch) -> list[list[tuple[str, str]]]:
    return [places(await watch.run(depth)) for depth in DEPTHS]


# --- checkpoints that somebody has vouched for ----------------------------------------------------


@in_loop
async def test_what_third_parties_have_said_is_sound_and_may_grow(
    logins: Logins, outside: Outside, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path / "w", vouchers=outside.vouchers)
    async with live(logins) as log:
        assert (await watch.run("all")).result == "intact"  # nobody has said anything yet
        for _ in range(3):
            await vouched(log, logins, outside, 1)
            assert await at_every_depth(watch) == [[], [], []]
    assert len((await watch.remember()).beside) == 1 + 3


@in_loop
async def test_a_tree_that_the_log_itself_signed_for_and_does_not_have_is_found(
    logins: Logins, owner: str, outside: Outside, tmp_path: Path
) -> None:
    """Signed with the log's own key and cosigned by the witnesses: a split view."""
    async with live(logins) as log:
        await vouched(log, logins, outside)
    other = Checkpoint(ORIGIN, 3, b"\7" * 32)
    lines = [cosign(other.text(), one.name, one.key, time=TIME) for one in outside.servers]
    change(owner, "UPDATE witnessed SET note = %s", sign(other, SIGNER) + "".join(lines))
    found = await at_every_depth(watching(logins, tmp_path / "w", vouchers=outside.vouchers))
    assert found == [[("rewritten", f"{COSIGNED}, by their tiles")]] * 3


@in_loop
async def test_a_checkpoint_of_more_entries_than_there_are_shows_what_was_cut(
    logins: Logins, owner: str, outside: Outside, tmp_path: Path
) -> None:
    """As a superuser who restores an old state of the log and forgets what lies beside it."""
    async with live(logins) as log:
        await log.append(denied())
        before = await log.reader.head()
        await vouched(log, logins, outside)
    damage(
        owner,
        f"DELETE FROM entries WHERE index >= 2; DELETE FROM bodies WHERE index >= 2;"
        f"UPDATE head SET size = 2, root = '\\x{before.root.hex()}', frontier = '\\x{before.frontier.hex()}',"
        f" last_leaf = '\\x{before.last_leaf.hex()}', recorded_at = '{before.recorded_at.isoformat()}'",
    )
    run = await watching(logins, tmp_path / "w").run("head")
    assert ("rolled_back", "entries 2 to 3") in places(run)
    assert {finding.index for finding in run.findings} == {2}


@in_loop
async def test_a_cosigned_checkpoint_does_not_give_way_to_an_earlier_one(
    logins: Logins, owner: str, outside: Outside, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path / "w", vouchers=outside.vouchers)
    async with live(logins) as log:
        await vouched(log, logins, outside, 1)
        early = await log.reader.witnessed(ORIGIN)
        await vouched(log, logins, outside, 1)
        assert (await watch.run("all")).result == "intact"
    change(owner, "UPDATE witnessed SET size = 2, note = %s", early)
    assert await at_every_depth(watch) == [[("cosigned_altered", COSIGNED)]] * 3


@in_loop
async def test_fewer_cosignatures_than_the_policy_asks_for_are_found_at_first_sight(
    logins: Logins, owner: str, outside: Outside, tmp_path: Path
) -> None:
    async with live(logins) as log:
        await vouched(log, logins, outside, 1)
        note = await log.reader.witnessed(ORIGIN)
    assert note is not None
    kept = [line for line in note.splitlines(keepends=True) if not line.startswith("— witness.example/w2")]
    change(owner, "UPDATE witnessed SET note = %s", "".join(kept))
    run = await watching(logins, tmp_path / "w", vouchers=outside.vouchers).run("head")
    assert "must have 2 of 2" in run.findings[0].evidence["because"]
    lenient = replace(outside.vouchers, witnesses=policy_of(*outside.servers, needed="any"))
    assert (await watching(logins, tmp_path / "v", vouchers=lenient).run("head")).result == "intact"


@in_loop
async def test_what_was_enough_when_it_was_kept_stays_so_under_a_stricter_policy(
    logins: Logins, outside: Outside, tmp_path: Path
) -> None:
    one, two = outside.servers
    loose = replace(outside.vouchers, witnesses=policy_of(one))
    async with live(logins) as log:
        await log.append(denied())
        witnessing = Witnessing(log.reader, logins.writer, SIGNER, policy_of(one))
        assert await witnessing.ask() is not None
        await witnessing.close()
    assert (await watching(logins, tmp_path / "w", vouchers=loose).run("all")).result == "intact"
    strict = replace(outside.vouchers, witnesses=policy_of(one, two))
    assert (await watching(logins, tmp_path / "w", vouchers=strict).run("all")).result == "intact"
    assert (await watching(logins, tmp_path / "v", vouchers=strict).run("all")).result == "damaged"


# --- timestamps -----------------------------------------------------------------------------------


@in_loop
async def test_a_timestamp_by_an_authority_that_nobody_trusts_is_found(
    logins: Logins, owner: str, outside: Outside, tmp_path: Path
) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = AuthorityServer(tmp_path / "stranger")
    stranger.prepare()
    async with live(logins) as log:
        await vouched(log, logins, outside)
        first, second = await log.reader.timestamps()
    request = TimestampRequestBuilder().data(second.note.encode()).hash_algorithm(HashAlgorithm.SHA256)
    token = stranger.reply(request.build().as_bytes())
    change(
        owner, "UPDATE timestamps SET token = %s, stamped_at = %s WHERE size = %s",
        token, told_time(token, second.note), second.size,
    )  # fmt: skip
    where = f"timestamp of size {second.size} by {outside.tsa.url}"
    for depth in DEPTHS:
        watch = watching(logins, tmp_path / depth, vouchers=outside.vouchers)
        assert places(await watch.run(depth)) == [("timestamp_altered", where)]
    assert first.size == 2


@in_loop
async def test_a_timestamp_that_is_gone_is_missed_until_it_is_explained(
    logins: Logins, owner: str, outside: Outside, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path / "w", vouchers=outside.vouchers)
    async with live(logins) as log:
        await vouched(log, logins, outside)
        assert (await watch.run("head")).result == "intact"
    change(owner, "DELETE FROM timestamps WHERE size = 2")
    where = f"timestamp of size 2 by {outside.tsa.url}"
    assert await at_every_depth(watch) == [[("timestamp_missing", where)]] * 3
    await watch.explain("the disk lost a page")
    assert await at_every_depth(watch) == [[], [], []]


@in_loop
async def test_a_timestamp_that_was_seen_is_read_again_by_a_look_at_everything(
    logins: Logins, owner: str, outside: Outside, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path / "w", vouchers=Vouchers())
    async with live(logins) as log:
        await vouched(log, logins, outside)
        await watch.run("all")
    # Of the token only its last byte, which is of the signature: nothing but memory tells without roots.
    change(
        owner,
        "UPDATE timestamps SET token = set_byte(token, octet_length(token) - 1,"
        " get_byte(token, octet_length(token) - 1) # 1) WHERE size = 3",
    )
    run = await watch.run("all")
    assert places(run) == [("timestamp_altered", f"timestamp of size 3 by {outside.tsa.url}")]


# --- API keys -------------------------------------------------------------------------------------


@in_loop
async def test_keys_are_made_and_revoked_and_nothing_else_becomes_of_them(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path)
    first = keys.create(owner, "auditor").id
    async with live(logins) as log:
        await log.append(denied())
    assert (await watch.run("all")).new_keys == ()  # which were there before is nothing to tell
    second = keys.create(owner, "operator").id
    run = await watch.run("head")
    assert (run.result, run.new_keys) == ("intact", (second,))
    keys.revoke(owner, first)
    assert ((await watch.run("head")).result, (await watch.run("head")).new_keys) == ("intact", ())
    for statement in (
        f"UPDATE api_keys SET revoked_at = NULL WHERE id = '{first}'",
        f"UPDATE api_keys SET revoked_at = now() + interval '1 day' WHERE id = '{first}'",
    ):
        change(owner, statement)
        assert await at_every_depth(watch) == [[("key_altered", f"API key {first}")]] * 3
    await watch.explain("a test")
    assert (await watch.run("head")).result == "intact"
    change(owner, f"UPDATE api_keys SET role = 'operator' WHERE id = '{first}'")
    change(owner, f"DELETE FROM api_keys WHERE id = '{second}'")
    found = sorted([("key_altered", f"API key {first}"), ("key_missing", f"API key {second}")])
    assert sorted(places(await watch.run("head"))) == found


@in_loop
async def test_how_the_database_spells_times_makes_no_other_key(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path)
    keys.create(owner, "auditor")
    async with live(logins) as log:
        await log.append(denied())
    await watch.run("all")
    for setting in ("datestyle = 'German, DMY'", "timezone = 'Asia/Shanghai'"):
        change(owner, f"ALTER DATABASE {conninfo_to_dict(owner)['dbname']} SET {setting}")
    assert await at_every_depth(watch) == [[]] * 3


@in_loop
async def test_what_is_kept_of_a_key_is_no_secret(logins: Logins, owner: str, tmp_path: Path) -> None:
    token = keys.create(owner, "operator").token
    async with live(logins) as log:
        await log.append(denied())
    watch = watching(logins, tmp_path)
    await watch.run("all")
    kept, secret = str(await watch.remember()), token.split("_", 2)[2]
    assert f"API key {token.split('_')[1]}" in kept
    assert secret not in kept
    assert keys.digest(secret).hex() not in kept
