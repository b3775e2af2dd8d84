"""The static log over HTTP, the receipts in both forms, and `chipledger tiles`: as others see them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx2 as httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.mirror import keep_in_step
from ledger import merkle
from ledger.canonical import canonical
from ledger.checkpoint import open_checkpoint
from ledger.errors import NotFound, Unavailable, VerificationError
from ledger.folder import Folder
from ledger.note import Verifier
from ledger.reader import Reader
from ledger.receipt import Receipt, TlogProof
from ledger.tiles import ENTRIES, Coordinates, bundle, split_bundle
from tests.api.contract import LiveContract
from tests.api.test_cli import run
from tests.ledger.sample_log import CONTRACTS, SIGNER, SampleLog
from tests.ledger.test_folder import Served
from tests.ledger.tile_client import TileClient
from tests.service import Service
from tests.workbench import BUYER, EXPORTER, wire

BATCH = 600
"""Denied events: cheap, and entries all the same."""
FOR_EVER = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def live(service: Service) -> LiveContract:
    """A contract with a shipment, then two tiles full and a third one begun."""
    contract = LiveContract(service).open()
    contract.released(contract.serials(3))
    denied = [wire("levy.settled", contract=str(uuid.uuid4())) for _ in range(BATCH)]
    with service.client("submitter", EXPORTER) as client:
        assert client.post("/v1/events:batch", json=denied).status_code == 200
    return contract


@pytest.fixture(scope="module")
def web(service: Service, live: LiveContract) -> Iterator[httpx.Client]:
    """Anybody: there is no key."""
    with httpx.Client(base_url=f"{service.url}/log/", timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def verifier(service: Service, live: LiveContract) -> Verifier:
    with service.client("auditor") as client:
        return Verifier.parse(client.get("/v1/entries/0").json()["event"]["value"]["data"]["key"])


@pytest.fixture(scope="module")
def leaves(service: Service, live: LiveContract) -> list[bytes]:
    found: list[bytes] = []
    with service.client("auditor") as client:
        while len(page := client.get(f"/v1/entries?limit=1000&after={len(found) - 1}").json()["entries"]):
            found += [bytes.fromhex(entry["leaf_hash"]) for entry in page]
    return found


def got(web: httpx.Client, path: str) -> bytes:
    answer = web.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.content


# --- over HTTP ------------------------------------------------------------------------------------


def test_a_client_that_knows_the_specification_alone_checks_the_whole_log(
    web: httpx.Client, leaves: list[bytes], verifier: Verifier
) -> None:
    client = TileClient(lambda path: got(web, path))
    assert open_checkpoint(web.get("checkpoint").content, verifier, verifier.name).root == client.root
    assert client.size == len(leaves) > 512
    assert client.mth(0, client.size) == client.root
    assert [sha256(b"\0" + header).digest() for header in client.entries()] == leaves


def test_its_proofs_are_ours(service: Service, web: httpx.Client, leaves: list[bytes]) -> None:
    client = TileClient(lambda path: got(web, path))
    with service.client("auditor") as auditor:

        @settings(max_examples=60, deadline=None)
        @given(st.data())
        def agree(data: st.DataObject) -> None:
            size = data.draw(st.integers(1, len(leaves)))
            index = data.draw(st.integers(0, size - 1))
            ours = auditor.get(f"/v1/proofs/inclusion?index={index}&tree_size={size}").json()
            proof = client.inclusion(index, size)
            assert TlogProof(index, size, proof, "").encode().split("\n")[2:-1] == [*ours["hashes"], ""]
            merkle.check_inclusion(
                proof, leaf_hash=leaves[index], index=index, tree_size=size, root=client.mth(0, size)
            )
            ours = auditor.get(f"/v1/proofs/consistency?old_size={index + 1}&new_size={size}").json()
            proof = client.consistency(index + 1, size)
            assert TlogProof(0, size, proof, "").encode().split("\n")[2:-1] == [*ours["hashes"], ""]

        agree()


def test_every_width_that_a_tile_has_had_is_served_and_begins_like_the_whole(
    web: httpx.Client, leaves: list[bytes]
) -> None:
    full, entries = got(web, "tile/0/000"), split_bundle(got(web, "tile/entries/000"), 256)
    assert full == b"".join(leaves[:256])
    for width in range(1, 256):
        assert got(web, f"tile/0/000.p/{width}") == full[: 32 * width]
        assert got(web, f"tile/entries/000.p/{width}") == bundle(entries[:width])
    n, now = divmod(len(leaves), 256)
    assert got(web, f"tile/0/{n:03}.p/{now}") == b"".join(leaves[n * 256 :])
    assert got(web, f"tile/1/000.p/{n}") == b"".join(merkle.root(leaves[at * 256 :][:256]) for at in range(n))
    assert got(web, "tile/1/000.p/1") == merkle.root(leaves[:256])


ABSENT = [
    "tile/0/001.p/256", "tile/0/1", "tile/0/01", "tile/0/0001", "tile/0/x000/000", "tile/00/000",
    "tile/0/000/",
    "tile/0/000.p/01", "tile/0/000.p/0", "tile/0/000.p/", "tile/0", "tile/", "tile/64/000", "tile/-1/000",
    "tile/0/x001/x234/067", "tile/entries/003", "tile/1/000", "tile/2/000.p/1", "tile/63/000.p/1",
    "tile/0/x999/x999/x999/x999/x999/999", "tile/entries/x999/x999/x999/x999/x999/999.p/255",
    "tile/0/%30%30%30",
    "tile/0/000%2ep/5", "tile/0%2F000", "tile/0//000", "tile/0/000%00", "tile/entries/%D9%A0%D9%A0%D9%A0",
    "tile/0/%C3%28", "tile/issuer/000",
]  # fmt: skip


@pytest.mark.parametrize("path", ABSENT)
def test_what_is_no_tile_or_none_yet_is_a_404_that_no_cache_keeps(web: httpx.Client, path: str) -> None:
    answer = httpx.get(httpx.URL(f"{web.base_url}{path}"))
    assert answer.request.url.raw_path.decode() == f"/log/{path}"
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"
    assert answer.headers["cache-control"] == "no-store"


def test_a_tile_wider_than_the_tree_is_not_there_yet(web: httpx.Client, leaves: list[bytes]) -> None:
    n, now = divmod(len(leaves), 256)
    for level in ("0", "entries"):
        assert web.get(f"tile/{level}/{n:03}.p/{now}").status_code == 200
        for name in (f"{n:03}.p/{now + 1}", f"{n:03}.p/255", f"{n:03}", f"{n + 1:03}.p/1"):
            answer = web.get(f"tile/{level}/{name}")
            assert answer.status_code == 404
            assert answer.json()["detail"] == f"the log has no tile/{level}/{name} yet"


@pytest.mark.parametrize("level", [ENTRIES, 0, 1, 7])
def test_a_tile_that_no_log_can_have_is_not_looked_for(level: int) -> None:
    # An index beyond 63 bits would have the database compare by scanning the whole log.
    with pytest.raises(NotFound, match="the log has no tile/"):
        asyncio.run(Reader("postgresql://nowhere").tile(Coordinates(level, 10**17, 256)))


def test_tiles_are_for_ever_and_the_checkpoint_is_for_now(web: httpx.Client) -> None:
    for path in (
        "tile/0/000",
        "tile/0/001.p/9",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/001.p/9",
    ):
        answer = web.get(path)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["cache-control"] == FOR_EVER
        again = web.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["cache-control"] == FOR_EVER
        assert web.get(path, headers={"if-none-match": '"other"'}).status_code == 200
    answer = web.get("checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.content == httpx.get(str(web.base_url).replace("/log/", "/checkpoint")).content


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"), ("br;q=1, GZIP;q=0.1", "gzip"), ("gzip;q=0", None),
        ("gzip;q=0.000, identity", None),
        ("identity", None), ("", None), ("br", None), ("gzipped", None), ("*;q=0", None),
    ],
)  # fmt: skip
def test_bundles_are_compressed_for_those_who_take_it(
    web: httpx.Client, accepted: str, encoding: str | None
) -> None:
    answer = web.get("tile/entries/000", headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "accept-encoding"
    assert len(split_bundle(answer.content, 256)) == 256
    other = web.get("tile/entries/000", headers={"accept-encoding": "identity" if encoding else "gzip"})
    assert other.content == answer.content
    assert other.headers["etag"] != answer.headers["etag"]
    assert int(min(answer.headers["content-length"], other.headers["content-length"], key=int)) < 90_000
    assert "content-encoding" not in web.get("tile/0/000", headers={"accept-encoding": accepted}).headers


def test_nothing_of_a_body_or_a_salt_is_in_the_static_log(
    service: Service, live: LiveContract, web: httpx.Client
) -> None:
    client = TileClient(lambda path: got(web, path))
    client.mth(0, client.size)
    everything = b"".join([got(web, "checkpoint"), *client.entries(), *client._tiles.values()])
    secrets = {*live.serials(3), live.license, EXPORTER, BUYER, "PO-1", "SH-1", "accepted", "levy.settled"}
    with service.client("auditor") as auditor:
        entries = auditor.get("/v1/entries?limit=1000").json()["entries"]
    for entry in entries:
        secrets |= {entry["kind"], entry["party"], entry["event"]["value"]["id"]}
        secrets |= {entry[name]["salt"] for name in ("event", "decision")}
        assert canonical(entry["event"]["value"]) not in everything
    secrets.remove("_ledger")  # as the name of the ledger's own contract it stands in headers
    for secret in secrets:
        assert secret.encode() not in everything, secret


# --- receipts -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def auditor(service: Service, live: LiveContract) -> Iterator[httpx.Client]:
    with service.client("auditor") as client:
        yield client


TEXT, JSON = "text/plain; charset=utf-8", "application/json"


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("", None, JSON), ("", "*/*", JSON), ("", "application/json", JSON), ("", "text/plain", TEXT),
        ("", "text/*, application/json;q=0.9", TEXT), ("", "text/plain;q=0.5, application/json", JSON),
        ("", "image/png", JSON), ("?format=tlog-proof", None, TEXT), ("?format=json", "text/plain", JSON),
        ("?format=tlog-proof", "application/json", TEXT), ("", "text/plain;q=x,,;", TEXT),
    ],
)  # fmt: skip
def test_the_form_of_a_receipt_is_asked_for(
    auditor: httpx.Client, query: str, accept: str | None, media_type: str
) -> None:
    headers = {} if accept is None else {"accept": accept}
    answer = auditor.get(f"/v1/entries/3/receipt{query}", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "accept, authorization"
    assert answer.headers["cache-control"] == "no-store"


def test_both_forms_hold_and_say_the_same(
    auditor: httpx.Client, leaves: list[bytes], verifier: Verifier
) -> None:
    for index in (0, 3, 255, 256, len(leaves) - 1):
        receipt = Receipt.parse(auditor.get(f"/v1/entries/{index}/receipt").content)
        text = auditor.get(f"/v1/entries/{index}/receipt?format=tlog-proof").content
        event = canonical(auditor.get(f"/v1/entries/{index}").json()["event"]["value"])
        receipt.check(verifier, event=event)
        assert receipt.tlog_proof().encode() == text
        assert TlogProof.parse(text).check(verifier, leaf=leaves[index]).size == len(leaves)


def test_a_receipt_is_for_whoever_may_read_the_entry(service: Service, live: LiveContract) -> None:
    with service.client("submitter", BUYER) as buyer, service.client("submitter", "stranger") as stranger:
        with service.client("auditor") as auditor:
            index = auditor.get(f"/v1/entries?contract={live.contract}").json()["entries"][0]["index"]
        for query in ("", "?format=tlog-proof"):
            path = f"/v1/entries/{index}/receipt{query}"
            assert buyer.get(path).status_code == 200
            refused = stranger.get(path)
            assert refused.status_code == 404
            assert refused.json()["detail"] == f"there is no entry {index}"
            assert httpx.get(service.url + path).status_code == 401
        assert buyer.get("/v1/entries/99999999/receipt").status_code == 404
        assert buyer.get("/v1/entries/3/receipt?format=cbor").status_code == 422


# --- the commands ---------------------------------------------------------------------------------


def test_the_folder_of_a_database_is_what_is_served_and_verifies(
    service: Service, web: httpx.Client, verifier: Verifier, leaves: list[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "static"
    told = run("tiles", folder, url=service.owner, home=service.settings.home)
    assert (told.status, told.out) == (0, "")
    assert f"{len(leaves)} entries in {folder}" in told.err
    paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    assert len(paths) == 1 + 3 + 3 + 1
    for path in paths:
        assert (folder / path).read_bytes() == got(web, path)
    receipts: list[object] = []
    for form in ("json", "tlog-proof"):
        made = run("receipt", 5, "--format", form, url=service.owner, home=service.settings.home)
        assert (made.status, made.err) == (0, "")
        (tmp_path / form).write_text(made.out)
        receipts += ["--receipt", tmp_path / form]
    told = run("verify", folder, "--key", verifier, *receipts)
    assert told.status == 0, told.err
    assert told.out.startswith(f"OK {len(leaves)} entries of ")
    assert "honours 2 receipts" in told.out
    assert "tiles hold no bodies" in told.out
    assert "withheld" not in told.out
    export = service.export(tmp_path / "log.export")
    assert run("verify", export, "--key", verifier, *receipts).status == 0


def test_a_mirror_needs_the_prefix_and_the_key_alone_and_another_can_mirror_it(
    service: Service, web: httpx.Client, verifier: Verifier, leaves: list[bytes], tmp_path: Path
) -> None:
    told = run("tiles", tmp_path / "a", "--url", web.base_url, "--key", verifier)
    assert told.status == 0, told.err
    assert run("verify", tmp_path / "a", "--key", verifier).status == 0
    with serving(tmp_path / "a") as url:
        told = run("tiles", tmp_path / "b", "--url", url, "--key", verifier)
    assert told.status == 0, told.err
    first, second = (
        {
            path.relative_to(tmp_path / side): path.read_bytes()
            for path in (tmp_path / side).rglob("*")
            if path.is_file()
        }
        for side in ("a", "b")
    )
    assert first == second


def test_a_mirror_of_what_is_not_signed_so_is_refused(
    service: Service, web: httpx.Client, verifier: Verifier, tmp_path: Path
) -> None:
    other = Verifier(verifier.name, bytes([1]) * 32)
    told = run("tiles", tmp_path / "a", "--url", web.base_url, "--key", other)
    assert (told.status, told.out) == (1, "")
    assert "REFUSED no known key signed the note" in told.err
    assert list((tmp_path / "a").iterdir()) == []


def test_words_for_what_is_missing(web: httpx.Client, verifier: Verifier, tmp_path: Path) -> None:
    for words, options in (
        ("--url and --key go together", ["--url", web.base_url]),
        ("--url and --key go together", ["--key", verifier]),
        ("cannot be read", ["--url", "http://127.0.0.1:1/log", "--key", verifier]),
        ("answers 401", ["--url", str(web.base_url).replace("/log/", "/v1/entries"), "--key", verifier]),
        ("is not there", ["--url", f"{web.base_url}nothing", "--key", verifier]),
        ("is no verifier key", ["--url", web.base_url, "--key", "key"]),
    ):
        told = run("tiles", tmp_path / "none", *options)
        assert (told.status, told.out) == (2, ""), told.told
        assert words in told.err.replace("\n", " ")
    (tmp_path / "empty").mkdir()
    assert run("verify", tmp_path / "empty", "--key", verifier).status == 2
    assert "give --key" in run("verify", tmp_path / "empty").err


def test_a_folder_that_follows_grows_with_the_log(
    service: Service, live: LiveContract, web: httpx.Client, verifier: Verifier, tmp_path: Path
) -> None:
    folder = tmp_path / "followed"
    command = [
        sys.executable, "-m", "api.cli", "tiles", folder, "--url", str(web.base_url), "--key", str(verifier),
        "--follow", "--every", "0.1",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"}
    ) as process:
        try:
            for _ in range(3):
                size = (
                    live.accepted("order.placed", order=f"PO-{uuid.uuid4().hex[:8]}", units=1)["header"][
                        "index"
                    ]
                    + 1
                )
                assert process.stderr is not None
                while f"{size} entries in" not in (line := process.stderr.readline()):
                    assert line, "it ended"
                report = run("verify", folder, "--key", verifier)
                assert report.status == 0
                assert report.out.startswith(f"OK {size} entries")
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


class Faltering(Served):
    """Away, then not there, then there, then shorter than it was, and at last another."""

    def __init__(self) -> None:
        super().__init__(SampleLog.of(5), 5)
        self._times = 0

    async def keys(self) -> list[Verifier]:
        return [SIGNER.verifier]

    async def checkpoint(self, least: int = 0) -> str:
        self._times += 1
        if self._times < 3:
            raise (Unavailable("it is away"), NotFound("it is not there"))[self._times - 1]
        if self._times == 5:
            self.log = SampleLog.of(2)
            self.log.append(CONTRACTS[0], b'{"kind":"order.placed","forked":1}')
        return self.log.checkpoint(5 if self._times == 3 else 3)


def test_whoever_follows_asks_a_log_again_that_is_away_and_ends_at_a_fork(tmp_path: Path) -> None:
    told: list[str] = []
    following = keep_in_step(
        Folder(tmp_path), Faltering(), every_s=0.001, advance=lambda _, __: None, told=told.append
    )
    with pytest.raises(VerificationError, match="is of 5, and begins otherwise: it has forked"):
        asyncio.run(following)
    *first, behind = told
    assert first == ["it is away; asking again", "it is not there; asking again", f"5 entries in {tmp_path}"]
    assert behind.endswith("lags behind, or it has lost its end; asking again")


class serving:  # noqa: N801 # a context manager, named as one
    """Python's own static server on a folder."""

    def __init__(self, folder: Path) -> None:
        command = [
            sys.executable,
            "-u",
            "-m",
            "http.server",
            "0",
            "--bind",
            "127.0.0.1",
            "--directory",
            str(folder),
        ]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        words = self._process.stdout.readline()
        return words[words.index("http://") : words.index("/)")]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
