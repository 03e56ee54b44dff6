"""Local servers for tests: PostgreSQL and an S3-compatible object store."""

import contextlib
import dataclasses
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from tests.integration.machines import need, postgresql
from tests.processes import HOST, PATIENCE, await_port, await_ready, free_port

POSTGRES = "postgres"
KEYS = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclasses.dataclass
class Server:
    """A server that listens on `port`, which tests can stop and start again."""

    command: Sequence[object]
    port: int
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the server and wait until it listens."""
        with self.log.open("ab") as words:
            self.process = subprocess.Popen(
                list(map(str, self.command)), stdout=words, stderr=words
            )
        await_port(self.port, self.runs)

    def runs(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server if it runs."""
        if self.process is not None and self.runs():
            self.process.send_signal(by)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def object_store(folder: Path, bucket: str) -> Iterator[tuple[Server, dict[str, str]]]:
    """An object store with an empty bucket, and the environment variables of its clients."""
    port = free_port()
    program = Path(sys.executable).with_name("moto_server")
    server = Server((program, "-H", HOST, "-p", port), port, folder / "store.log")
    url = f"http://{HOST}:{port}"
    try:
        server.start()
        await_ready(url, server.runs)
        httpx.put(f"{url}/{bucket}").raise_for_status()
        yield server, KEYS | {"AWS_ENDPOINT_URL": url}
    finally:
        server.stop(signal.SIGKILL)


_RELAY = """
import asyncio, sys

async def copy(source, target):
    while data := await source.read(1 << 16):
        target.write(data)
        await target.drain()
    target.close()

async def relay(reader, writer):
    try:
        there, back = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
        await asyncio.gather(copy(reader, back), copy(there, writer))
    except OSError:
        writer.close()

async def main():
    server = await asyncio.start_server(relay, sys.argv[1], int(sys.argv[3]))
    await server.serve_forever()

asyncio.run(main())
"""


@contextlib.contextmanager
def relay(folder: Path, to: int) -> Iterator[Server]:
    """A TCP relay to the port `to`. Stopping the relay does not stop the server on this port."""
    port = free_port()
    command = (sys.executable, "-c", _RELAY, HOST, to, port)
    server = Server(command, port, folder / "relay.log")
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGKILL)


@contextlib.contextmanager
def database(folder: Path, name: str) -> Iterator[tuple[Server, str]]:
    """PostgreSQL with an empty database, and its SQLAlchemy URL; needs root.

    Other users must be able to read `folder`.
    """
    need({"setpriv": "setpriv: apt-get install util-linux"})
    programs, owner, port = postgresql(), pwd.getpwnam(POSTGRES), free_port()
    data = folder / "database"
    data.mkdir()
    os.chown(data, owner.pw_uid, owner.pw_gid)
    as_owner: list[str | Path] = [
        "setpriv",
        f"--reuid={owner.pw_uid}",
        f"--regid={owner.pw_gid}",
        "--clear-groups",
    ]
    initdb = [*as_owner, programs / "initdb", f"--pgdata={data / 'data'}", "--auth=trust"]
    subprocess.run(initdb, check=True, capture_output=True)
    options = ["-c", "fsync=off", "-c", f"unix_socket_directories={data}", "-p", str(port)]
    postgres = [*as_owner, programs / "postgres", "-D", data / "data", *options]
    server = Server(postgres, port, folder / "database.log")
    try:
        server.start()
        made = [*as_owner, programs / "createdb", f"--host={HOST}", f"--port={port}", name]
        subprocess.run(made, check=True, capture_output=True)
        yield server, f"postgresql+psycopg://{POSTGRES}@{HOST}:{port}/{name}"
    finally:
        server.stop(signal.SIGINT)
