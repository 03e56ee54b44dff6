"""Acknowledged corrections survive kills and crashes, in SQLite and in PostgreSQL."""

import contextlib
import os
import pwd
import random
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg
import pyarrow.compute as pc
import pytest

from labelwright.entities.corrections import Correction, CorrectionStore
from labelwright.entities.errors import ConflictError, UnreachableError
from tests.integration.machines import need, need_command, postgresql
from tests.processes import HOST, PATIENCE, await_port, environment, free_port, serving
from tests.repeats import repeats
from tests.writers import acknowledged, kills

if TYPE_CHECKING:
    from tests.conftest import World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

OWNER, PASSWORD = "postgres", "hunter2"


class Server:
    """A PostgreSQL server with its data in a folder. Tests can kill and restart the server."""

    def __init__(self, folder: Path) -> None:
        self._programs, self._folder, self.port = postgresql(), folder, free_port()
        owner = pwd.getpwnam(OWNER)
        folder.chmod(0o755)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        self._as_owner = ("setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}")
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        os.chown(secret, owner.pw_uid, owner.pw_gid)
        self._do("initdb", f"--pgdata={folder}/data", f"--pwfile={secret}", "--auth=scram-sha-256")
        self.start()

    @property
    def url(self) -> str:
        """URL of the database of corrections."""
        return f"postgresql://{OWNER}:{PASSWORD}@{HOST}:{self.port}/postgres"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        options = f"-p {self.port} -h {HOST} -k {self._folder}"
        log = f"--log={self._folder}/log"
        self._do("pg_ctl", "start", "--wait", f"--pgdata={self._folder}/data", log, "-o", options)

    def kill(self) -> None:
        """Crash the server: data that is not yet on disk is lost."""
        self._do("pg_ctl", "stop", "--mode=immediate", f"--pgdata={self._folder}/data")

    def _do(self, program: str, *arguments: str) -> None:
        command = [*self._as_owner, "--clear-groups", str(self._programs / program), *arguments]
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The PostgreSQL server of this module."""
    need({"setpriv": "setpriv: apt-get install util-linux"})
    postgresql()
    folder = Path(tempfile.mkdtemp(prefix="labelwright-"))
    try:
        started = Server(folder)
        yield started
        started.kill()
    finally:
        shutil.rmtree(folder)


POOLER = """
[databases]
postgres = host={host} port={server} dbname=postgres user={owner} password={password}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture(scope="module")
def pooler(server: Server) -> Iterator[str]:
    """URL of the database of corrections behind a connection pooler in transaction mode."""
    need_command("pgbouncer", "apt-get install pgbouncer")
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="labelwright-"))
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        POOLER.format(host=HOST, server=server.port, owner=OWNER, password=PASSWORD, port=port)
    )
    folder.chmod(0o755)
    process = subprocess.Popen(
        ["pgbouncer", f"--user={OWNER}", "--quiet", str(settings)], stderr=subprocess.DEVNULL
    )
    try:
        await_port(port, lambda: process.poll() is None)
        yield f"postgresql://{OWNER}@{HOST}:{port}/postgres"
    finally:
        process.terminate()
        process.wait(PATIENCE)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an SQLite database or of the server's database, which is not empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/corrections.db"
    server: Server = request.getfixturevalue("server")
    return server.url


def correction(key: str, entity_id: str = "e") -> Correction:
    return Correction(key, "0" * 64, "ann\u00e4", entity_id, "{}", ["a"], [], [], {}, [])


def keys(url: str) -> set[str]:
    with CorrectionStore(url) as store:
        return {key for table in store.batches() for key in table["key"].to_pylist()}


@pytest.mark.repeated
def test_sqlite_keeps_every_acknowledged_correction_when_killed(tmp_path: Path) -> None:
    database = tmp_path / "corrections.db"
    times = repeats(20, 200)
    acknowledged_keys = acknowledged(f"sqlite:///{database}", kills(times, seed=1))
    assert acknowledged_keys <= keys(f"sqlite:///{database}")
    assert len(acknowledged_keys) > 2 * times
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.repeated
def test_postgresql_keeps_every_acknowledged_correction_when_killed(server: Server) -> None:
    assert acknowledged(server.url, kills(repeats(10, 100), seed=2)) <= keys(server.url)


def test_a_server_crash_loses_nothing_and_is_reported_as_unreachable(server: Server) -> None:
    store = CorrectionStore(server.url)
    taken: set[str] = set()

    def write() -> None:
        for number in range(100_000):
            try:
                taken.add(store.add(correction(f"crash-{number}")).key)
            except UnreachableError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    while len(taken) < 20:
        time.sleep(0.01)
    server.kill()
    writer.join(PATIENCE)
    with pytest.raises(UnreachableError) as caught:
        store.add(correction("meanwhile"))
    assert PASSWORD not in str(caught.value)
    server.start()
    store.add(correction("after"))  # the same store connects again
    assert {*taken, "after"} <= keys(server.url)
    store.close()


def test_postgresql_keeps_what_sqlite_keeps(server: Server) -> None:
    with CorrectionStore(server.url) as store:
        entity = uuid.uuid4().hex
        first = store.add(correction(entity, entity))
        assert store.add(correction(entity, entity)) == first
        with pytest.raises(ConflictError):
            store.add(Correction(entity, "1" * 64, "", entity, "{}", [], [], [], {}, []))
        (row,) = [
            row
            for table in store.batches()
            for row in table.filter(pc.equal(table["entity_id"], entity)).to_pylist()
        ]
        assert (row["reviewer"], row["received"]) == ("ann\u00e4", first.received)
        assert (store.delete(entity), store.delete(entity)) == (1, 0)


def write_much(url: str) -> set[str]:
    """Store and read corrections with several connections, and return the keys."""
    prefix, together = uuid.uuid4().hex, threading.Barrier(8)

    def write(writer: int) -> list[str]:
        together.wait()
        return [store.add(correction(f"{prefix}-{writer}-{n}")).key for n in range(25)]

    with CorrectionStore(url, "365d") as store, ThreadPoolExecutor(8) as pool:
        written = {key for part in pool.map(write, range(8)) for key in part}
        assert store.count() >= len(written)
        assert written <= {key for table in store.batches() for key in table["key"].to_pylist()}
    return written


def test_corrections_are_stored_behind_a_connection_pooler(server: Server, pooler: str) -> None:
    assert write_much(pooler) <= keys(server.url)
    assert write_much(f"{pooler}?connect_timeout=10&application_name=a") <= keys(server.url)


@pytest.mark.parametrize("threshold", ["0", "5", "none"])
def test_the_url_may_say_when_statements_are_prepared(server: Server, threshold: str) -> None:
    assert write_much(f"{server.url}?prepare_threshold={threshold}") <= keys(server.url)


def test_concurrent_first_writers_create_one_table(url: str) -> None:
    prefix = uuid.uuid4().hex

    def write(writer: int) -> list[str]:
        with CorrectionStore(url) as store:
            return [store.add(correction(f"{prefix}-{writer}-{n}")).key for n in range(20)]

    with ThreadPoolExecutor(8) as pool:
        written = {key for part in pool.map(write, range(8)) for key in part}
    assert written <= keys(url)


def test_a_correction_that_a_locked_table_refused_is_not_stored(
    world: "World", server: Server, tmp_path: Path
) -> None:
    settings = {**environment(world.home), "LABELWRIGHT_CORRECTIONS": server.url}
    content = {"entity": {"id": uuid.uuid4().hex, "name": "Joe's"}, "added": ["x"]}

    def send(client: httpx.Client, key: str, seconds: str) -> int:
        headers = {"Idempotency-Key": key, "X-Request-Timeout": seconds}
        return client.post("/v1/feedback", json=content, headers=headers).status_code

    refused, accepted = uuid.uuid4().hex, uuid.uuid4().hex
    with (
        serving("--model", world.uri, environment=settings, folder=tmp_path) as service,
        service.client() as client,
        psycopg.connect(server.url) as other,
    ):
        assert send(client, uuid.uuid4().hex, "60") == 201
        other.execute("LOCK TABLE labelwright_corrections")
        assert send(client, refused, "1") == 503
        other.rollback()
        assert send(client, accepted, "60") == 201
        time.sleep(1)  # the writer of the refused correction gets the lock
    assert {refused, accepted} & keys(server.url) == {accepted}


def test_a_killed_service_has_stored_all_acknowledged_corrections(
    world: "World", url: str, tmp_path: Path
) -> None:
    settings = {**environment(world.home), "LABELWRIGHT_CORRECTIONS": url}
    acknowledged_keys: set[str] = set()
    for moment in [random.Random(n).uniform(0.1, 1) for n in range(3)]:
        with serving("--model", world.uri, environment=settings, folder=tmp_path) as service:

            def write(writer: int, address: str = service.url) -> None:
                entity = {"id": f"e{writer}", "name": "Joe's"}
                with httpx.Client(base_url=address, timeout=60) as client:
                    while True:
                        key = uuid.uuid4().hex
                        content = {"entity": entity, "added": ["x"], "key": key}
                        try:
                            response = client.post("/v1/feedback", json=content)
                        except httpx.TransportError:
                            return
                        assert response.status_code == 201, response.text
                        acknowledged_keys.add(key)

            before = len(acknowledged_keys)
            with ThreadPoolExecutor(3) as pool:
                writers = [pool.submit(write, writer) for writer in range(3)]
                while len(acknowledged_keys) == before and not any(each.done() for each in writers):
                    time.sleep(0.01)
                time.sleep(moment)
                service.process.kill()
                for each in writers:
                    each.result()
    assert len(acknowledged_keys) > 10
    assert acknowledged_keys <= keys(url)
