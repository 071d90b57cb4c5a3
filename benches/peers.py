"""The processes that are measured: the fakes, a function under a Runtime API, the real Python agents."""

import json
import os
import queue
import select
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TOOLS = Path(os.environ.get("PSA_TOOLS", ROOT / ".tools"))
BOOTSTRAP = TARGET / "lambda/lambda/bootstrap"
EMPTY = TARGET / "empty/release/empty"
WORLD = TARGET / "fakes/world"

AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def end(process):
    """Ends a process of ours, gently first."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)


class World:
    """The project's fakes, with so much added to every answer."""

    def __init__(self, latency_ms=0):
        self.latency_ms = latency_ms

    def __enter__(self):
        command = [WORLD, "serve", "--port", "0", "--for-seconds", "600"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        assert ready, f"{WORLD} did not say its addresses"
        addresses = json.loads(self.process.stdout.readline())
        self.aws, self.prefect1, self.control = (addresses[key] for key in ("aws", "prefect1", "control"))
        self.ask("latency", {"ms": self.latency_ms})
        return self

    def __exit__(self, *_):
        end(self.process)

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
        return self.ask("prefect1/create_flow_run", spec)["id"]

    def journal(self):
        return self.ask("journal")["requests"]


class Function:
    """A function process under a Runtime API of its own (or the one at `runtime`)."""

    def __init__(self, binary, environment, runtime=None):
        self.binary, self.environment, self.runtime = binary, environment, runtime

    def __enter__(self):
        self.events, self.answers = queue.Queue(), queue.Queue()
        self.server = None
        if self.runtime is None:
            self.server = ThreadingHTTPServer(("127.0.0.1", 0), runtime_api(self.events, self.answers))
            threading.Thread(target=self.server.serve_forever, daemon=True).start()
            self.runtime = f"127.0.0.1:{self.server.server_port}"
        environment = {
            **AWS,
            "_HANDLER": "poll",
            "AWS_LAMBDA_RUNTIME_API": self.runtime,
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
            "AWS_LAMBDA_LOG_GROUP_NAME": "bench",
            **self.environment,
        }
        self.spawned = time.time()
        self.process = subprocess.Popen(
            [self.binary], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(timeout=10)
        if self.server:
            self.server.shutdown()
            self.server.server_close()

    def invoke(self):
        self.events.put({})
        kind, body = self.answers.get(timeout=60)
        assert kind == "response", body
        return body

    def peak_mb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024


def runtime_api(events, answers):
    class RuntimeApi(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            try:
                event = events.get(timeout=120)
            except queue.Empty:
                return
            body = json.dumps(event).encode()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", f"bench-{time.time_ns()}")
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 60_000))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:bench")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()
            answers.put((self.path.rsplit("/", 1)[1], body))

        def log_message(self, *_):
            pass

    return RuntimeApi


def python_agent(version, world, **arguments):
    """One life of the real ECSAgent: start, `max_polls` polls, end. When it was spawned."""
    name = {"0.15.0": "prefect-0.15", "1.4.1": "prefect-1.4"}[version]
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **AWS,
            "PATH": os.environ["PATH"],
            "HOME": home,
            "AWS_ENDPOINT_URL": world.aws,
            "PREFECT__CLOUD__API": world.prefect1,
            "PREFECT__CLOUD__API_KEY": "pcu_fakekey",
        }
        spawned = time.time()
        done = subprocess.run(
            [TOOLS / name / "bin/python", ROOT / "tests/conformance/agent.py"],
            input=json.dumps(arguments),
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return spawned
