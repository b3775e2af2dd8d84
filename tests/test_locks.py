"""The lock files: all that the project asks for, at a version that it takes, by its hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ASKED = {
    "requirements.lock": [*PROJECT["dependencies"], *EXTRAS["build"]],
    "requirements-dev.lock": [*PROJECT["dependencies"], *EXTRAS["build"], *EXTRAS["dev"]],
}


def pinned(lock: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes, by name."""
    found = {}
    for one in re.split(r"\n(?=\S)", (ROOT / lock).read_text()):
        name, version = re.match(r"([\w.-]+)(?:\[[^]]*\])?==([^\s;\\]+)", one).groups()  # type: ignore[union-attr]
        found[canonicalize_name(name)] = version, one.count("--hash=sha256:")
    return found


@pytest.mark.parametrize("lock", ASKED)
def test_what_the_project_asks_for_is_pinned_as_it_asks(lock: str) -> None:
    found = pinned(lock)
    for asked in map(Requirement, ASKED[lock]):
        version, _ = found[canonicalize_name(asked.name)]
        assert asked.specifier.contains(version), f"{asked} is locked at {version}: run `make lock`"
    assert all(hashes for _, hashes in found.values())


def test_what_is_tested_is_what_is_shipped() -> None:
    shipped, tested = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert {name: tested[name] for name in shipped} == shipped
