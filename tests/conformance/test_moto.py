"""The fake Parameter Store, EC2, ECS's services and EventBridge's rules answer a boto3 script as moto does."""

import json

import pytest
from botocore.exceptions import ClientError

# Differs by nature: when, and which request.
IGNORED = {"ResponseMetadata", "LastModifiedDate", "LastModifiedUser", "Policies"}


def observed(call, **arguments):
    """What a caller can go by: the answer without what differs by nature, or status and code of the error."""
    try:
        return plain(call(**arguments))
    except ClientError as error:
        return (error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in IGNORED}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


@pytest.fixture
def both(world, moto, client):
    """Runs a script against both, and returns what each observed."""

    def run(service, script):
        return [script(client(service, url)) for url in (world.aws, moto)]

    return run


def agree(results):
    ours, motos = results
    assert len(ours) == len(motos) > 0
    for step, (our, moto) in enumerate(zip(ours, motos)):
        assert our == moto, f"step {step}"


def test_versions_count_up(both):
    def script(ssm):
        yield observed(ssm.get_parameter, Name="/root/state/etl/polls")
        yield observed(ssm.put_parameter, Name="/root/state/etl/polls", Value="a", Type="String")
        yield observed(ssm.put_parameter, Name="/root/state/etl/polls", Value="b", Type="String")
        for value in "cde":
            yield observed(ssm.put_parameter, Name="/root/state/etl/polls", Value=value, Overwrite=True)
        yield observed(ssm.get_parameter, Name="/root/state/etl/polls")
        yield observed(ssm.get_parameter, Name="/root/state/etl/polls:2")
        yield observed(ssm.get_parameter, Name="/root/state/etl/polls:9")
        yield observed(ssm.delete_parameter, Name="/root/state/etl/polls")
        yield observed(ssm.delete_parameter, Name="/root/state/etl/polls")
        yield observed(ssm.put_parameter, Name="/root/state/etl/polls", Value="again", Type="String")

    agree(both("ssm", lambda ssm: list(script(ssm))))


def test_history_tells_who_wrote_which_version(both):
    def script(ssm):
        yield observed(ssm.get_parameter_history, Name="/h")
        for value in ("one", "two", "three"):
            ssm.put_parameter(Name="/h", Value=value, Type="String", Overwrite=True)
        history = ssm.get_parameter_history(Name="/h")["Parameters"]
        yield [(entry["Version"], entry["Value"], entry["Type"]) for entry in history]

    agree(both("ssm", lambda ssm: list(script(ssm))))


def test_only_the_last_hundred_versions_are_kept(both):
    def script(ssm):
        for number in range(103):
            ssm.put_parameter(Name="/many", Value=str(number), Type="String", Overwrite=True)
        yield observed(ssm.get_parameter, Name="/many")
        yield observed(ssm.get_parameter, Name="/many:4")
        yield observed(ssm.get_parameter, Name="/many:3")

    agree(both("ssm", lambda ssm: list(script(ssm))))


def test_secrets_are_told_only_when_asked(both):
    def script(ssm):
        ssm.put_parameter(Name="/s/key", Value="hidden", Type="SecureString")
        yield observed(ssm.get_parameter, Name="/s/key", WithDecryption=True)
        yield observed(ssm.get_parameters, Names=["/s/key"], WithDecryption=True)
        yield observed(ssm.get_parameters_by_path, Path="/s", WithDecryption=True)
        yield ssm.get_parameter(Name="/s/key")["Parameter"]["Value"] != "hidden"

    agree(both("ssm", lambda ssm: list(script(ssm))))


def test_paths_are_read_in_pages(both):
    def script(ssm):
        for number in range(25):
            ssm.put_parameter(Name=f"/root/config/agent-{number:02}", Value=str(number), Type="String")
        ssm.put_parameter(Name="/root/config/deep/er", Value="x", Type="String")
        ssm.put_parameter(Name="/root/configuration", Value="not below", Type="String")
        for recursive in (False, True):
            seen, token = [], None
            while True:
                more = {"NextToken": token} if token else {}
                page = ssm.get_parameters_by_path(Path="/root/config", Recursive=recursive, **more)
                yield len(page["Parameters"])
                seen += [parameter["Name"] for parameter in page["Parameters"]]
                token = page.get("NextToken")
                if token is None:
                    break
            yield sorted(seen)
        yield observed(ssm.get_parameters_by_path, Path="/root/config/")["Parameters"][:1]
        yield observed(ssm.get_parameters_by_path, Path="/nothing")
        yield observed(ssm.get_parameters_by_path, Path="/root", MaxResults=11)

    agree(both("ssm", lambda ssm: list(script(ssm))))


def test_many_are_read_at_once(both):
    def script(ssm):
        ssm.put_parameter(Name="/a", Value="1", Type="String")
        ssm.put_parameter(Name="/b", Value="2", Type="StringList")
        found = observed(ssm.get_parameters, Names=["/a", "/b", "/c"])
        # Nobody promises an order, and moto keeps none.
        yield sorted(found["Parameters"], key=lambda parameter: parameter["Name"]), found["InvalidParameters"]
        yield observed(ssm.get_parameters, Names=[f"/{n}" for n in range(11)])

    agree(both("ssm", lambda ssm: list(script(ssm))))


def test_impossible_parameters_are_refused(both):
    def script(ssm):
        yield observed(ssm.put_parameter, Name="/new", Value="x")
        yield observed(ssm.put_parameter, Name="/new", Value="", Type="String")

    agree(both("ssm", lambda ssm: list(script(ssm))))


def test_the_default_network_is_found(world, moto, client):
    real, ours = client("ec2", moto), client("ec2", world.aws)
    real.create_vpc(CidrBlock="10.9.0.0/16")
    vpcs = real.describe_vpcs()["Vpcs"]
    subnets = real.describe_subnets()["Subnets"]
    world.ask(
        "ec2",
        {
            "vpcs": [{"vpc_id": vpc["VpcId"], "is_default": vpc["IsDefault"]} for vpc in vpcs],
            "subnets": [
                {"subnet_id": s["SubnetId"], "vpc_id": s["VpcId"], "availability_zone": s["AvailabilityZone"]}
                for s in subnets
            ],
        },
    )

    def network(ec2):
        vpcs = ec2.describe_vpcs(Filters=[{"Name": "isDefault", "Values": ["true"]}])["Vpcs"]
        (vpc,) = vpcs
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
        keys = ("SubnetId", "VpcId", "AvailabilityZone")
        yield (vpc["VpcId"], vpc["IsDefault"], vpc["State"])
        yield [tuple(subnet[key] for key in keys) for subnet in subnets]
        others = ec2.describe_vpcs(Filters=[{"Name": "isDefault", "Values": ["false"]}])["Vpcs"]
        yield [other["VpcId"] for other in others]
        yield observed(ec2.describe_vpcs, VpcIds=["vpc-0123456789abcdef0"])
        yield observed(ec2.describe_subnets, Filters=[{"Name": "vpc-id", "Values": ["vpc-0123456789abcdef0"]}])

    agree([list(network(ours)), list(network(real))])


def test_services_are_described_by_what_names_them(both):
    """What `init --from-service` reads of a service."""

    def script(ecs):
        yield observed(ecs.describe_services, cluster="infra", services=["worker"])
        ecs.create_cluster(clusterName="infra")
        container = {"name": "worker", "image": "prefecthq/prefect:3-latest", "memory": 512}
        ecs.register_task_definition(family="worker", containerDefinitions=[container])
        ecs.create_service(cluster="infra", serviceName="worker", taskDefinition="worker", desiredCount=1)
        read = ("serviceArn", "serviceName", "clusterArn", "status", "desiredCount", "taskDefinition")
        for name in ("worker", "nobody"):
            answer = observed(ecs.describe_services, cluster="infra", services=[name])
            yield [{key: service[key] for key in read} for service in answer["services"]]
            yield [failure["reason"] for failure in answer["failures"]]

    agree(both("ecs", lambda ecs: list(script(ecs))))


def test_rules_are_found_by_what_they_send_to(world, moto, client):
    bus, pattern = "arn:aws:events:eu-west-1:210987654321:event-bus/default", {"source": ["aws.ecs"]}
    rule = {"type": "AWS::Events::Rule", "id": "forward", "properties": {"EventPattern": pattern, "Targets": [{"Id": "agent", "Arn": bus}]}}
    world.ask("cloudformation/deploy", {"name": "forward", "parameters": {}, "outputs": {}, "resources": {"Rule": rule}})
    theirs = client("events", moto)
    theirs.put_rule(Name="forward", EventPattern=json.dumps(pattern))
    theirs.put_targets(Rule="forward", Targets=[{"Id": "agent", "Arn": bus, "RoleArn": "arn:aws:iam::123456789012:role/forward"}])
    for arn, names in [(bus, ["forward"]), (bus.replace("eu-west-1", "us-west-2"), [])]:
        for events in (client("events", world.aws), theirs):
            assert plain(events.list_rule_names_by_target(TargetArn=arn)) == {"RuleNames": names}, arn
