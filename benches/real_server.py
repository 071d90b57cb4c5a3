"""A real Prefect 3 server on this machine: 100 launches by the `lambda` binary, beside the server's own floor.

The floor is what a worker cannot do without: for each run one request that claims it and one that writes down its task,
by a client that does nothing else, a few at once.
"""

import contextlib
import http.client
import io
import json
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import functions
from prefect3 import server
from prefect3.rest import Rest

LAUNCHES = 100
ROUNDS = 3
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

    def seeded(self, pool):
        """Ids of due runs of one deployment, in a work pool of their own."""
        self.api.post("/work_pools/", {"name": pool, "type": "ecs"})
        given = {"name": pool, "flow_id": self.flow, "work_pool_name": pool, "entrypoint": "flows.py:bench"}
        deployment = self.api.post("/deployments/", given)["id"]
        due = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(timezone.utc).isoformat()}}

        def create(_):
            return self.api.post(f"/deployments/{deployment}/create_flow_run", {"state": due})["id"]

        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(create, range(LAUNCHES)))

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
def running():
    """A server with an empty database, which logs every answer."""
    with tempfile.TemporaryDirectory(prefix="prefect3-bench-") as home:
        with server.running(home, PREFECT_SERVER_LOGGING_LEVEL="INFO") as url:
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
        deadline = time.time() + SECONDS
        while sum(is_done(PID, "PATCH", answer) for answer in answers()) < LAUNCHES:
            assert time.time() < deadline, f"not launched in {SECONDS} s\n{function.output()}"
            time.sleep(LOOK_SECONDS)
        launched = (time.time() - function.started) * 1000
        report = function.report()
        whole = (time.time() - function.started) * 1000
        assert len(report["launched"]) == LAUNCHES, report
        counts = world.ask("counts")
        asked = sum(sum(counts[service].values()) for service in ("ecs", "ec2"))
        return launched, whole, list(answers()), asked, functions.peak_mb(function.process.pid)


def is_done(path, method, answer):
    return answer[0] == method and path.fullmatch(answer[1]) and answer[2] != BUSY


def measure(world, table, binary):
    """Alternately, so that what else the machine does hits both alike."""
    rounds = []
    with running() as prefect:
        for number in range(ROUNDS):
            floors = {}
            for at_once in AT_ONCE:
                runs = prefect.seeded(f"floor-{number}-{at_once}")
                floors[at_once] = floor_ms(prefect.url, runs, at_once)
            prefect.seeded(f"ours-{number}")
            best = min(floors, key=floors.get)
            rounds.append((floors[best], best, *launch(world, prefect, f"ours-{number}", binary)))
    show(table, sorted(rounds, key=lambda one: one[2] / one[0])[ROUNDS // 2])
    table.at_most(f"  peak memory, largest of {ROUNDS}", None, max(one[-1] for one in rounds), 25, "MB")


def show(table, median):
    floor, at_once, launched, whole, answers, asked, _ = median
    case = f"{LAUNCHES} launches, a real Prefect 3 server"
    ratio = launched / floor
    table.add(
        f"{case}: start → last task written down; floor: claims and tasks alone, {at_once} at once",
        f"{floor:.0f} ms",
        f"{launched:.0f} ms",
        f"{ratio:.2f} × (≤ 1.5)",
        ratio <= 1.5,
    )
    table.add("  whole invocation, with labels", "", f"{whole:.0f} ms")
    busy = sum(answer[2] == BUSY for answer in answers)
    path = [answer for answer in answers if answer[2] != BUSY and not LABELS.fullmatch(answer[1])]
    table.at_most(f"  requests to Prefect without labels ({busy} times its database was locked)", None, len(path), 210, "")
    table.at_most("  requests to ECS and EC2", None, asked, 105, "")
