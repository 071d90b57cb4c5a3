"""Starts and ends a real Prefect 3 server: loopback, SQLite in a directory of its own, no outbound traffic."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(os.environ.get("PSA_TOOLS", ROOT / ".tools"))
BIN = TOOLS / "prefect-3.8/bin"

# A first start migrates an empty database: 7 s on an idle machine, 50 s on a very busy one.
START_SECONDS = 180


def environment(home, **more):
    """What a process of Prefect 3 finds in its environment: nothing of the person who runs it, and no analytics."""
    return {
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "PREFECT_HOME": str(home),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **more,
    }


def container_environment(home):
    """What a process needs that takes the place of a container: what the container's image would bring along."""
    Path(home).mkdir(parents=True, exist_ok=True)
    kept = environment(home)
    del kept["PREFECT_SERVER_ANALYTICS_ENABLED"]
    return kept


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def end(process):
    """Ends a process of ours, gently first."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)


@contextlib.contextmanager
def running(home, *options, port=None, **settings):
    """A server with its database and its log under `home`; the address of its API. Ended with the block."""
    port = port or free_port()
    home = Path(home)
    log = home / "server.log"
    command = [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), *options]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment(home, **settings), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        url = f"http://127.0.0.1:{port}/api"
        _wait(process, url, log)
        yield url
    finally:
        end(process)


def _wait(process, url, log):
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"the Prefect server ended with {process.returncode}:\n{log.read_text()}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the Prefect server did not answer within {START_SECONDS} s:\n{log.read_text()}")
        time.sleep(0.05)
