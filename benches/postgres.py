"""A PostgreSQL of this machine's package, with an empty database: loopback, in a directory of its own, never as root."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from prefect_server.server import free_port

# Whom Debian's package creates for it. PostgreSQL refuses to run as root.
USER = "postgres"
START_SECONDS = 60
NAME = "prefect"


def programs():
    """Where its programs are; scripts/postgresql.sh installs them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if found:
        return found[-1]
    on_path = shutil.which("initdb")
    assert on_path, "there is no PostgreSQL: scripts/postgresql.sh installs it"
    return Path(on_path).parent


@contextlib.contextmanager
def running():
    """The address of an empty database. The server ends with the block, by its pid."""
    bin, port = programs(), free_port()
    somebody = {"user": USER, "group": USER} if os.geteuid() == 0 else {}
    home = Path(tempfile.mkdtemp(prefix="psa-postgres-"))
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8"}
    if somebody:
        shutil.chown(home, USER, USER)

    def run(program, *arguments):
        command = [bin / program, *arguments]
        done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=120, **somebody)
        return done.returncode, done.stdout + done.stderr

    def must(program, *arguments):
        code, said = run(program, *arguments)
        assert code == 0, f"{program}: {said}"

    process = None
    try:
        must("initdb", "-D", home / "data", "-U", NAME, "--auth=trust", "--no-sync", "-E", "UTF8")
        place = ["-h", "127.0.0.1", "-p", str(port)]
        # The directory of its socket is its own as well.
        command = [bin / "postgres", "-D", home / "data", *place, "-k", home, "-c", "max_connections=200"]
        with (home / "log").open("w") as log:
            process = subprocess.Popen(
                command, env=environment, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **somebody
            )
        deadline = time.monotonic() + START_SECONDS
        while run("pg_isready", *place)[0] != 0:
            assert process.poll() is None and time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.1)
        must("createdb", *place, "-U", NAME, NAME)
        yield f"postgresql+asyncpg://{NAME}@127.0.0.1:{port}/{NAME}"
    finally:
        if process and process.poll() is None:
            # At once, without waiting for its clients.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
        shutil.rmtree(home, ignore_errors=True)
