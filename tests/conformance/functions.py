"""Lambda functions as processes: the real binary under a small Runtime API, and what can be seen from outside."""

import contextlib
import json
import queue
import socket
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import processes

ROOT = "/psa/real"
ANSWER_SECONDS = 60
# What an invocation is told to have left.
DEADLINE_SECONDS = 110


def environment(aws, runtime_api):
    """What Lambda gives a function, with AWS at `aws`."""
    return {
        "_HANDLER": "poll",
        "PARAMETER_ROOT": ROOT,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_ENDPOINT_URL": aws,
        "AWS_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": "psa-poll",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/psa-poll",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0123456789abcdef",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        **processes.AWS_ENVIRONMENT,
    }


def connect(world, command, *arguments):
    """Runs `prefect-serverless-agent connect`, the binary of which is `command`; what it did about each agent."""
    variables = {**processes.AWS_ENVIRONMENT, "AWS_ENDPOINT_URL": world.aws, "AWS_REGION": "us-east-1"}
    command = [command, "connect", "--json", "--root", ROOT, *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["agents"]


def deployed(world, agent, config, binary):
    """Writes the configuration of the one agent; makes processes of its function."""
    world.ask("ssm", {"name": f"{ROOT}/config/{agent}", "value": json.dumps(config)})
    return lambda: Function(world, binary)


def peak_mb(pid):
    """The largest resident memory of a living process so far, in MB (10⁶ bytes)."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"process {pid} has ended")


class RuntimeApi(ThreadingHTTPServer):
    """Events in order, and the answers to them."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.events = queue.Queue()
        self.answered = threading.Semaphore(0)
        self.answers, self.asked, self.closing = [], 0, False
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, request, client_address):
        """The function was killed while it waited for an event: that is how every measure ends."""


class Handler(BaseHTTPRequestHandler):
    """The Runtime API. Events are handed out in order; a request for more waits until the process ends."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self):
        server, event = self.server, None
        with contextlib.suppress(queue.Empty):
            event = server.events.get(timeout=ANSWER_SECONDS)
        if event is None or server.closing:
            self.close_connection = True
            return
        server.asked += 1
        self.answer(
            200,
            json.dumps(event).encode(),
            ("Lambda-Runtime-Aws-Request-Id", f"request-{server.asked}"),
            ("Lambda-Runtime-Deadline-Ms", str(int((time.time() + DEADLINE_SECONDS) * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:psa-poll"),
        )

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.answers.append((self.path.rsplit("/", 1)[-1], body))
        self.answer(202, b"{}")
        self.server.answered.release()

    def answer(self, status, body, *headers):
        self.send_response_only(status)
        for name, value in [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class Function:
    """A function as a process, cold: `poll`, unless its environment says otherwise."""

    def __init__(self, world, binary, variables=None, under=None, idle=False):
        """`under`: called in the process before it becomes the binary. `idle`: nobody invokes it yet."""
        self.api = RuntimeApi()
        self.log = tempfile.TemporaryFile()
        variables = {**environment(world.aws, "127.0.0.1:%d" % self.api.server_address[1]), **(variables or {})}
        if not idle:
            self.api.events.put({})  # the first event waits for the function, as at Lambda
        self.started = time.time()
        self.process = subprocess.Popen(
            [binary],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            close_fds=False,
            preexec_fn=under,
        )

    def report(self, seconds=ANSWER_SECONDS):
        """The answer to the event that was sent last: the report of the one agent, whose poll went well."""
        kind, body = self.answer(seconds)
        assert kind == "response", f"{kind}: {body.decode()}\n{self.output()}"
        (report,) = json.loads(body)["agents"].values()
        assert report["ok"], report
        return report

    def answer(self, seconds=ANSWER_SECONDS):
        """The answer to the event that was sent last: what it is (response or error), and its body."""
        deadline = time.monotonic() + seconds
        while not self.api.answered.acquire(timeout=0.2):
            assert self.process.poll() is None, f"the function ended with {self.process.returncode}\n{self.output()}"
            assert time.monotonic() < deadline, f"no answer in {seconds} s\n{self.output()}"
        return self.api.answers[-1]

    def kill(self):
        """Ends the process at once, whatever it is at."""
        self.process.kill()
        self.process.wait(timeout=10)

    def invoke(self, event=None):
        """One more event for the process, which is warm now; its answer."""
        self.api.events.put(event or {})
        return self.answer()

    def poll_again(self, seconds=ANSWER_SECONDS):
        """One more event; the report of a poll that went well."""
        self.api.events.put({})
        return self.report(seconds)

    def output(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.api.closing = True
        self.api.events.put(None)
        self.api.shutdown()
        self.api.server_close()
        self.log.close()


class FunctionUrl(ThreadingHTTPServer):
    """A function's URL with AuthType NONE: HTTP in front of it, in payload format 2.0. `start` makes the function for the
    first request. It takes one at a time, as an environment does."""

    daemon_threads = True

    def __init__(self, start):
        super().__init__(("127.0.0.1", 0), UrlHandler)
        self.start, self.function, self.turn, self.calls = start, None, threading.Lock(), []
        self.url = "http://127.0.0.1:%d/" % self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def ask(self, event):
        """The function's answer, or what Lambda answers in its place."""
        with self.turn:
            self.function = self.function or self.start()
            kind, body = self.function.invoke(event)
        return json.loads(body) if kind == "response" else {"statusCode": 502, "headers": {}}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
        if self.function:
            self.function.__exit__()


class UrlHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        came = time.time()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        event = {
            "version": "2.0",
            "rawPath": path,
            "rawQueryString": query,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "isBase64Encoded": False,
            "requestContext": {"http": {"method": "POST", "path": path, "protocol": "HTTP/1.1"}},
        }
        answer = self.server.ask(event)
        # Before the answer: whoever has it may look here.
        self.server.calls.append((came, self.path, answer["statusCode"]))
        body = answer.get("body", "").encode()
        self.send_response_only(answer["statusCode"])
        for name, value in [*answer["headers"].items(), ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class Poked:
    """The functions of a deployment with a poke URL: `poke` behind it, and `poll`, which gets what is invoked
    asynchronously as it comes, and the schedule's event every so many seconds."""

    def __init__(self, world, binary, every_seconds=None):
        self.world, self.every_seconds, self.closing = world, every_seconds, False
        variables = {"_HANDLER": "poke", "POLL_FUNCTION_NAME": "psa-poll"}
        self.served = FunctionUrl(lambda: Function(world, binary, variables, idle=True))
        self.poll = Function(world, binary, idle=True)
        self.url = self.served.url
        self.delivery = threading.Thread(target=self.deliver, daemon=True)
        self.delivery.start()

    @property
    def calls(self):
        """When each poke came, what it asked for, and the status that it got."""
        return list(self.served.calls)

    def deliver(self):
        ticked = time.monotonic()
        while not self.closing:
            if self.every_seconds and time.monotonic() - ticked >= self.every_seconds:
                ticked += self.every_seconds
                self.poll.invoke()
            for invoked in self.world.ask("lambda/take", {"seconds": 1}):
                assert (invoked["function"], invoked["invocation_type"]) == ("psa-poll", "Event"), invoked
                self.poll.invoke(invoked["payload"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing = True
        self.delivery.join(timeout=ANSWER_SECONDS)
        self.served.__exit__()
        self.poll.__exit__()

    def output(self):
        """The end of what the functions said."""
        poke = self.served.function
        return f"{poke.output()[-2000:] if poke else ''}\n{self.poll.output()[-2000:]}"


def first_byte_ms(binary):
    """Milliseconds from starting `binary` until the first byte of its first request to anybody. Nobody answers it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        variables = environment(f"http://{address}", address)
        started = time.perf_counter()
        process = subprocess.Popen(
            [binary],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
        )
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                assert connection.recv(1), f"{binary} connected and said nothing"
                return (time.perf_counter() - started) * 1000
        finally:
            process.kill()
            process.wait(timeout=10)
