"""The demo: the year played through the REST API, what is printed of it, and what its log holds."""

from __future__ import annotations

import io
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from api.bundle_check import verify_bundle
from api.demo import closing, receiver, stage
from api.demo.stage import WIDTH, Play
from api.embedded import Embedded
from api.held import Held
from api.story import AUTHORITY, CONTRACT, PARTIES, story
from ledger.errors import Unavailable
from ledger.note import Verifier
from policies.exported import Export
from tests.conftest import copied
from tests.service import Service, running, settings_for


@dataclass(frozen=True)
class Played:
    play: Play
    printed: list[str]
    log: list[tuple[dict[str, Any], dict[str, Any]]]
    """Event and decision of each entry."""


@pytest.fixture(scope="module")
def played(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The whole demo, but for its own database and process."""
    home = tmp_path_factory.mktemp("home")
    (home / "demo").mkdir()
    out = io.StringIO()
    with (
        copied(server, template) as url,
        running(settings_for(url, home, clock="simulated"), url) as service,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(stage, "_console", Console(file=out, highlight=False, soft_wrap=True))
        with Play(service.url, _tokens(service)) as play:
            with receiver.listening(play) as heard:
                for step in story():
                    play.perform(step)
                receiver.show(play, heard)
            told = {"HOME": str(home), "ORIGIN": "test.example/log"}
            environment = {f"CHIPLEDGER_{name}": value for name, value in told.items()}
            closing.show(play, home, {**environment, "DATABASE_URL": url})
            log = _log(home / "demo" / "demo.export")
            yield Played(play, out.getvalue().splitlines(), log)
        service.audit()


def _tokens(service: Service) -> dict[str, str]:
    tokens = {name: service.token(name) for name in ("auditor", "operator")}
    for party in (party["party"] for party in PARTIES):
        tokens[party] = service.token("regulator" if party == AUTHORITY else "submitter", party)
    return tokens


def _log(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    with path.open("rb") as file:
        entries = [(line.event, line.decision) for line in Export(file).entries()]
    return [(orjson.loads(event or b""), orjson.loads(decision or b"")) for event, decision in entries]


def test_no_line_is_wider_than_a_page(played: Played) -> None:
    wide = [line for line in played.printed if len(line) > WIDTH and not line.startswith("  $ cd ")]
    assert wide == []
    assert len(played.printed) > 200


def test_bundles_of_the_year_hold_offline(played: Played) -> None:
    """Of the contract, and of a chip: by REST, as an auditor and as a party."""
    key = Verifier.parse(played.log[0][0]["data"]["key"])
    for who, asked in (("auditor", {"contract": CONTRACT}), ("cascade", {"serial": "H200-000001"})):
        answer = played.play.request(who, "GET", "/v1/bundles", params=asked)
        assert answer.status_code == 200, answer.text
        words = verify_bundle(answer.content, key, Held())
        assert words[0].startswith("OK ")
        assert not any("index.html" in line for line in words)
        compared = next(line for line in words if line.startswith("rechecked"))
        assert int(compared.split()[1]) > 30


def test_the_year_has_one_of_everything(played: Played) -> None:
    spoken = {event["kind"] for event, decision in played.log if decision["outcome"] != "denied"}
    assert spoken >= {
        "policy.proposed", "policy.approved", "policy.activated", "hold.placed", "hold.released",
        "override.granted", "obligation.breached", "obligation.satisfied", "event.declared_in_error",
        "suspension.proposed", "proposal.dismissed", "license.suspended", "license.revoked",
        "revocation.scoped",
    }  # fmt: skip
    assert {decision["outcome"] for _, decision in played.log} == {"accepted", "flagged", "held", "denied"}
    assert any("shadows" in decision for _, decision in played.log)
    findings = [finding for _, decision in played.log for finding in decision["conditions"]]
    assert [finding["id"] for finding in findings if "override" in finding] == ["laboratory"]


def test_the_version_before_stays_in_force_until_the_day_that_the_activation_names(played: Played) -> None:
    asked = {
        event["data"]["order"]: {p["policy"]: p["version"] for p in decision["policies"]}["us-h200-china"]
        for event, decision in played.log
        if event["kind"] == "order.placed" and event["data"]["order"] in ("PO-3", "PO-4")
    }
    assert asked == {"PO-3": 1, "PO-4": 2}


def test_what_is_checked_at_the_end_is_shown_with_its_output(played: Played) -> None:
    printed = "\n".join(played.printed)
    for command in ("export", "verify", "replay", "policy backtest", "policy affected", "policy coverage"):
        assert f"  $ chipledger {command} " in printed
    assert "  OK every decision is the one that was committed\n" in printed
    assert "  pointwise: 1 of 64 decisions flip\n" in printed
    assert "  counterfactual: 2 of 64 decisions flip\n" in printed


def test_the_commands_shown_work_in_a_shell_that_does_as_shown(played: Played, tmp_path: Path) -> None:
    """From anywhere, knowing nothing; `chipledger` is the one that played."""
    lines = [line.removeprefix("  $ ") for line in played.printed if line.startswith("  $ ")]
    enters, exports = lines[:2]
    assert exports == "chipledger export demo.export"
    script = f"{enters} && cd {shlex.quote(str(tmp_path))} && {exports}"
    done = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.endswith(" entries written to demo.export\n")
    assert os.listdir(tmp_path) == ["demo.export"]


def test_the_revocation_arrives_at_the_data_centre(played: Played) -> None:
    [index] = [n for n, (event, _) in enumerate(played.log) if event["kind"] == "license.revoked"]
    begins = played.printed.index("The webhook of pudong-dc")
    assert played.printed[begins + 1] == "  verified: chipledger.license.revoked"
    assert played.printed[begins + 2].startswith(f"  entry {index} license.revoked accepted ")
    assert played.printed[begins + 3].startswith("  it touches of D-700001: ")
    assert played.printed[begins + 4] == f"  the record: pudong-dc was told of entry {index}, attempt 1"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP], ids=lambda end: end.name)
def test_a_demo_that_is_told_to_end_takes_its_service_with_it(tmp_path: Path, end: signal.Signals) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    command = [sys.executable, "-m", "api.cli", "demo", "--home", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        assert any("Opening" in line for line in demo.stdout), "it has begun, so its service answers"
        demo.send_signal(end)
        demo.communicate(timeout=60)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass
    assert not Embedded(tmp_path).status().running


def test_a_play_that_comes_out_otherwise_ends(played: Played) -> None:
    last = replace([*story()][-1], at="2027-12-21T15:00:00Z", chapter="")
    with pytest.raises(Unavailable, match="denied, the play wants accepted"):
        played.play.perform(replace(last, expected="accepted", name="one more"))
    with pytest.raises(Unavailable, match="the ledger said nothing, the play wants obligation"):
        played.play.perform(replace(last, before=("obligation.breached",), name="and one more"))
