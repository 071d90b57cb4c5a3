"""The real ECSWorker of Prefect 3 lives in the fake world, with the real server and with the fake one."""

import time

import processes
import pytest
from orders import AUTH_STRING, Prefect3
from prefect_server import seed, server

RUN_SECONDS = 60
CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/default"


@pytest.fixture
def poll(world, tmp_path):
    """Lets the real worker poll a pool once; returns its log."""

    def once(api, pool, *options, **settings):
        return processes.run_worker(world, api, pool, tmp_path, *options, **settings)

    return once


@pytest.fixture
def ecs(world):
    """Changes options of the fake ECS for one test."""
    before = world.ask("ecs")["options"]
    yield lambda **options: world.ask("ecs/options", options)
    world.ask("ecs/options", before)


@pytest.fixture
def pool(api):
    return api.pool()


def names(api, run):
    return [state["name"] for state in api.history(run)]


def task_of(world, run):
    (task,) = [task for task in world.ask("ecs")["tasks"] if tags(task)["prefect.io/flow-run-id"] == run]
    return task


def tags(task):
    return {tag["key"]: tag["value"] for tag in task["tags"]}


def test_due_runs_become_tasks(world, poll, ecs, api, pool):
    # The worker registers one definition for several runs at once, and would wait seconds after each refusal.
    ecs(refuse_concurrent_registrations=False)
    deployment = api.deployment(pool, flow="Etl", job_variables={"cpu": 512, "env": {"COLOUR": "blue"}})
    first, second, early = (api.run(deployment, due_in=due, job_variables={"memory": 1024}) for due in (-5, -5, 5))
    later = api.run(deployment, due_in=600)

    log = poll(api, pool)

    for run in (first, second, early):
        assert names(api, run) == ["Scheduled", "Pending", "Submitting"], log
        row, task = api.read(run), task_of(world, run)
        assert row["infrastructure_pid"] == f"{CLUSTER}::{task['taskArn']}"
        labels = {key: row["labels"].get(f"prefect.{key}") for key in ("worker.name", "worker.type", "work-pool.name")}
        assert labels == {"worker.name": "real worker", "worker.type": "ecs", "work-pool.name": pool}
        assert task["launchType"] == "FARGATE"
        (flow,) = task["overrides"]["containerOverrides"]
        assert (flow["name"], flow["command"]) == ("prefect", ["prefect", "flow-run", "execute"])
        environment = {pair["name"]: pair["value"] for pair in flow["environment"]}
        assert environment["PREFECT__FLOW_RUN_ID"] == run
        assert environment["PREFECT_API_URL"] == api.url
        assert (environment["COLOUR"], environment["PREFECT__FLOW_NAME"]) == ("blue", "Etl")
        assert tags(task)["prefect.io/work-pool-name"] == pool
        assert tags(task)["prefect.io/worker-name"] == "real-worker"
    assert names(api, later) == ["Scheduled"]

    families = {definition["family"] for definition in world.ask("ecs")["definitions"]}
    assert families == {f"prefect_{pool}_{deployment}"}
    definition = world.ask("ecs")["definitions"][0]
    assert (definition["cpu"], definition["memory"]) == ("512", "1024")
    assert definition["containerDefinitions"][0]["image"].startswith(f"prefecthq/prefect:{server.version_of()}-python")
    assert {"ec2 DescribeVpcs", "ec2 DescribeSubnets"} < set(world.requests("ec2", "ecs"))
    assert world.requests("ecs").count("ecs RunTask") == 3

    template = api.get(f"/work_pools/{pool}")["base_job_template"]
    assert set(template) == {"job_configuration", "variables"}, "the worker fills in an empty template"
    (worker,) = api.post(f"/work_pools/{pool}/workers/filter", {})
    assert worker["name"] == "real worker"


# What follows is between the worker and ECS, so that one of the two servers is enough.
@pytest.mark.parametrize("api", ["fake"], indirect=True)
def test_a_definition_is_found_again(world, poll, api, pool):
    deployment = api.deployment(pool, job_variables={"match_latest_revision_in_family": True})
    for _ in range(2):
        api.run(deployment)
        poll(api, pool)
    assert len(world.ask("ecs")["tasks"]) == 2
    assert len(world.ask("ecs")["definitions"]) == 1
    assert world.requests("ecs").count("ecs RegisterTaskDefinition") == 1


@pytest.mark.parametrize("api", ["fake"], indirect=True)
def test_a_refusal_of_ecs_crashes_the_run(world, poll, api, pool):
    run = api.run(api.deployment(pool))
    world.ask("ecs/refuse", {"reason": "RESOURCE:MEMORY"})

    poll(api, pool, PREFECT_INTEGRATIONS_AWS_ECS_WORKER_CREATE_TASK_RUN_MAX_ATTEMPTS="1")

    assert names(api, run) == ["Scheduled", "Pending", "Submitting", "Crashed"]
    assert "RESOURCE:MEMORY" in api.read(run)["state"]["message"]
    assert world.ask("ecs")["tasks"] == []


def test_a_guarded_server(world, poll, guarded):
    token = guarded.get("/csrf-token?client=seed")["token"]
    guarded.headers.update({"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "seed"})
    pool = guarded.pool()
    run = guarded.run(guarded.deployment(pool))

    log = poll(guarded, pool, PREFECT_API_AUTH_STRING=AUTH_STRING)

    assert names(guarded, run)[-1] == "Submitting", log
    (flow,) = task_of(world, run)["overrides"]["containerOverrides"]
    assert {"name": "PREFECT_API_AUTH_STRING", "value": AUTH_STRING} in flow["environment"]


def test_its_tasks_really_run(world, poll, ecs, prefect3_process, tmp_path):
    """What the worker hands to a container is enough for a process on this machine to run the flow."""
    seeded = seed.seed(prefect3_process, "demo-ecs", runs=1)
    (run,) = (one["id"] for one in seeded["flow_runs"])
    api = Prefect3(prefect3_process)
    ecs(containers={"base_env": server.container_environment(tmp_path / "container"), "max_seconds": RUN_SECONDS})

    poll(api, "demo-ecs")

    deadline = time.monotonic() + RUN_SECONDS
    while not (task := task_of(world, run))["lastStatus"] == "STOPPED":
        assert time.monotonic() < deadline, (api.history(run), task["output"])
        time.sleep(0.2)
    assert names(api, run) == ["Scheduled", "Pending", "Submitting", "Running", "Completed"], task["output"]
    assert task["containers"][0]["exitCode"] == 0
    assert api.read(run)["run_count"] == 1
    lines = [log["message"] for log in api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})]
    assert "100 rows of orders, sum 4950" in lines
