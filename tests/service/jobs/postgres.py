"""A PostgreSQL server of our own: a scratch cluster on a free port, gone with its context."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = "Debian and Ubuntu: apt install postgresql"
START_SECONDS = 60.0
FAST = ("fsync=off", "shared_buffers=16MB", "max_connections=60", "log_min_messages=error")


def postgres_folder() -> Path | None:
    """The folder of PostgreSQL's programs, or None."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


@contextmanager
def postgres_server(programs: Path) -> Iterator[str]:
    """URL of an empty database. PostgreSQL refuses to run as root: it runs as the user of its package then."""
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if as_root else {}
    with tempfile.TemporaryDirectory(prefix="animax-pg-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, "postgres", "postgres")
        data, log = folder / "data", folder / "log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": folder, **user}
        create = [programs / "initdb", "-D", data, "-U", "animax", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run([*create, "--locale=C"], check=True, **quiet)
        options = [part for setting in FAST for part in ("-c", setting)]
        command = [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, *options]
        with log.open("w") as output:
            server = subprocess.Popen(command, **{**quiet, "stdout": output})
        try:
            wait = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "animax", "-d", "postgres"]
            deadline = time.monotonic() + START_SECONDS
            while subprocess.run(wait, **quiet).returncode:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield f"postgresql://animax@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # "fast": it does not wait for connections to end
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
