"""The real Python agents as processes that can be watched."""

import contextlib
import json
import os
import subprocess
import tempfile
import time

import processes

VERSIONS = {"0.15.0": "prefect-0.15", "1.4.1": "prefect-1.4"}
AGENT = processes.ROOT / "tests/conformance/agent.py"
LOOK_SECONDS = 0.05


class Agent:
    """A running `ECSAgent`."""

    def __init__(self, version, world, home, **arguments):
        self.log = tempfile.TemporaryFile()
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": home,  # no configuration of the person who measures
            "AWS_ENDPOINT_URL": world.aws,
            "PREFECT__CLOUD__API": world.prefect1,
            "PREFECT__CLOUD__API_KEY": "pcu_fakekey",
            **processes.AWS_ENVIRONMENT,
        }
        python = processes.TOOLS / VERSIONS[version] / "bin/python"
        self.world = world
        self.started = time.time()
        self.process = subprocess.Popen(
            [python, AGENT], env=variables, stdin=subprocess.PIPE, stdout=self.log, stderr=self.log, text=True
        )
        self.process.stdin.write(json.dumps(arguments))
        self.process.stdin.close()

    def until(self, count, service, operation, seconds=processes.AGENT_SECONDS):
        """Waits for so many answered requests of an operation."""
        deadline = time.monotonic() + seconds
        while self.world.ask("counts").get(service, {}).get(operation, 0) < count:
            assert self.process.poll() is None, f"the agent ended with {self.process.returncode}\n{self.output()}"
            assert time.monotonic() < deadline, f"no {count} {operation} in {seconds} s\n{self.output()}"
            time.sleep(LOOK_SECONDS)

    def output(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-4000:]


@contextlib.contextmanager
def running(version, world, **arguments):
    """An agent that polls until it is killed."""
    with tempfile.TemporaryDirectory() as home:
        agent = Agent(version, world, home, **arguments)
        try:
            yield agent
        finally:
            agent.process.kill()
            agent.process.wait(timeout=10)
            agent.log.close()
