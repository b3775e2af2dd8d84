"""What stands in deploy/ speaks of settings, commands, routes and metrics that are there."""

from __future__ import annotations

import json
import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from api.cli import app
from api.server import GRACE_S
from api.settings import Settings
from tests.service import Service

DEPLOY = Path(__file__).parents[2] / "deploy"
OPERATING = (DEPLOY / "OPERATING.md").read_text()


def yaml(name: str) -> list[Any]:
    return list(YAML(typ="safe").load_all((DEPLOY / name).read_text()))


def queries() -> dict[str, str]:
    """Every expression of Prometheus, by where it stands."""
    [rules] = yaml("alerts.yaml")
    dashboard = json.loads((DEPLOY / "dashboard.json").read_text())
    return {
        **{rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]},
        **{
            f"{panel['title']} {target['refId']}": target["expr"]
            for panel in dashboard["panels"]
            for target in panel["targets"]
        },
    }


@pytest.mark.parametrize("where", queries())
def test_a_query_asks_for_metrics_and_labels_that_are_served(service: Service, where: str) -> None:
    served = httpx.get(f"{service.url}/metrics").text
    known = set(re.findall(r"^# TYPE (\w+) ", served, re.MULTILINE))
    asked = re.findall(r"(chipledger_\w+?)(?:_bucket|_count|_sum)?\b(?!\w)(?:\{(\w+))?", queries()[where])
    assert asked or where == "ChipledgerDown"
    for name, label in asked:
        assert name in known
        samples = re.findall(rf"^{name}\w*\{{(.*)\}} ", served, re.MULTILINE)
        assert not label or not samples or f'{label}="' in samples[0]


@pytest.mark.parametrize("file", sorted(path.name for path in DEPLOY.iterdir()))
def test_settings_that_are_named_are_there(file: str) -> None:
    named = re.findall(r"\bCHIPLEDGER_([A-Z_]+[A-Z])\b", (DEPLOY / file).read_text())
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_every_setting_is_in_the_table() -> None:
    table = OPERATING.partition("## Settings")[2].partition("\n## ")[0]
    rows = [
        set(re.findall(r"`(?:CHIPLEDGER|…)?_?([A-Z_]+)`", row.partition(" | ")[0]))
        for row in table.splitlines()
    ]
    told = {name.lower() for row in rows for name in row}
    for name in set(Settings.model_fields) - {"database"}:  # the demo's
        assert any(name == one or name.endswith(f"_{one}") for one in told), name


def test_kubernetes_asks_for_probes_that_there_are_and_waits_for_the_last_commit(service: Service) -> None:
    [pod] = [
        one["spec"]["template"]["spec"] for one in yaml("kubernetes.yaml") if one["kind"] == "Deployment"
    ]
    [container] = pod["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert httpx.get(service.url + container[probe]["httpGet"]["path"]).status_code == 200
    assert pod["terminationGracePeriodSeconds"] > GRACE_S
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_commands_that_are_run_are_there() -> None:
    [upgrade] = [one["spec"]["template"]["spec"] for one in yaml("kubernetes.yaml") if one["kind"] == "Job"]
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment] # a unit's names have capitals
    unit.read(DEPLOY / "chipledger.service")
    image = re.findall(r"^CMD (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for command in (
        upgrade["containers"][0]["command"],
        unit["Service"]["ExecStart"].split(),
        json.loads(image[0]),
    ):
        assert command[0].rpartition("/")[2] == "chipledger"
        assert CliRunner().invoke(app, [*command[1:], "--help"]).exit_code == 0
    assert unit["Service"]["KillMode"] == "mixed"
    assert int(unit["Service"]["TimeoutStopSec"]) > GRACE_S
