"""Fakes, moto and Prefect 3 servers run once per session; every test begins with empty ones, or a pool of its own."""

import base64
import sys
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).parent))

import processes  # noqa: E402
from orders import AUTH_STRING, Prefect3  # noqa: E402
from prefect_server import server  # noqa: E402


@pytest.fixture(scope="session")
def world_process():
    with processes.running_world() as world:
        yield world


@pytest.fixture(scope="session")
def moto_process():
    with processes.running_moto() as url:
        yield url


@pytest.fixture(scope="session")
def prefect3_process(tmp_path_factory):
    # Without its services, which move runs about (Late) and make it busy.
    with server.running(tmp_path_factory.mktemp("prefect3"), "--no-services") as url:
        yield url


@pytest.fixture
def world(world_process):
    world_process.ask("reset", {})
    return world_process


@pytest.fixture
def moto(moto_process):
    request = urllib.request.Request(f"{moto_process}/moto-api/reset", method="POST")
    with urllib.request.urlopen(request, timeout=10):
        return moto_process


@pytest.fixture
def client():
    """Makes a boto3 client that never repeats a request by itself."""

    def make(service, url):
        return boto3.client(
            service,
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10),
        )

    return make


@pytest.fixture(params=["0.15.0", "1.4.1"])
def version(request):
    """Of the real agent."""
    return request.param


@pytest.fixture
def poll(version, world, tmp_path):
    """Lets the real agent poll the fakes; returns its log."""

    def one_life(environment=None, **arguments):
        return processes.run_agent(version, world, tmp_path, environment, **arguments)

    return one_life


@pytest.fixture(params=["real", "fake"])
def api(request):
    """Prefect 3's API: a real server, and the fake."""
    if request.param == "real":
        return Prefect3(request.getfixturevalue("prefect3_process"), version=server.version_of())
    world = request.getfixturevalue("world")
    world.ask("prefect3/switches", {"services": False})
    return Prefect3(world.prefect3)


@pytest.fixture(scope="session")
def guarded_process(tmp_path_factory):
    settings = {
        "PREFECT_SERVER_API_AUTH_STRING": AUTH_STRING,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "0.5",
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "0.5",
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "1",
    }
    with server.running(tmp_path_factory.mktemp("guarded"), **settings) as url:
        yield url


@pytest.fixture(params=["real", "fake"])
def guarded(request):
    """A server with auth string and CSRF protection, whose services run. The client knows the auth string."""
    authorization = {"Authorization": "Basic " + base64.b64encode(AUTH_STRING.encode()).decode()}
    if request.param == "real":
        return Prefect3(request.getfixturevalue("guarded_process"), authorization, server.version_of())
    world = request.getfixturevalue("world")
    auth = {"kind": "basic", "auth_string": AUTH_STRING}
    world.ask("prefect3/switches", {"auth": auth, "csrf": True, "services": True, "cancelling_timeout_seconds": 1})
    return Prefect3(world.prefect3, authorization)
