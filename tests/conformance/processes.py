"""The processes under comparison: the project's fakes, moto, and the real Prefect agents."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from prefect_server import server  # noqa: E402
from prefect_server.server import ROOT, TOOLS, end, free_port  # noqa: E402

WORLD = Path(os.environ.get("PSA_WORLD", ROOT / "target/debug/world"))
LAMBDA = Path(os.environ.get("PSA_LAMBDA", WORLD.with_name("lambda")))
START_SECONDS = 30
AGENT_SECONDS = 120
# The environments of the real Prefects 0.15 and 1, by version.
PREFECT1 = {"0.15.0": TOOLS / "prefect-0.15", "1.4.1": TOOLS / "prefect-1.4"}

AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class World:
    """The project's fakes, and their control API."""

    def __init__(self, addresses):
        self.aws = addresses["aws"]
        self.prefect1 = addresses["prefect1"]
        self.prefect3 = addresses["prefect3"]
        self.control = addresses["control"]

    def ask(self, path, body=None):
        """GET without a body, else POST."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.control}/{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"/_world/{path}: {error.code} {error.read().decode()}") from None

    def create(self, **spec):
        """Seeds a flow run; its id."""
        return self.ask("prefect1/create_flow_run", spec)["id"]

    def run(self, flow_run_id):
        """A flow run's row, with its states and logs."""
        (row,) = self.ask("prefect1/runs", {"id": flow_run_id})
        return row

    def requests(self, *services):
        """`service operation` of each request so far, in order."""
        journal = self.ask("journal")["requests"]
        return [f"{one['service']} {one['operation']}" for one in journal if one["service"] in services]


@contextlib.contextmanager
def running_world():
    # The fakes end by themselves, should these tests be killed.
    command = [WORLD, "serve", "--port", "0", "--for-seconds", "7200"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        assert ready, f"{WORLD} did not say its addresses within {START_SECONDS} s"
        line = process.stdout.readline()
        assert line, f"{WORLD} ended with {process.wait(timeout=10)} and said no addresses"
        yield World(json.loads(line))
    finally:
        end(process)


@contextlib.contextmanager
def running_moto():
    port = free_port()
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, **AWS_ENVIRONMENT}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, f"moto ended with {process.returncode}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < deadline, f"moto did not listen within {START_SECONDS} s"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


def run_agent(version, world, home, environment=None, **arguments):
    """One life of the real agent: start, `max_polls` polls, end. Returns its log."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),  # no configuration of the person who runs the tests
        "AWS_ENDPOINT_URL": world.aws,
        "PREFECT__CLOUD__API": world.prefect1,
        "PREFECT__CLOUD__AGENT__LEVEL": "DEBUG",
        **AWS_ENVIRONMENT,
        **({"PREFECT__CLOUD__API_KEY": "pcu_fakekey"} if environment is None else environment),
    }
    done = subprocess.run(
        [PREFECT1[version] / "bin/python", Path(__file__).with_name("agent.py")],
        input=json.dumps({"max_polls": 1, **arguments}),
        env=environment,
        capture_output=True,
        text=True,
        timeout=AGENT_SECONDS,
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    return log


def _worker(world, api, pool, home, *options, **settings):
    """Arguments of a process that is the real worker of Prefect 3, which launches on ECS."""
    command = ["prefect", "worker", "start", "--type", "ecs", "--pool", pool, "--name", "real worker"]
    environment = server.environment(
        home,
        PREFECT_API_URL=api.url,
        PREFECT_LOGGING_LEVEL="DEBUG",
        AWS_ENDPOINT_URL=world.aws,
        **AWS_ENVIRONMENT,
        **settings,
    )
    arguments = [*command, "--install-policy", "never", *options]
    return {"args": arguments, "executable": server.bin_of() / "prefect", "env": environment}


def run_worker(world, api, pool, home, *options, **settings):
    """One poll of the real worker. Returns its log."""
    worker = _worker(world, api, pool, home, "--run-once", *options, **settings)
    done = subprocess.run(**worker, capture_output=True, text=True, timeout=AGENT_SECONDS)
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    return log


@contextlib.contextmanager
def running_worker(world, api, pool, home, **settings):
    """The real worker, polling until the block ends; gives its log so far."""
    log = Path(home) / "worker.log"
    with log.open("w") as output:
        worker = _worker(world, api, pool, home, **settings)
        process = subprocess.Popen(**worker, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield log.read_text
    finally:
        end(process)
