"""How soon a run that somebody starts by hand is launched, on a real Prefect 3 server: with the schedule at one minute and the
server `connect`ed, beside the Python worker, which serves a pool of its own in the same run.
"""

import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path

import functions
import processes
import real_server
from orders import Prefect3

COMMAND = Path(os.environ.get("PSA_COMMAND", processes.LAMBDA.with_name("prefect-serverless-agent")))
RUNS = 20
# The worker looks every ten seconds.
RUNS_OF_WORKER = 10
EVERY_SECONDS = 60
SECONDS = 90
LOOK_SECONDS = 0.02
P50_MS, P95_MS = 1000, 2000


def launched_after(world, api, deployment):
    """Seconds from the request that makes a run due until its RunTask came to ECS."""
    world.ask("journal/clear", {})
    began = time.time()
    run = api.post(f"/deployments/{deployment}/create_flow_run", {})["id"]
    while True:
        for request in world.ask("journal?service=ecs&operation=RunTask")["requests"]:
            if run in request["body"]:
                return request["at_epoch_ms"] / 1000 - began
        assert time.time() < began + SECONDS, f"{run} was not launched within {SECONDS} s"
        time.sleep(LOOK_SECONDS)


def p95(times):
    return sorted(times)[math.ceil(0.95 * len(times)) - 1]


def measure(world, table, binary):
    world.ask("reset", {})
    # The worker registers one definition for several runs at once, and would wait seconds after each refusal.
    world.ask("ecs/options", {"refuse_concurrent_registrations": False})
    ours, theirs = [], []
    with real_server.running() as prefect, tempfile.TemporaryDirectory() as home:
        api = Prefect3(prefect.url)
        pool, other = api.pool(), api.pool()
        config = {"prefect": 3, "api": api.url, "work_pool": pool}
        world.ask("ssm", {"name": f"{functions.ROOT}/config/bench", "value": json.dumps(config)})
        with functions.Poked(world, binary, EVERY_SECONDS) as poked, processes.running_worker(world, api, other, home):
            functions.connect(world, COMMAND, "--url", poked.url)
            deployment, of_worker = api.deployment(pool), api.deployment(other)
            # The first run of each is cold.
            for one in (deployment, of_worker):
                launched_after(world, api, one)
            # In turns, so that what else the machine does hits both alike.
            for number in range(RUNS):
                ours.append(launched_after(world, api, deployment))
                if number % (RUNS // RUNS_OF_WORKER) == 0:
                    theirs.append(launched_after(world, api, of_worker))
    for name, of, limit in (("p50", statistics.median, P50_MS), ("p95", p95, P95_MS)):
        python, own = (round(of(times) * 1000) for times in (theirs, ours))
        table.at_most(f"create_flow_run → RunTask, connected, {name} of {RUNS}", python, own, limit, "ms")
