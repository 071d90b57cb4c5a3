"""A real Prefect 3 server on this machine: 100 launches by the `lambda` binary, beside the server's own floor.

The floor is what a worker cannot do without: for each run one request that claims it and one that writes down its task,
by a client that does nothing else, a few at once.
"""

import contextlib
import http.client
import json
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import functions
from prefect3 import server
from prefect3.rest import Rest

AT_ONCE = (2, 3, 4)
SECONDS = 120
ACCESS = re.compile(r'uvicorn\.access - \S+ - "([A-Z]+) /api(/\S*) HTTP/1\.1" (\d+)')
PID = re.compile(r"/flow_runs/[0-9a-f-]{36}")
LABELS = re.compile(r"/flow_runs/[0-9a-f-]{36}/labels")
# A server on SQLite answers 503 while its database is locked.
BUSY_SECONDS = 0.1


class Server:
    """A server whose requests can be read from its log."""

    def __init__(self, url, log):
        self.url, self.log, self.api = url, log, Rest(url)
        self.flow = self.api.post("/flows/", {"name": "bench"})["id"]

    def seeded(self, pool, runs):
        """Ids of due runs of one deployment, in a pool of their own."""
        self.api.post("/work_pools/", {"name": pool, "type": "ecs"})
        given = {"name": pool, "flow_id": self.flow, "work_pool_name": pool, "entrypoint": "flows.py:bench"}
        deployment = self.api.post("/deployments/", given)["id"]
        due = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(timezone.utc).isoformat()}}
        create = lambda _: self.api.post(f"/deployments/{deployment}/create_flow_run", {"state": due})["id"]
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(create, range(runs)))

    @contextlib.contextmanager
    def watched(self):
        """Yields a function that gives the answered requests from here on, as (method, path, status)."""
        with self.log.open() as log:
            log.seek(0, 2)
            seen = []

            def requests():
                seen.extend(match.groups() for match in map(ACCESS.search, log.read().splitlines()) if match)
                return seen

            yield requests


class Connection:
    """A connection that is kept, and the cheapest way to use it."""

    def __init__(self, url):
        host, self.prefix = re.fullmatch(r"http://([^/]+)(/.*)", url).groups()
        self.http = http.client.HTTPConnection(host, timeout=30)

    def ask(self, method, path, body):
        while True:
            self.http.request(method, self.prefix + path, json.dumps(body), {"Content-Type": "application/json"})
            answer = self.http.getresponse()
            said = answer.read()
            if answer.status != 503:
                assert answer.status < 300, f"{method} {path}: {answer.status} {said.decode()}"
                return
            time.sleep(BUSY_SECONDS)


def floor_ms(url, ids, at_once):
    """Milliseconds for claiming these runs and writing down their tasks."""

    def share(number):
        connection = Connection(url)
        for run in ids[number::at_once]:
            connection.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "PENDING", "name": "Pending"}})
            connection.ask("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": f"cluster::task/{run}"})

    started = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(share, range(at_once)))
    return (time.perf_counter() - started) * 1000


def launches(world, prefect, pool, runs, binary):
    """A cold function launches the pool's runs: milliseconds from its start to the last run's task being written down,
    and of the whole invocation; its requests to Prefect without labels, and to AWS; its peak memory."""
    world.ask("reset", {})
    config = {"prefect": 3, "api": prefect.url, "work_pool": pool, "launch_rate": None}
    world.ask("ssm", {"name": f"{functions.ROOT}/config/bench", "value": json.dumps(config)})
    with prefect.watched() as requests, functions.Function(world, binary) as function:
        deadline = time.time() + SECONDS
        while sum(method == "PATCH" and bool(PID.fullmatch(path)) for method, path, _ in requests()) < runs:
            assert time.time() < deadline, f"not launched in {SECONDS} s\n{function.output()}"
            time.sleep(0.01)
        launched = (time.time() - function.started) * 1000
        report = function.report()
        whole = (time.time() - function.started) * 1000
        peak = functions.peak_mb(function.process.pid)
        asked = [one for one in requests() if not LABELS.fullmatch(one[1])]
    assert len(report["launched"]) == runs, report
    counts = world.ask("counts")
    return launched, whole, len(asked), sum(sum(counts[one].values()) for one in ("ecs", "ec2")), peak


@contextlib.contextmanager
def running():
    with tempfile.TemporaryDirectory(prefix="prefect3-bench-") as home:
        with server.running(home, PREFECT_SERVER_LOGGING_LEVEL="INFO") as url:
            yield Server(url, Path(home) / "server.log")
