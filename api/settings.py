"""Settings: read once, at the edge, and passed as values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
"""As a URL has it: without scheme and port, an IPv6 address without brackets."""
_OTHERS = ("CHIPLEDGER_VERIFIER_KEY", "CHIPLEDGER_WEBHOOK_SECRET")
"""Variables of single commands."""
HOURS_MAX = 366 * 24
SECONDS_MAX = HOURS_MAX * 3_600
"""A look that is rarer than this is none."""


class Settings(BaseSettings):
    """Every setting is an environment variable `CHIPLEDGER_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="CHIPLEDGER_", extra="ignore", populate_by_name=True)

    home: Path = Path(".chipledger")
    """Folder of the checkpoint key and, where no database is named, of the embedded PostgreSQL."""
    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "CHIPLEDGER_DATABASE_URL")
    )
    """A PostgreSQL server: the URL of an owner, or of a member of chipledger_writer."""
    reader_url: SecretStr | None = None
    """For reads, where `database_url` is the writer's: a member of chipledger_reader, or a replica."""
    eraser_url: SecretStr | None = None
    """For `chipledger erase`, where `database_url` is the writer's: a member of chipledger_eraser."""
    database: str = "chipledger"
    """Name of the database on the embedded PostgreSQL."""
    origin: str | None = None
    """Name of a new log in its checkpoints, such as ledger.example.com/h200."""
    key_passphrase: SecretStr | None = None
    """Of the checkpoint key's file."""
    key_file: Path | None = None
    """The checkpoint key; by default checkpoint.key in `home`."""
    checkpoint_store: str | None = None
    """Folder, best on another disk, or bucket of the last checkpoint; by default `checkpoints` by the key."""
    witness_policy: Path | None = None
    """Whose cosignatures on the checkpoints are asked for, and are enough (C2SP tlog-policy)."""
    timestamp_url: str | None = None
    """A time-stamping authority (RFC 3161) that the checkpoints are shown to."""
    timestamp_roots: Path | None = None
    """Certificates, PEM, that the authority's must lead to."""
    timestamp_hours: int = Field(default=24, ge=1, le=HOURS_MAX)
    signing_passphrase: SecretStr | None = None
    """Of the keys that `chipledger sign` signs with."""
    integrity_head_seconds: float = Field(default=60, ge=0, le=SECONDS_MAX)
    """How often the service looks at the head of the log and at facts; 0: never."""
    integrity_tail_seconds: float = Field(default=300, ge=0, le=SECONDS_MAX)
    """How often it reads what was appended since; 0: never."""
    integrity_all_seconds: float = Field(default=86_400, ge=0, le=SECONDS_MAX)
    """How often it reads everything; 0: never."""
    webhook_hosts: str = ""
    """For development: hosts, parted by commas, that webhooks may reach without https at any address."""
    clock: Literal["system", "simulated"] = "system"
    """simulated: for demos and tests. Genesis says so, for ever."""
    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65_535)
    events_per_minute: int = Field(default=600_000, ge=1)
    """That one key may send to one process; a key may have a quota of its own."""
    denials_per_hour: int = Field(default=10_000, ge=1)
    """That one key may cause: a refusal is an entry for ever."""
    reads_per_minute: int = Field(default=6_000, ge=1)
    """That one key may ask of one process, everything but events."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("webhook_hosts")
    @classmethod
    def _names_hosts(cls, given: str) -> str:
        for host in filter(None, map(str.strip, given.split(","))):
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host} is no host, must be a name or an address, parted by commas")
        return given

    @property
    def key_path(self) -> Path:
        return self.key_file or self.home / "checkpoint.key"

    @property
    def webhook_key_path(self) -> Path:
        """Seals the secrets of webhooks; every process of a service needs the same one."""
        return self.key_path.with_name("webhooks.key")

    @property
    def allowed_hosts(self) -> frozenset[str]:
        return frozenset(host.strip().lower() for host in self.webhook_hosts.split(",") if host.strip())

    @property
    def store_bucket(self) -> str | None:
        """URL of the bucket that keeps the last checkpoint, if one does."""
        return self.checkpoint_store if "://" in (self.checkpoint_store or "") else None

    @property
    def store_path(self) -> Path:
        """Keeps what the watch remembers, and without a bucket the last checkpoint too."""
        if self.checkpoint_store is None or self.store_bucket is not None:
            return self.key_path.parent / "checkpoints"
        return Path(self.checkpoint_store)


def unknown_among(variables: Iterable[str]) -> list[str]:
    """Those that look like a setting and are none: behind a slip the default stays in force."""
    known = {f"CHIPLEDGER_{name.upper()}" for name in Settings.model_fields} | {*_OTHERS}
    return sorted(name for name in variables if name.startswith("CHIPLEDGER_") and name not in known)
