"""A real PostgreSQL for tests: on 127.0.0.1, with a password, run by a user who is not root."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
BINARIES = FOUND[-1].parent if FOUND else None
PASSWORD = "s3cr/t:Pa55"
QUOTED = "s3cr%2Ft%3APa55"


def missing() -> str | None:
    """Why there can be no server here; None if there can."""
    if BINARIES is None:
        return "PostgreSQL is not installed"
    if os.getuid() == 0 and (shutil.which("runuser") is None or not _has_user("postgres")):
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


class PostgresServer:
    """A server with an empty database."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="acmix-postgres-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "--username=acmix", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://acmix:{QUOTED}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        self._run("pg_ctl", "--wait", f"--log={self.folder / 'log'}", f"--options={options}", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "--wait", "--mode=fast", "stop")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, name: str, *options: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        line = [*user, str(BINARIES / name), f"--pgdata={self.folder / 'data'}", *options]
        # A server that is started keeps the pipes of whoever started it.
        subprocess.run(line, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
