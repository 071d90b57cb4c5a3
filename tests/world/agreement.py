"""Holds the world's Parameter Store and EC2 to moto's: the same calls must come to the same outcome on both.

    python agreement.py --world target/debug/world --moto .../bin/moto_server

Needs boto3 and moto[server]. Exit code 0 when they agree on every call; the calls they differ on are printed.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

def ssm_calls():
    """(operation, arguments) in order: every outcome depends on those before it."""
    put = lambda name, **more: ("put_parameter", {"Name": name, "Value": "x", "Type": "String", **more})
    yield put("/root/state/polls")
    yield put("/root/state/polls")
    for _ in range(105):
        yield put("/root/state/polls", Overwrite=True)
    yield "get_parameter", {"Name": "/root/state/polls"}
    yield "get_parameter", {"Name": "/root/state/polls:50"}
    yield "get_parameter", {"Name": "/root/state/polls:3"}
    yield "get_parameter", {"Name": "/root/none"}
    yield "put_parameter", {"Name": "/root/secrets/key", "Value": "hush", "Type": "SecureString"}
    yield "get_parameter", {"Name": "/root/secrets/key", "WithDecryption": True}
    yield "put_parameter", {"Name": "/root/untyped", "Value": "x"}
    yield put("/root/b", Value="x" * 5000, Tier="Advanced")
    yield put("aws-reserved")
    yield put("/aws/reserved")
    yield put("/SSM/reserved")
    yield put("/a//b")
    # Not asked for what moto takes and AWS refuses: names with spaces, relative paths, values over the limit.
    for n in range(25):
        yield put(f"/root/config/agent-{n:02}")
    yield put("/root/config/deep/er")
    yield "get_parameters_by_path", {"Path": "/root/config"}
    yield "get_parameters_by_path", {"Path": "/root/config", "MaxResults": 3}
    yield "get_parameters_by_path", {"Path": "/root/config", "MaxResults": 11}
    yield "get_parameters_by_path", {"Path": "/root/config/deep", "Recursive": True}
    yield "get_parameters_by_path", {"Path": "/nothing"}
    yield "get_parameters", {"Names": ["/root/config/agent-01", "/root/none"]}
    yield "get_parameters", {"Names": [f"/n{n}" for n in range(11)]}
    yield "get_parameter_history", {"Name": "/root/secrets/key", "WithDecryption": True}
    yield "get_parameter_history", {"Name": "/root/none"}
    yield "delete_parameter", {"Name": "/root/state/polls"}
    yield "delete_parameter", {"Name": "/root/state/polls"}
    yield put("/root/state/polls")


def ec2_calls():
    default = [{"Name": "isDefault", "Values": ["true"]}]
    yield "describe_vpcs", {"Filters": default}
    yield "describe_vpcs", {"Filters": [{"Name": "is-default", "Values": ["true"]}]}
    yield "describe_vpcs", {"Filters": [{"Name": "isDefault", "Values": ["false"]}]}
    yield "describe_vpcs", {"VpcIds": ["vpc-0123456789abcdef0"]}
    yield "describe_subnets", {"Filters": [{"Name": "vpc-id", "Values": ["vpc-0123456789abcdef0"]}]}
    yield "describe_subnets", {"SubnetIds": ["subnet-0123456789abcdef0"]}


SSM_FIELDS = ("Name", "Type", "Value", "Version", "DataType", "Tier")


def parameter(entry):
    """What both must say of a parameter: everything but times, and its ARN's account."""
    kept = {key: entry[key] for key in SSM_FIELDS if key in entry and key != "Tier"}
    if "ARN" in entry:
        kept["ARN"] = entry["ARN"].split(":", 5)[5]
    return kept


def outcome(client, operation, arguments):
    try:
        answer = getattr(client, operation)(**arguments)
    except ClientError as error:
        return {"error": error.response["Error"]["Code"], "status": error.response["ResponseMetadata"]["HTTPStatusCode"]}
    if "Vpcs" in answer:
        return {"vpcs": [vpc["IsDefault"] for vpc in answer["Vpcs"]], "id": all(vpc["VpcId"].startswith("vpc-") for vpc in answer["Vpcs"])}
    if "Subnets" in answer:
        return {"subnets": len(answer["Subnets"])}
    said = {key: answer[key] for key in ("Version", "InvalidParameters") if key in answer}
    if "Parameter" in answer:
        said["Parameter"] = parameter(answer["Parameter"])
    if "Parameters" in answer:
        said["Parameters"] = sorted((parameter(entry) for entry in answer["Parameters"]), key=lambda entry: (entry["Name"], entry["Version"]))
    said["more"] = bool(answer.get("NextToken"))
    return said


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url):
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing answers at {url}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", required=True, help="the world binary")
    parser.add_argument("--moto", required=True, help="moto_server")
    arguments = parser.parse_args()
    processes = []
    try:
        world = subprocess.Popen([arguments.world, "serve", "--for-seconds", "120"], stdout=subprocess.PIPE, text=True)
        processes.append(world)
        world_url = json.loads(world.stdout.readline())["url"]
        port = free_port()
        moto_url = f"http://127.0.0.1:{port}"
        processes.append(subprocess.Popen([arguments.moto, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_for(moto_url)
        return compare(world_url, moto_url)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


def compare(world_url, moto_url):
    def client(service, url):
        config = Config(retries={"max_attempts": 0})
        return boto3.client(service, endpoint_url=url, region_name="us-east-1", aws_access_key_id="AKIAWORLD0000000001", aws_secret_access_key="x", config=config)

    checked, differences = 0, 0
    for service, calls in (("ssm", ssm_calls()), ("ec2", ec2_calls())):
        ours, theirs = client(service, world_url), client(service, moto_url)
        for operation, arguments in calls:
            checked += 1
            one, two = outcome(ours, operation, arguments), outcome(theirs, operation, arguments)
            if one != two:
                differences += 1
                shown = json.dumps(arguments)[:200]
                print(f"{service}.{operation} {shown}\n  world: {json.dumps(one)[:600]}\n  moto:  {json.dumps(two)[:600]}")
    print(f"{checked} calls, {differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
