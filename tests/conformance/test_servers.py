"""Real servers of the lines of Prefect 2 and 3 that are supported, old and new: the `lambda` binary launches runs of real
flows, and the containers are processes on this machine."""

import time

import functions
import processes
import pytest
from orders import Prefect3
from prefect_server import server
from prefect_server.seed import source

# Which rules hold for a line, and what a flow's image needs in addition.
LINES = {
    # Its images do not know `prefect flow-run execute`.
    "2.10": {"prefect": 2, "worker_env": {"PREFECT_EXPERIMENTAL_ENABLE_ENHANCED_CANCELLATION": False}},
    "2.20": {"prefect": 2},
    "3.8": {"prefect": 3},
    server.NEWEST: {"prefect": 3},
}
OVERRIDES = {"image": "x:1", "cpu": 512, "memory": 1024, "env": {"STAGE": "prod"}}
# A flow's process takes five seconds on an idle machine.
ENDS_SECONDS = 120
# A flow looks for its cancellation every ten seconds. Where it does not, it lives until `cancel_grace_seconds` are over.
CANCEL_SECONDS = 60
GRACE_SECONDS = 90


class Served:
    """A server, and an agent for a pool of it."""

    def __init__(self, line, api, world):
        self.line, self.api, self.world = line, api, world
        self.pool = api.pool()
        config = {"api": api.url, "work_pool": self.pool, "cancel_grace_seconds": GRACE_SECONDS, **LINES[line]}
        self.start = functions.deployed(world, "flows", config, processes.LAMBDA)

    def run(self, flow, **overrides):
        """A due run of a deployment with these job variables; its id."""
        name = "infra_overrides" if LINES[self.line]["prefect"] == 2 else "job_variables"
        return self.api.run(self.api.deployment(self.pool, flow, **source(flow), **{name: overrides}))

    def wait(self, run, state):
        """Waits until a run is in a state and, if that is its end, its task has stopped; the task."""
        deadline = time.monotonic() + ENDS_SECONDS
        while True:
            row = self.api.read(run)
            (task,) = self.world.ask("ecs")["tasks"]
            if row["state_type"] == state and (state == "RUNNING" or task["lastStatus"] == "STOPPED"):
                return task
            ended = task["lastStatus"] == "STOPPED" or time.monotonic() > deadline
            assert not ended, f"{row['state']}\n{task['output']}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def address(request, tmp_path_factory):
    """Of the API of a server of this line."""
    if request.param == server.NEWEST:
        yield request.param, request.getfixturevalue("prefect3_process")
        return
    with server.running(tmp_path_factory.mktemp("server"), line=request.param) as url:
        yield request.param, url


@pytest.fixture
def served(address, world, tmp_path):
    line, url = address
    before = world.ask("ecs")["options"]
    image = server.container_environment(tmp_path / "container", line)
    world.ask("ecs/options", {"containers": {"base_env": image, "max_seconds": ENDS_SECONDS}})
    yield Served(line, Prefect3(url, version=server.version_of(line)), world)
    world.ask("ecs/options", before)


@pytest.mark.parametrize("address", LINES, indirect=True)
def test_a_run_completes_with_its_overrides(served, world):
    api = served.api
    assert api.get("/admin/version") == api.version
    run = served.run("staged", **OVERRIDES)

    with served.start() as function:
        assert [one["flow_run_id"] for one in function.report()["launched"]] == [run]
        task = served.wait(run, "COMPLETED")

    names = [state["name"] for state in api.history(run)]
    assert (names[0], names[1], names[-1]) == ("Scheduled", "Pending", "Completed"), names
    (definition,) = world.ask("ecs")["definitions"]
    (container,) = definition["containerDefinitions"]
    assert (container["image"], definition["cpu"], definition["memory"]) == ("x:1", "512", "1024")
    assert task["containers"][0]["exitCode"] == 0
    lines = [log["message"] for log in api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})]
    assert "this is the stage prod" in lines


@pytest.mark.parametrize("address", ["2.20", server.NEWEST], indirect=True)
def test_a_running_flow_that_is_cancelled_ends_by_itself_and_cleans_up(served, tmp_path):
    cleaned_up = tmp_path / "cleaned up"
    run = served.run("patient", env={"CLEANED_UP": str(cleaned_up)})
    with served.start() as function:
        function.report()
        served.wait(run, "RUNNING")
        served.api.propose(run, "CANCELLING")
        began = time.monotonic()
        function.poll_again()
        task = served.wait(run, "CANCELLED")
    took = time.monotonic() - began
    print(f"{served.line}: cancelled after {took:.1f} s")
    assert took < CANCEL_SECONDS
    assert cleaned_up.exists(), task["output"]
    assert task["containers"][0]["exitCode"] != 137 and task["stopCode"] == "EssentialContainerExited", task
