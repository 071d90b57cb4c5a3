"""`prefect-serverless-agent init` reads the pool of a real server, as it reads the fake's."""

import json
import os
import subprocess
from pathlib import Path

import processes
import pytest
from orders import Prefect3
from prefect_server import server

COMMAND = Path(processes.LAMBDA).parent / "prefect-serverless-agent"
TEMPLATE = Path(__file__).parents[2] / "src/platform/ecs/work_pool_template/prefect3.json"
ROLE = "arn:aws:iam::123456789012:role/{}".format
SECONDS = 60


def template(**defaults):
    """Prefect's own, with these defaults of its variables."""
    whole = json.loads(TEMPLATE.read_text())
    for name, default in defaults.items():
        whole["variables"]["properties"][name]["default"] = default
    return whole


def init(world, api, folder, *arguments):
    environment = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": world.aws,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIAWORLD0000000001",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-world",
        "PREFECT_API_URL": api.url,
    }
    command = [COMMAND, "init", "--yes", "--json", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_deployments_queues_and_workers_of_a_pool_are_read(world, api, tmp_path):
    pool = api.pool(base_job_template=template(execution_role_arn=ROLE("ecsTaskExecutionRole"), cluster="flows"))
    api.post(f"/work_pools/{pool}/queues", {"name": "urgent", "is_paused": True})
    api.ask("POST", f"/work_pools/{pool}/workers/heartbeat", {"name": "ECSWorker old", "heartbeat_interval_seconds": 30})
    api.deployment(pool, flow="Etl", name="daily", job_variables={"task_role_arn": ROLE("daily")})
    api.deployment(pool, flow="Etl", name="wrong", job_variables={"network_configuration": {"subnets": ["s"]}})
    api.deployment(api.pool(), flow="Etl", name="elsewhere", job_variables={"task_role_arn": ROLE("elsewhere")})

    outcome = init(world, api, tmp_path, "--work-pool", pool)

    assert outcome["configuration"]["text"] == f"prefect: 3\napi: {api.url}\nwork_pool: {pool}\n"
    assert outcome["stack"]["parameters"] == {
        "ClusterArns": "arn:aws:ecs:us-east-1:123456789012:cluster/flows",
        "PassableRoleArns": f"{ROLE('daily')},{ROLE('ecsTaskExecutionRole')}",
    }
    assert {launch["asker"]: "refused" in launch for launch in outcome["launches"]} == {"Etl/daily": False, "Etl/wrong": True}
    found = [(finding["level"], finding["about"], finding["found"]) for finding in outcome["findings"]]
    assert any(about == "Etl/wrong" and "vpc_id" in text for _, about, text in found), found
    assert any(about == pool and "urgent" in text for _, about, text in found), found
    assert any(about == pool and "ECSWorker old" in text for _, about, text in found), found


def test_more_deployments_than_a_page_has_are_read_to_the_last(world, api, tmp_path):
    pool = api.pool(base_job_template=template())
    for number in range(203):
        api.deployment(pool, name=f"d{number:03}", job_variables={"task_role_arn": ROLE(f"r{number % 3}")})
    outcome = init(world, api, tmp_path, "--work-pool", pool)
    assert len(outcome["launches"]) == 203
    assert outcome["stack"]["parameters"]["PassableRoleArns"] == ",".join(ROLE(f"r{number}") for number in range(3))


@pytest.mark.parametrize("line", ["2.10", "2.20"])
def test_a_server_of_prefect_2_is_known_as_one(world, line, tmp_path, tmp_path_factory):
    with server.running(tmp_path_factory.mktemp("server"), line=line) as url:
        api = Prefect3(url, version=server.version_of(line))
        pool = api.pool(base_job_template=json.loads(TEMPLATE.with_name("prefect2.json").read_text()))
        overrides = {"task_role_arn": ROLE("daily"), "execution_role_arn": ROLE("ecsTaskExecutionRole")}
        api.deployment(pool, flow="Etl", name="daily", infra_overrides=overrides)
        outcome = init(world, api, tmp_path)
    assert outcome["configuration"]["text"] == f"prefect: 2\napi: {api.url}\nwork_pool: {pool}\n"
    assert [launch["asker"] for launch in outcome["launches"]] == ["Etl/daily"]
    assert outcome["stack"]["parameters"]["PassableRoleArns"] == f"{ROLE('daily')},{ROLE('ecsTaskExecutionRole')}"
    assert not [finding for finding in outcome["findings"] if finding["about"] not in ("api", "Etl/daily", "HealthAuthType")]
