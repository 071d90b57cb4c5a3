"""A real Prefect server with a work pool of type `ecs`, deployed flows and due flow runs.

    scripts/prefect-server.sh --runs 7

prints one line of JSON when all is there, and serves until its standard input ends or it is told to stop. Nothing
remains: database and log live in a temporary directory unless `--home` names one.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from prefect_server import server  # noqa: E402
from prefect_server.seed import seed  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/prefect-server.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="how many flow runs are scheduled (default 7)")
    parser.add_argument("--pool", default="demo-ecs", help="name of the work pool (default demo-ecs)")
    parser.add_argument("--port", type=int, help="of the server; default: a free one")
    parser.add_argument("--home", type=Path, help="where the server keeps its database; default: a temporary directory")
    return parser.parse_args()


def serve(given, home):
    port = given.port or server.free_port()
    address = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    with server.running(home, port=port, PREFECT_UI_API_URL=f"{address}/api") as url:
        started = time.monotonic()
        seeded = seed(url, given.pool, given.runs)
        ready = {
            "api": url,
            "ui": address,
            "log": str(home / "server.log"),
            **seeded,
            "container_environment": server.container_environment(home / "container"),
            "start_ms": round((started - began) * 1000),
            "seed_ms": round((time.monotonic() - started) * 1000),
        }
        print(json.dumps(ready), flush=True)
        # Whoever started this holds the other end: when they are gone, so is the server.
        while sys.stdin.buffer.read1(4096):
            pass


def stop(*_):
    # Once: whatever comes while the server ends must not leave it behind.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(0)


def main():
    given = arguments()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if given.home:
        given.home.mkdir(parents=True, exist_ok=True)
        serve(given, given.home.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="prefect-server-") as home:
        serve(given, Path(home))


main()
