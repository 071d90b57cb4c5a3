"""README's commands, run as they are written there: by bash, with AWS's real command line, against the local world.

A command that cannot run here is named below with the reason; whatever is not named runs, so that a new one is noticed.
"""

import os
import pty
import re
import shlex
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import expansion
import processes
import pytest
from samcli.yamlhelper import yaml_parse

SECONDS = 120
NOT_HERE = {
    r"make (demo|test)": "they are what CI runs",
    r"pip install": "the package index of the day",
    r"cargo install": "minutes of compiling what is built already",
    r"sam (build|deploy)": "SAM deploys to an account; test_build.py builds",
    r"aws cloudformation": "an account",
    r"aws iam": "an account",
    r"prefect-serverless-agent check": "a deployed stack; tests/it/command/check.rs",
    r"prefect-serverless-agent connect": "a deployed stack, whose URL is poked; tests/it/command/connect.rs",
    r"prefect-serverless-agent start": "goes on until it is told to end; tests/it/command/start.rs",
}
README = (expansion.ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(block):
    """The block's commands, each as it is written: a line, or as many as its quotes need; what `&&` joins is two."""
    found, open_text = [], ""
    for line in block.splitlines():
        open_text += line + "\n"
        try:
            words = shlex.split(open_text, comments=True)
        except ValueError:
            continue
        if words:
            found += open_text.split(" && ") if open_text.count("\n") == 1 else [open_text]
        open_text = ""
    assert not open_text.strip(), open_text
    return found


def runs_here(command):
    return not any(re.match(pattern, command.strip()) for pattern in NOT_HERE)


@pytest.fixture
def shell(command, world, api, tmp_path):
    """Runs a script as somebody at a terminal who says yes to everything. A pool, a run and a configuration's file are there."""
    api.post("/work_pools/", {"name": "my-ecs-pool", "type": "ecs"})
    run = api.run(api.deployment("my-ecs-pool"))
    (tmp_path / "etl.yaml").write_text(f"prefect: 1\napi: {world.prefect1}\n")

    def shell(script):
        tools = f"{command.parent}{os.pathsep}{processes.TOOLS / 'aws/bin'}"
        environment = {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL": world.aws,
            "AWS_REGION": "us-east-1",
            "PREFECT_API_URL": api.url,
            "PREFECT_API_KEY": "pnu_fakekey",
            "PREFECT__CLOUD__API_KEY": "pcu_fakekey",
            **processes.AWS_ENVIRONMENT,
        }
        terminal, keyboard = pty.openpty()
        try:
            os.write(terminal, b"y\n" * 8)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script.replace("0f0e0d0c-0b0a-4908-8706-050403020100", run)],
                cwd=tmp_path, env=environment, stdin=keyboard, capture_output=True, text=True, timeout=SECONDS,
            )  # fmt: skip
        finally:
            os.close(terminal)
            os.close(keyboard)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    shell.folder = tmp_path
    return shell


def deployed(world):
    """What the block before has written: two agents and their keys."""
    root = "/prefect-serverless-agent/prod"
    pool = f"prefect: 3\napi: {world.prefect3}\nwork_pool: my-ecs-pool\n"
    for agent, config, key in [("flows", pool, "pnu_fakekey"), ("etl", f"prefect: 1\napi: {world.prefect1}\n", "pcu_fakekey")]:
        world.ask("ssm", {"name": f"{root}/config/{agent}", "value": config})
        world.ask("ssm", {"name": f"{root}/secrets/{agent}/api-key", "value": key, "type": "SecureString"})


def test_commands_are_told_apart():
    block = "root=/x\naws a --value '\nb: 1\n'\ncd psa && sam deploy   # or so\n\n# why\nmake demo   # it is\n"
    assert commands(block) == ["root=/x\n", "aws a --value '\nb: 1\n'\n", "cd psa", "sam deploy   # or so\n", "make demo   # it is\n"]


def test_every_exception_is_in_the_readme():
    written = [command.strip() for block in BLOCKS for command in commands(block)]
    for pattern in NOT_HERE:
        assert any(re.match(pattern, command) for command in written), pattern


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0][:40] for block in BLOCKS])
def test_the_commands_run_as_written(block, shell, world):
    here = [command for command in commands(block) if runs_here(command)]
    if "put-parameter" not in block and " init " not in block:
        deployed(world)
    if here:
        print(shell("\n".join(here)))
    if "put-parameter" in block:
        names = {parameter["name"] for parameter in world.ask("ssm")}
        assert {"/prefect-serverless-agent/prod/config/flows", "/prefect-serverless-agent/prod/secrets/flows/api-key"} <= names
    if "bundle" in block:
        assert yaml_parse((shell.folder / "psa/template.yaml").read_text())["Parameters"]


class Asked(BaseHTTPRequestHandler):
    """A function URL, of which only the request is of interest."""

    def do_GET(self):
        self.server.asked = (self.path, dict(self.headers.items()))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.skipif(not shutil.which("curl"), reason="it is a command of curl's")
def test_health_is_asked_as_written_signed_with_the_session_and_one_slash():
    (command,) = re.findall(r"`(curl --aws-sigv4 [^`]*)`", README)
    server = HTTPServer(("127.0.0.1", 0), Asked)
    answering = threading.Thread(target=server.handle_request)
    answering.start()
    url = f"http://127.0.0.1:{server.server_port}/"
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session"}
    script = command.replace("REGION", "eu-west-1").replace("URLapi", f"{url}api")
    done = subprocess.run(["bash", "-c", script + " --silent --fail --max-time 20"], env={**os.environ, **keys}, capture_output=True, text=True)
    answering.join(timeout=SECONDS)
    server.server_close()
    assert done.returncode == 0, done.stderr
    path, headers = server.asked
    headers = {name.lower(): value for name, value in headers.items()}
    assert path == "/api/health"
    assert "/eu-west-1/lambda/aws4_request" in headers["authorization"], headers
    assert "x-amz-security-token" in headers["authorization"] and headers["x-amz-security-token"] == "session", headers
