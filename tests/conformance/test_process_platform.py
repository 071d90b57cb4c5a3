"""`start --platform process`: real flows of Prefect 0.15.0, 1.4.1 and 3 as processes of this machine, without any AWS."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import processes
import pytest
from orders import Prefect3
from prefect_server.server import bin_of

COMMAND = processes.WORLD.resolve().with_name("prefect-serverless-agent")
SCRIPTS = processes.ROOT / "scripts/prefect1"
ENDS_SECONDS = 90


class Agent:
    """The command, started with a configuration of its own."""

    def __init__(self, home, path, config, **environment):
        self.file = home / "etl.yaml"
        self.file.write_text(json.dumps(config))
        self.log = home / "agent.log"
        self.environment = {"PATH": f"{path}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home), **environment}
        self.process = None

    def start(self):
        command = [COMMAND, "start", "--config", self.file, "--platform", "process", "--json"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.file.parent, env=self.environment, stdout=subprocess.DEVNULL, stderr=log
            )

    def kill(self):
        """Without a chance to say anything."""
        self.process.kill()
        self.process.wait(timeout=10)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()

    def said(self):
        return self.log.read_text()


@contextlib.contextmanager
def started(agent):
    agent.start()
    try:
        yield agent
    finally:
        agent.end()


def eventually(look, agent, what):
    deadline = time.monotonic() + ENDS_SECONDS
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}\n{agent.said()}"
        assert agent.process.poll() is None, f"the agent ended with {agent.process.returncode}\n{agent.said()}"
        time.sleep(0.2)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# Prefect 0.15 and 1.


@pytest.fixture
def local(version, world, tmp_path):
    """An agent of that Prefect, and what schedules its flows with a `LocalRun`."""
    path = processes.PREFECT1[version] / "bin"
    described = subprocess.run(
        [path / "python", SCRIPTS / "describe.py"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=processes.AGENT_SECONDS,
    )
    assert described.returncode == 0, described.stderr
    flows = json.loads(described.stdout)
    labels = ["etl", socket.gethostname()]

    def schedule(name, **run_config):
        flow = flows[name]
        flow["run_config"] = {"type": "LocalRun", "labels": labels, "env": None, "working_dir": None, **run_config}
        tasks = [{**task, "state": "Pending"} for task in flow.pop("tasks")]
        return world.create(labels=labels, flow={"name": name, **flow}, task_runs=tasks)

    config = {"prefect": {"0.15.0": "0.15", "1.4.1": 1}[version], "api": world.prefect1, "labels": ["etl"]}
    agent = Agent(tmp_path, path, config, PREFECT__CLOUD__API_KEY="pcu_fakekey", PREFECT__USER_CONFIG_PATH="/none")
    return agent, schedule


def ended(world, run_id, *states):
    def look():
        run = world.run(run_id)
        return run if run["state"] in states else None

    return look


def logged(world, run_id, text):
    return lambda: any(text in log["message"] for log in world.run(run_id)["logs"])


def test_flows_with_a_local_run_run_to_their_ends(world, local):
    agent, schedule = local
    etl, fragile = schedule("etl"), schedule("fragile", env={"SOME": "value"})
    with started(agent):
        run = eventually(ended(world, etl, "Success"), agent, "etl")
        assert [state["state"] for state in run["states"]] == ["Scheduled", "Submitted", "Running", "Success"]
        lines = [log["message"] for log in run["logs"]]
        assert any(line.startswith("Submitted for execution: PID: ") for line in lines), lines
        # A flow of Prefect 1 sends its last lines when its process exits, which is after its last state.
        eventually(logged(world, etl, "loaded 3 rows"), agent, "its lines reach Prefect")
        eventually(ended(world, fragile, "Failed"), agent, "fragile")


def test_what_no_local_agent_runs_fails_with_the_reason(world, local, tmp_path):
    agent, schedule = local
    nowhere = schedule("etl", working_dir=str(tmp_path / "nowhere"))
    with started(agent):
        run = eventually(ended(world, nowhere, "Failed"), agent, "nowhere")
        assert "nonexistent `working_dir` configured" in run["state_message"]


# Prefect 3.

FLOW = '''
import os, sys, time
from pathlib import Path
from prefect import flow

@flow(log_prints=True)
def hello(name="you"):
    print(f"hello {name} from {os.environ['GREETER']} in {Path.cwd().name}")

@flow
def patient(flag):
    Path(flag).write_text(str(os.getpid()))
    while True:
        time.sleep(0.1)

@flow
def dies():
    os._exit(7)
'''


@pytest.fixture
def server(prefect3_process):
    return Prefect3(prefect3_process)


@pytest.fixture
def pool(server, tmp_path):
    """An agent that serves a new `process` pool, and what schedules flows there."""
    (tmp_path / "flows.py").write_text(FLOW)
    name = server.pool(type="process")
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(tmp_path)}}

    def schedule(flow, parameters=None, **job_variables):
        deployment = server.deployment(
            name, flow, entrypoint=f"flows.py:{flow}", path=".", pull_steps=[step],
            job_variables={"env": {"GREETER": "laptop"}, **job_variables}, enforce_parameter_schema=False,
        )  # fmt: skip
        return server.run(deployment, parameters=parameters or {})

    config = {"prefect": 3, "api": server.url, "work_pool": name, "cancel_grace_seconds": 1}
    settings = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2"}
    return Agent(tmp_path, bin_of(), config, **settings), schedule


def in_state(server, run_id, *types):
    def look():
        run = server.read(run_id)
        return run if run["state_type"] in types else None

    return look


def test_a_flow_of_a_process_pool_completes_and_names_its_process(server, pool, tmp_path):
    agent, schedule = pool
    run_id = schedule("hello", {"name": "Ada"}, working_dir=str(tmp_path))
    with started(agent):
        run = eventually(in_state(server, run_id, "COMPLETED"), agent, "hello")
        eventually(lambda: "hello Ada from laptop" in agent.said(), agent, "its output is streamed")
    host, pid = run["infrastructure_pid"].rsplit(":", 1)
    assert (host, pid.isdigit()) == (socket.gethostname(), True)
    warnings = [line for line in agent.said().splitlines() if '"WARN"' in line]
    assert not warnings, warnings


def test_a_process_that_dies_is_told(server, pool):
    agent, schedule = pool
    dies, never_starts = schedule("dies"), schedule("hello", command="/no/such/program --at-all")
    with started(agent):
        run = eventually(in_state(server, never_starts, "CRASHED"), agent, "never starts")
        assert "/no/such/program: No such file or directory" in run["state"]["message"]
        eventually(in_state(server, dies, "CRASHED"), agent, "dies")


def test_an_agent_that_is_killed_and_started_again_finds_its_own(server, pool, tmp_path):
    agent, schedule = pool
    flag = tmp_path / "flag"
    run_id = schedule("patient", {"flag": str(flag)}, command="python -m prefect.engine")
    with started(agent):
        eventually(lambda: flag.exists() and flag.read_text(), agent, "the flow begins")
        pid = int(flag.read_text())
        agent.kill()
        assert is_alive(pid), "a flow outlives its agent"
        os.kill(pid, signal.SIGKILL)
        agent.start()
        run = eventually(in_state(server, run_id, "CRASHED"), agent, "its death is told")
        assert "ended by signal 9" in run["state"]["message"], run["state"]
    history = [state["name"] for state in server.history(run_id)]
    assert history.count("Running") == 1, history


def test_a_cancelled_flow_is_stopped(server, pool, tmp_path):
    agent, schedule = pool
    flag = tmp_path / "flag"
    run_id = schedule("patient", {"flag": str(flag)}, command="python -m prefect.engine")
    with started(agent):
        eventually(lambda: flag.exists() and flag.read_text(), agent, "the flow begins")
        pid = int(flag.read_text())
        server.propose(run_id, "CANCELLING")
        run = eventually(in_state(server, run_id, "CANCELLED"), agent, "cancelled")
        eventually(lambda: not is_alive(pid), agent, "its process ends")
    assert run["state_name"] == "Cancelled", run["state"]
