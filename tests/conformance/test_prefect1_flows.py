"""Real flows of Prefect 0.15.0 and 1.4.1: the `lambda` binary launches them, and their own `prefect execute flow-run`
runs with exactly the environment of the task."""

import json
import os
import subprocess
import time

import functions
import processes
import pytest

AGENT = "etl"
KEY = "pcu_fakekey"
# A flow's process takes three seconds on an idle machine.
ENDS_SECONDS = 90
SCRIPTS = processes.ROOT / "scripts/prefect1"


@pytest.fixture
def environment(version):
    """The bin folder of the real Prefect."""
    return processes.PREFECT1[version] / "bin"


@pytest.fixture
def deployed(version, environment, world, tmp_path):
    """Lets the task's containers be processes with that Prefect, and schedules its flows; launched by the real binary."""
    described = subprocess.run(
        [environment / "python", SCRIPTS / "describe.py"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=processes.AGENT_SECONDS,
    )
    assert described.returncode == 0, described.stderr
    flows = json.loads(described.stdout)
    before = world.ask("ecs")["options"]
    image = {"PATH": f"{environment}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    world.ask("ecs/options", {"containers": {"base_env": image, "max_seconds": ENDS_SECONDS, "at_once": 2}})
    config = {"prefect": {"0.15.0": "0.15", "1.4.1": 1}[version], "api": world.prefect1, "labels": ["etl"], "launch_rate": None}
    config["execution_role_arn"] = "arn:aws:iam::123456789012:role/flows-execution"
    world.ask("ssm", {"name": f"{functions.ROOT}/config/{AGENT}", "value": json.dumps(config)})
    world.ask("ssm", {"name": f"{functions.ROOT}/secrets/{AGENT}/api-key", "value": KEY, "type": "SecureString"})

    def schedule(name, **spec):
        flow = flows[name]
        tasks = [{**task, "state": "Pending"} for task in flow.pop("tasks")]
        return world.create(labels=["etl"], flow={"name": name, **flow}, task_runs=tasks, **spec)

    yield schedule
    world.ask("ecs/options", before)


def poll(world):
    """One poll, cold; its report."""
    function = functions.Function(world, processes.LAMBDA)
    try:
        return function.report()
    finally:
        function.kill()


def wait(world, run_id, state):
    """Waits until a flow run is in a state and its task, if that is an end, has stopped."""
    deadline = time.monotonic() + ENDS_SECONDS
    while True:
        run = world.run(run_id)
        (task,) = [task for task in world.ask("ecs")["tasks"] if task["startedBy"] == f"prefect/{AGENT}/{run_id}"]
        if run["state"] == state and (state == "Running" or task["lastStatus"] == "STOPPED"):
            return run, task
        ended = task["lastStatus"] == "STOPPED" or time.monotonic() > deadline
        assert not ended, f"{run['state']}: {run['state_message']}\n{messages(run)}\n{task['output']}"
        time.sleep(0.2)


def messages(run):
    return [log["message"] for log in run["logs"]]


def history(run):
    return [state["state"] for state in run["states"]]


def exit_code(task):
    (container,) = task["containers"]
    return container["exitCode"]


def test_flows_run_to_their_ends(world, deployed):
    etl = deployed("etl", parameters={"rows": 4})
    patient, fragile = deployed("patient"), deployed("fragile")

    report = poll(world)

    assert {launched["flow_run_id"] for launched in report["launched"]} == {etl, patient, fragile}
    run, task = wait(world, etl, "Success")
    assert history(run) == ["Scheduled", "Submitted", "Running", "Success"]
    assert exit_code(task) == 0
    assert "loaded 4 rows, sum 12" in messages(run), "its log reaches Prefect"
    children = [one for one in run["task_runs"] if one["map_index"] >= 0]
    assert [child["state"] for child in children] == ["Success"] * 4, "one task run for each row"
    run, _ = wait(world, patient, "Success")
    assert [one["state"] for one in run["task_runs"]] == ["Success"]
    run, task = wait(world, fragile, "Failed")
    assert run["state_message"] == "Some reference tasks failed."
    assert exit_code(task) == 0, "a flow that fails is no container that fails"
    assert len(world.ask("ecs")["tasks"]) == 3


def test_the_key_reaches_the_flow(world, deployed):
    run_id = deployed("fragile")
    poll(world)
    wait(world, run_id, "Failed")
    beats = [one for one in world.ask("journal?service=prefect1")["requests"] if "update_flow_run_heartbeat" in one["body"]]
    assert beats, "the flow's process asks the API by itself"
    for beat in beats:
        assert dict(beat["headers"])["authorization"] == f"Bearer {KEY}"


def test_a_cancelled_flow_ends_itself(world, deployed):
    run_config = {"type": "UniversalRun", "env": {"PREFECT__CLOUD__CHECK_CANCELLATION_INTERVAL": "1"}, "__version__": "1.0.0"}
    run_id = deployed("long", run_config=run_config)
    poll(world)
    wait(world, run_id, "Running")

    world.ask("prefect1/set_state", {"id": run_id, "state": {"type": "Cancelling", "message": "Flow run cancelling."}})

    run, task = wait(world, run_id, "Cancelled")
    assert exit_code(task) == 0, "nobody had to stop its task"
    assert run["state_message"] == "Flow run is cancelled"
