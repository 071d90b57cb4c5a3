"""Starts and ends a real Prefect server: loopback, SQLite in a directory of its own, no outbound traffic."""

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
# What is meant where nobody says which Prefect.
NEWEST = "3.9"

# A first start migrates an empty database: 7 s on an idle machine, 50 s on a very busy one.
START_SECONDS = 180


def bin_of(line=NEWEST):
    """Where the programs of a Prefect are, e.g. of 2.20: scripts/tools.sh installs it as `prefect-2.20`."""
    return TOOLS / f"prefect-{line}/bin"


def version_of(line=NEWEST):
    """The version that is installed, e.g. 2.20.27."""
    pins = (ROOT / f"scripts/requirements/prefect-{line}.txt").read_text().splitlines()
    (version,) = (pin.removeprefix("prefect==") for pin in pins if pin.startswith("prefect=="))
    return version


def environment(home, line=NEWEST, **more):
    """What a process of Prefect finds in its environment: nothing of the person who runs it, and no analytics."""
    return {
        "PATH": f"{bin_of(line)}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "PREFECT_HOME": str(home),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **more,
    }


def container_environment(home, line=NEWEST):
    """What a process needs that takes the place of a container: what the container's image would bring along."""
    Path(home).mkdir(parents=True, exist_ok=True)
    kept = environment(home, line)
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
def running(home, *options, line=NEWEST, port=None, **settings):
    """A server with its database and its log under `home`; the address of its API. Ended with the block."""
    port = port or free_port()
    home = Path(home)
    log = home / "server.log"
    command = [bin_of(line) / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), *options]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=environment(home, line, **settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}/api"
        _wait(process, url, log)
        yield url
    finally:
        end(process)
        # The command of 2.10 has the server in a process of its own, which it may leave behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


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
