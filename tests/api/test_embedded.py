"""The embedded PostgreSQL, with real servers in folders of their own: it shares, it survives
kill -9 of anything, and it refuses what it cannot use in words that say what to do."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from api import embedded, embedded_place
from api.embedded import Embedded, InUseError
from api.embedded_place import NOBODY, FolderError, Place, PlatformError, ServerError
from ledger.errors import LedgerError

REPOSITORY = Path(embedded.__file__).parents[1]
DEADLINE_S = 30.0

# Uses the database in argv[1] until its standard input ends, then leaves.
USER = """
import sys
from pathlib import Path
from api.embedded import Embedded
with Embedded(Path(sys.argv[1])) as database:
    print(database.url(), flush=True)
    sys.stdin.read()
"""


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another uid")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield from stopped_in_the_end(tmp_path / "home")


@pytest.fixture(scope="module")
def open_binaries() -> Iterator[Path]:
    """A copy of PostgreSQL that any uid can run: this Python may live in a 0700 home."""
    folder = open_to_all()
    binaries = embedded_place.binaries()
    package = binaries.parents[1]
    copy = folder / package.name / binaries.parent.name
    for name in ("bin/initdb", "bin/pg_ctl", "bin/postgres"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(binaries.parent / name, copy / name)
    for name in ("lib", "share"):
        shutil.copytree(binaries.parent / name, copy / name)
    (copy.parent / "__init__.py").write_text("")
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    yield copy / "bin"
    shutil.rmtree(folder)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    folder = open_to_all()
    yield folder
    shutil.rmtree(folder)


def open_to_all() -> Path:
    """A folder that any uid can reach: those of pytest are root's own."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


def stopped_in_the_end(home: Path) -> Iterator[Path]:
    yield home
    database = Embedded(home)
    with suppress(LedgerError):
        database.stop(force=True)
    if database._place.socket_folder.is_relative_to("/tmp"):
        shutil.rmtree(database._place.socket_folder, ignore_errors=True)


class User:
    """Another process that uses the database."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-c", USER, str(home)),
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.stdout = self.process.stdout

    def wait_until_up(self) -> str:
        return self.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)

    def leave(self) -> None:
        self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.001)


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def write(url: str, text: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("create table if not exists kept (words text)")
        connection.execute("insert into kept values (%s)", (text,))


def running_pid(database: Embedded) -> int:
    pid = database.status().pid
    assert pid is not None
    return pid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- start and stop -------------------------------------------------------------------------------


def test_an_empty_folder_becomes_a_database(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")  # the caller's own settings must not reach it
    before = Embedded(home).status()
    assert (before.running, before.pid, before.users) == (
        False,
        None,
        0 if sys.platform == "linux" else None,
    )
    assert not home.exists()
    with Embedded(home) as database:
        url = database.url()
        assert ask(url, "show server_version") == "18.4" == database.status().version
        for setting, value in {
            "listen_addresses": "", "fsync": "on", "synchronous_commit": "on",
            "data_checksums": "on", "server_encoding": "UTF8", "lc_collate": "C", "TimeZone": "UTC",
            "password_encryption": "scram-sha-256", "max_connections": "100",
        }.items():  # fmt: skip
            got = (
                ask(url, f"select setting from pg_settings where name = '{setting}'")
                if (setting != "lc_collate")
                else ask(url, "select datcollate from pg_database where datname = 'postgres'")
            )
            assert got == value, setting
        status = database.status()
        assert status.running
        assert status.pid is not None
        assert os.getsid(status.pid) != os.getsid(0)  # Ctrl-C here is not for it
        assert mode(home) == mode(status.data_folder) == mode(status.socket_folder) == 0o700
        assert mode(status.log) == 0o600
    assert not Embedded(home).status().running


def test_a_second_start_joins_the_running_server(home: Path) -> None:
    with Embedded(home) as first, closing(Embedded(home)) as second:
        pid = running_pid(first)
        began = time.monotonic()
        assert second.start() == first.url()
        assert time.monotonic() - began < 1
        assert second.start() == first.url()
        assert running_pid(second) == pid
        if sys.platform == "linux":
            assert second.status().users == 2


def test_the_url_quotes_what_it_carries(home: Path) -> None:
    with Embedded(home) as database:
        with psycopg.connect(database.url(), autocommit=True) as connection:
            connection.execute('create role "a@b/c:d?e" login')
            connection.execute('create database "x y/é&z"')
        url = database.url("x y/é&z", "a@b/c:d?e")
        assert ask(url, "select current_user || ' ' || current_database()") == "a@b/c:d?e x y/é&z"


def test_the_last_process_to_leave_stops_the_server(home: Path) -> None:
    first, second = User(home), User(home)  # both at once: one of them makes the database
    assert first.wait_until_up() == second.wait_until_up()
    database = Embedded(home)
    pid = running_pid(database)
    with pytest.raises(InUseError, match=rf"is in use .*{second.process.pid}.* must be unused"):
        database.stop()
    first.leave()
    assert running_pid(database) == pid
    second.leave()
    assert not database.status().running


def test_a_forced_stop_is_a_stop(home: Path) -> None:
    with Embedded(home) as user:
        Embedded(home).stop(force=True)
        assert not user.status().running
        assert ask(user.start(), "select 1") == 1


# --- what kill -9 leaves --------------------------------------------------------------------------


def test_a_killed_process_leaves_a_server_that_the_next_one_uses_and_stops(home: Path) -> None:
    killed = User(home)
    write(killed.wait_until_up(), "kept")
    pid = running_pid(Embedded(home))
    killed.kill()
    with Embedded(home) as database:
        assert running_pid(database) == pid
        assert ask(database.url(), "select words from kept") == "kept"
    assert not Embedded(home).status().running


def test_a_killed_postmaster_loses_no_commit(home: Path) -> None:
    with Embedded(home) as database:
        write(database.url(), "kept")
        pid = running_pid(database)
        os.kill(pid, signal.SIGKILL)
        assert ask(database.start(), "select words from kept") == "kept"
        assert running_pid(database) != pid


def test_a_backend_that_outlives_its_postmaster_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LEFTOVER_S", 0.5)
    with Embedded(home) as database:
        connection = psycopg.connect(database.url(), autocommit=True)
        backend, pid = connection.info.backend_pid, running_pid(database)
        os.kill(backend, signal.SIGSTOP)  # it does not see that its postmaster is gone
        os.kill(pid, signal.SIGKILL)
        assert ask(database.start(), "select 1") == 1
        assert backend not in database._processes()
        connection.close()


def test_a_stale_process_id_is_not_believed(home: Path) -> None:
    with Embedded(home) as database:
        write(database.url(), "kept")
        status = database.status()
        files = (status.data_folder / "postmaster.pid", status.socket_folder / ".s.PGSQL.5432.lock")
        words = [file.read_text().split("\n", 1)[1] for file in files]
    for file, rest in zip(files, words, strict=True):
        file.write_text(f"{os.getpid()}\n{rest}")  # the id now belongs to a living program: this
    assert not Embedded(home).status().running
    with Embedded(home) as database:
        assert ask(database.url(), "select words from kept") == "kept"


def test_a_killed_initdb_does_not_block_the_next_start(home: Path) -> None:
    killed = User(home)
    until((home / "postgres.new" / "base").exists)
    killed.kill()
    assert not (home / "postgres").exists()
    with Embedded(home) as database:
        assert ask(database.url(), "select 1") == 1
        assert not (home / "postgres.new").exists()


def test_a_copy_of_a_running_folder_is_a_server_of_its_own(home: Path, tmp_path: Path) -> None:
    with Embedded(home) as database:
        shutil.copytree(home, tmp_path / "copy", ignore=lambda *_: {".s.PGSQL.5432"})
        assert not Embedded(tmp_path / "copy").status().running
        with Embedded(tmp_path / "copy") as copy:
            assert running_pid(copy) != running_pid(database)
        assert database.status().running


# --- places ---------------------------------------------------------------------------------------


def test_a_deep_folder_with_an_odd_name_works(tmp_path: Path) -> None:
    name = 'it\'s "quoted" $HOME `x` ключ, 日本 : '
    deep = tmp_path / name / ("d" * (200 - len(os.fsencode(tmp_path / name))))
    assert len(os.fsencode(deep)) >= 200
    for home in stopped_in_the_end(deep):
        with Embedded(home) as database:
            status = database.status()
            assert status.data_folder.is_relative_to(home)
            assert status.socket_folder.parent == Path("/tmp")
            assert mode(status.socket_folder) == 0o700
            write(database.url(), "kept")
        with Embedded(home) as database:
            assert ask(database.url(), "select words from kept") == "kept"


def test_a_socket_folder_that_somebody_else_made_is_refused(tmp_path: Path) -> None:
    for home in stopped_in_the_end(tmp_path / ("d" * 100)):
        folder = Embedded(home)._place.socket_folder
        folder.mkdir()
        folder.chmod(0o777)
        with pytest.raises(FolderError, match=r"is drwxrwxrwx of uid .*, must be drwx------"):
            Embedded(home).start()
        folder.rmdir()
        folder.symlink_to(tmp_path)
        with pytest.raises(FolderError, match=r"is lrwxrwxrwx of uid .*, must be drwx------"):
            Embedded(home).start()
        folder.unlink()


@root_only
def test_an_ordinary_user_runs_it_directly(open_folder: Path, open_binaries: Path) -> None:
    mine = open_folder / "mine"
    mine.mkdir(mode=0o700)
    os.chown(mine, NOBODY, NOBODY)
    # Imports come first, as root: afterwards the interpreter may be out of reach.
    script = f"""
import os, sys, psycopg
from pathlib import Path
from api.embedded import Embedded
os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
with Embedded(Path(sys.argv[1])) as database:
    with psycopg.connect(database.url()) as connection:
        print(os.geteuid(), connection.execute("select 6 * 7").fetchone()[0], database.status())
print(Embedded(Path(sys.argv[1])).status().running)
"""
    done = subprocess.run(
        (sys.executable, "-W", "error", "-c", script, str(mine / "home")),
        env={"PYTHONPATH": f"{open_binaries.parents[2]}:{REPOSITORY}"},
        cwd="/", timeout=DEADLINE_S, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{NOBODY} 42 Status(running=True"), done.stdout
    assert done.stdout.endswith("note='')\nFalse\n")
    assert {path.stat().st_uid for path in mine.rglob("*")} == {NOBODY}


@root_only
def test_root_without_namespaces_drops_to_nobody_and_says_where(
    home: Path,
    open_folder: Path,
    open_binaries: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(embedded_place, "binaries", lambda: open_binaries)
    monkeypatch.setattr(embedded_place, "FALLBACK", open_folder)
    monkeypatch.setattr(Place, "works", lambda *_: False)
    with Embedded(home) as database:
        write(database.url(), "kept")
        status = database.status()
        assert status.data_folder.is_relative_to(open_folder)
        assert status.data_folder.stat().st_uid == NOBODY
        assert mode(status.data_folder) == mode(status.data_folder.parent) == 0o700
        assert Path(f"/proc/{status.pid}").stat().st_uid == NOBODY
        assert "owned by uid 65534" in status.note
        assert status.note in caplog.text
        assert mode(open_folder) == 0o755
    monkeypatch.setattr(Place, "works", lambda *_: True)
    with Embedded(home) as database:  # namespaces are back, but the data are where they are
        assert ask(database.url(), "select words from kept") == "kept"


@root_only
def test_root_changes_no_permission_and_no_owner(home: Path) -> None:
    home.mkdir(mode=0o700)
    with Embedded(home) as database:
        if database.status().note:
            pytest.skip("user namespaces are forbidden here")
        assert ask(database.url(), "select 1") == 1
        assert mode(home) == mode(home.parent) == 0o700
        assert {path.stat().st_uid for path in home.rglob("*")} == {0}


# --- refusals -------------------------------------------------------------------------------------


def test_another_major_version_is_refused(home: Path) -> None:
    (home / "postgres").mkdir(parents=True, mode=0o700)
    (home / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(FolderError, match=r"is of PostgreSQL 17, must be of 18: run pg_upgrade"):
        Embedded(home).start()


def test_a_folder_of_something_else_is_refused_and_kept(home: Path) -> None:
    (home / "postgres").mkdir(parents=True, mode=0o700)
    (home / "postgres" / "novel.txt").write_text("chapter one")
    with pytest.raises(FolderError, match=r"is of PostgreSQL no version, must be of 18"):
        Embedded(home).start()
    assert (home / "postgres" / "novel.txt").read_text() == "chapter one"


@root_only
def test_a_folder_of_another_owner_is_refused(home: Path) -> None:
    with Embedded(home):
        pass
    os.chown(home / "postgres", 12345, 12345)
    with pytest.raises(FolderError, match=r"is owned by uid 12345, must be owned by uid 0: run as"):
        Embedded(home).start()
    os.chown(home / "postgres", 0, 0)


def test_a_place_that_cannot_hold_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"is not usable .*, must be a folder that uid"):
        Embedded(tmp_path / "file" / "home").start()


def test_a_server_that_does_not_start_says_why_and_is_left(home: Path) -> None:
    with Embedded(home):
        pass
    with (home / "postgres" / "postgresql.conf").open("a") as settings:
        settings.write("shared_preload_libraries = 'nonesuch'\n")
    broken = Embedded(home)
    with pytest.raises(ServerError, match=r'(?s)is not running, must be: .*"nonesuch"'):
        broken.start()
    assert Embedded(home)._unused()


def test_a_full_disk_is_named() -> None:
    words = "could not write to file: No space left on device"
    assert embedded_place.advice(words) == "free space on that disk, then start again"


def test_missing_binaries_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(PlatformError, match=r"is not installed .*, must be: `pip install"):
        Embedded(home).start()
    monkeypatch.undo()


def test_a_long_log_is_set_aside(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Embedded(home) as database:
        log = database.status().log
    monkeypatch.setattr(embedded, "LOG_BYTES_MAX", 10)
    with Embedded(home):
        assert (home / "postgres.log.1").stat().st_size > 10
        assert log.exists()
