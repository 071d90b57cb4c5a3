"""A real Prefect 3 server on this machine: 100 launches by the `lambda` binary, beside the server's own floor.

The floor is what a worker cannot do without: for each run one request that claims it and one that writes down its task,
by a client that does nothing else, a few at once.
"""

import contextlib
import http.client
import io
import json
import re
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import functions
from prefect_server import server
from prefect_server.rest import Rest

LAUNCHES = 100
ROUNDS = 5
# How many requests at once are best depends on the server's database and processors.
AT_ONCE = (2, 3, 4)
SECONDS = 120
ACCESS = re.compile(r'uvicorn\.access - \S+ - "([A-Z]+) /api(/\S*) HTTP/1\.1" (\d+)')
PID = re.compile(r"/flow_runs/[0-9a-f-]{36}")
LABELS = re.compile(r"/flow_runs/[0-9a-f-]{36}/labels")
# A server on SQLite answers so while its database is locked.
BUSY = "503"
BUSY_SECONDS = 0.1
LOOK_SECONDS = 0.02


class Server:
    """A server whose answers can be read from its log."""

    def __init__(self, url, log):
        self.url, self.log, self.api = url, log, Rest(url)
        self.flow = self.api.post("/flows/", {"name": "bench"})["id"]

    def seeded(self, pool, count=LAUNCHES, due_at=None):
        """Ids of runs of one deployment, in a work pool of their own; due now or at that time."""
        self.api.post("/work_pools/", {"name": pool, "type": "ecs"})
        given = {"name": pool, "flow_id": self.flow, "work_pool_name": pool, "entrypoint": "flows.py:bench"}
        deployment = self.api.post("/deployments/", given)["id"]
        due_at = due_at or datetime.now(timezone.utc)
        due = {"type": "SCHEDULED", "state_details": {"scheduled_time": due_at.isoformat()}}

        def create(_):
            return self.api.post(f"/deployments/{deployment}/create_flow_run", {"state": due})["id"]

        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(create, range(count)))

    @contextlib.contextmanager
    def watched(self):
        """A function that gives what was answered from here on: (method, path, status), oldest first."""
        with self.log.open() as log:
            log.seek(0, io.SEEK_END)
            answered = []

            def answers():
                answered.extend(match.groups() for match in map(ACCESS.search, whole_lines(log)) if match)
                return answered

            yield answers


def whole_lines(log):
    while True:
        at = log.tell()
        line = log.readline()
        if not line.endswith("\n"):
            log.seek(at)
            return
        yield line


@contextlib.contextmanager
def running(**settings):
    """A server with an empty database, which logs every answer."""
    with tempfile.TemporaryDirectory(prefix="prefect3-bench-") as home:
        with server.running(home, PREFECT_SERVER_LOGGING_LEVEL="INFO", **settings) as url:
            yield Server(url, Path(home) / "server.log")


class Connection:
    """A connection that is kept: the cheapest way to ask."""

    def __init__(self, url):
        host, self.prefix = re.fullmatch(r"http://([^/]+)(/.*)", url).groups()
        self.http = http.client.HTTPConnection(host, timeout=30)

    def ask(self, method, path, body):
        while True:
            self.http.request(method, self.prefix + path, json.dumps(body), {"Content-Type": "application/json"})
            answer = self.http.getresponse()
            said = answer.read()
            if answer.status != int(BUSY):
                assert answer.status < 300, f"{method} {path}: {answer.status} {said.decode()}"
                return
            time.sleep(BUSY_SECONDS)


def floor_ms(url, runs, at_once):
    """Milliseconds for claiming these runs and writing down a task for each."""

    def share(number):
        connection = Connection(url)
        for run in runs[number::at_once]:
            connection.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "PENDING", "name": "Pending"}})
            connection.ask("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": f"cluster::task/{run}"})

    started = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(share, range(at_once)))
    return (time.perf_counter() - started) * 1000


def launch(world, prefect, pool, binary):
    """A cold function launches the pool's runs. Milliseconds from its start until the last task is written down, and
    of the whole invocation; what Prefect answered; how much AWS was asked; peak memory in MB."""
    world.ask("reset", {})
    config = {"prefect": 3, "api": prefect.url, "work_pool": pool, "launch_rate": None}
    world.ask("ssm", {"name": f"{functions.ROOT}/config/bench", "value": json.dumps(config)})
    with prefect.watched() as answers, functions.Function(world, binary) as function:
        launched, written = 0, 0
        while not function.api.answers:
            assert time.time() < function.started + SECONDS, f"no answer in {SECONDS} s\n{function.output()[-2000:]}"
            before, written = written, sum(map(is_written, answers()))
            if written > before:
                launched = (time.time() - function.started) * 1000
            time.sleep(LOOK_SECONDS)
        whole = (time.time() - function.started) * 1000
        assert len(function.report()["launched"]) == LAUNCHES, function.output()[-2000:]
        counts = world.ask("counts")
        asked = sum(sum(counts[service].values()) for service in ("ecs", "ec2"))
        return launched, whole, list(answers()), asked, functions.peak_mb(function.process.pid)


def is_written(answer):
    method, path, status = answer
    return method == "PATCH" and PID.fullmatch(path) is not None and status != BUSY


def measure(world, table, binary):
    """In turns, so that what else the machine does hits both alike."""
    floors, ours = {at_once: [] for at_once in AT_ONCE}, []
    with running() as prefect:
        for number in range(ROUNDS):
            for at_once in AT_ONCE:
                runs = prefect.seeded(f"floor-{number}-{at_once}")
                floors[at_once].append(floor_ms(prefect.url, runs, at_once))
            prefect.seeded(f"ours-{number}")
            ours.append(launch(world, prefect, f"ours-{number}", binary))
    floor, at_once = min((statistics.median(times), at_once) for at_once, times in floors.items())
    launched, whole = (statistics.median(one[column] for one in ours) for column in (0, 1))
    ratio = launched / floor
    table.add(
        f"{LAUNCHES} launches, real Prefect 3 server; its floor, {at_once} at once: start → last task written down",
        f"{floor:.0f} ms",
        f"{launched:.0f} ms",
        f"{ratio:.2f} × (≤ 1.5)",
        ratio <= 1.5,
    )
    table.add("  whole invocation, with labels", "", f"{whole:.0f} ms")
    # What a locked database made us repeat is the server's doing.
    paths = [[answer for answer in one[2] if answer[2] != BUSY and not LABELS.fullmatch(answer[1])] for one in ours]
    # Two for each launch, and eleven for all: one of them looks for tasks whose end no event told.
    table.at_most("  requests to Prefect without labels, most", None, max(map(len, paths)), 211, "")
    table.at_most("  requests to ECS and EC2, most", None, max(one[3] for one in ours), 105, "")
    table.at_most(f"  peak memory, largest of {ROUNDS}", None, max(one[4] for one in ours), 25, "MB")
