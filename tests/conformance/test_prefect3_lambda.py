"""The `lambda` binary itself: beside a real worker of Prefect 3, and killed at any moment while it polls a real server."""

import os
import random
import threading
import time
from collections import Counter

import functions
import processes
import pytest

AGENT = "etl"
CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/default"
# `KILLS=500 KILLS_FROM=1`: so many rounds, of which the first has this number. A number says when the process is killed.
KILLS = int(os.environ.get("KILLS", "6"))
KILLS_FROM = int(os.environ.get("KILLS_FROM", "1"))
KILLED_RUNS = 20
# From the start of a process to the end of its poll, on a machine that has nothing else to do.
POLL_SECONDS = 1.2
ORPHAN_SECONDS = 1
# One poll finishes what was claimed and launches what was not; one more if the claim was too young to be looked after.
POLLS = 3
SHARED_RUNS = 100
SHARED_SECONDS = 120


@pytest.fixture
def function(world, api):
    """Makes processes of the `poll` function, whose one agent serves a pool."""

    def configure(pool, **config):
        given = {"prefect": 3, "api": api.url, "work_pool": pool, "launch_rate": None, **config}
        return functions.deployed(world, AGENT, given, processes.LAMBDA)

    return configure


def seeded(api, pool, count, deployment=None):
    """Due runs of one deployment."""
    deployment = deployment or api.deployment(pool)
    return [api.run(deployment) for _ in range(count)]


def tasks_by_run(world):
    """ARNs of the tasks of each run, whoever launched them, and how many were ours."""
    tasks, ours = {}, 0
    for task in world.ask("ecs")["tasks"]:
        tags = {tag["key"]: tag["value"] for tag in task["tags"]}
        tasks.setdefault(tags["prefect.io/flow-run-id"], []).append(task["taskArn"])
        ours += (task.get("startedBy") or "").startswith(f"prefect/{AGENT}/")
    return tasks, ours


def not_launched_once(world, api, runs):
    """What is not as it should be: each run has one task, and Prefect knows it. A worker crashes a run when the server is
    busy at the wrong moment; that is its own doing, and nobody launches such a run."""
    tasks, _ = tasks_by_run(world)
    wrong = []
    for run in runs:
        row, its = api.read(run), tasks.get(run, [])
        if row["state_type"] == "CRASHED" and "PrefectHTTPStatusError" in row["state"]["message"] and not its:
            continue
        if row["state_type"] != "PENDING" or [row["infrastructure_pid"]] != [f"{CLUSTER}::{task}" for task in its]:
            state = f"{row['state_name']} ({row['state']['message']})"
            wrong.append(f"{run} is {state}, its tasks are {its}, written down is {row['infrastructure_pid']}")
    return wrong


def test_a_worker_and_this_agent_on_one_pool_launch_every_run_once(world, api, function, tmp_path):
    before = world.ask("ecs")["options"]
    # The worker registers one definition for several runs at once, and would wait seconds after each refusal.
    world.ask("ecs/options", {"refuse_concurrent_registrations": False})
    pool = api.pool()
    deployment = api.deployment(pool)
    settings = {"PREFECT_WORKER_QUERY_SECONDS": "1.5", "PREFECT_WORKER_PREFETCH_SECONDS": "10"}
    start, runs = function(pool), []

    def seed():
        # A few at a time, so that both find some.
        while len(runs) < SHARED_RUNS:
            runs.extend(seeded(api, pool, 19, deployment))
            time.sleep(1)

    try:
        with processes.running_worker(world, api, pool, tmp_path, **settings) as log:
            runs.extend(seeded(api, pool, 5, deployment))
            wait_for(lambda: world.ask("ecs")["tasks"], f"the worker launches nothing:\n{log()}")
            feeder = threading.Thread(target=seed)
            feeder.start()
            with start() as ours:
                ours.answer()
                deadline = time.monotonic() + SHARED_SECONDS
                while feeder.is_alive() or api.due(pool):
                    assert time.monotonic() < deadline, f"not all runs were taken\n{log()[-4000:]}"
                    # A poll may say that this server's database was locked too long: it is asked by four at once.
                    ours.invoke()
            feeder.join(timeout=10)
            # What the worker has claimed it launches.
            wait_for(lambda: not not_launched_once(world, api, runs), lambda: not_launched_once(world, api, runs))
    finally:
        world.ask("ecs/options", before)
    tasks, launched = tasks_by_run(world)
    all_tasks = sum(map(len, tasks.values()))
    assert len(tasks) == all_tasks, "no run has two"
    print(f"{len(runs)} runs: {launched} launched by us, {all_tasks - launched} by the worker")
    assert 0 < launched < all_tasks <= len(runs), "both took part"


def wait_for(condition, otherwise):
    deadline = time.monotonic() + SHARED_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise() if callable(otherwise) else otherwise
        time.sleep(0.1)


@pytest.mark.parametrize("api", ["real"], indirect=True)
def test_a_process_killed_at_any_moment_launches_every_run_once(world, api, function):
    polls = Counter()
    for number in range(KILLS_FROM, KILLS_FROM + KILLS):
        world.ask("reset", {})
        chance = random.Random(number)
        pool = api.pool()
        runs = seeded(api, pool, KILLED_RUNS)
        start = function(pool, orphan_after_seconds=ORPHAN_SECONDS, prefect_labels=False)
        for _ in range(chance.choice((1, 1, 2))):
            with start() as killed:
                # The later the process is, the more there is to break.
                time.sleep(chance.uniform(0, POLL_SECONDS))
                killed.kill()
        polls[in_order(world, api, start, runs, number)] += 1
    print(f"{KILLS} rounds of {KILLED_RUNS} runs; polls to bring all in order: {dict(polls)}")


def in_order(world, api, start, runs, number):
    """Polls until every run is launched; how many it took."""
    with start() as function:
        for poll in range(1, POLLS + 1):
            time.sleep(ORPHAN_SECONDS)
            function.report() if poll == 1 else function.poll_again()
            wrong = not_launched_once(world, api, runs)
            if not wrong:
                return poll
    raise AssertionError(f"round {number} (KILLS=1 KILLS_FROM={number}):\n" + "\n".join(wrong))
