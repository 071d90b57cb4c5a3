"""What each role may do: every statement is written down, and nothing is wider than AWS makes it."""

import re

import cfnlint.data.AdditionalSpecs
import expansion
import iam
import json
import pytest
from pathlib import Path

# AWS offers no resource-level permissions for these (the VPC ones: Lambda refuses narrower resources).
EVERYWHERE = {
    "cloudformation:DescribeStacks",
    "cloudwatch:GetMetricStatistics",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeVpcEndpoints",
    "events:ListRuleNamesByTarget",
    "lambda:GetAccountSettings",
    "logs:DescribeLogGroups",
    "servicequotas:GetServiceQuota",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ecr:GetAuthorizationToken",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:ListTaskDefinitions",
    "ecs:ListTasks",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
TRACES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
VPC = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}
PARAMETER = "arn:aws:ssm:eu-west-1:123456789012:parameter/prefect-serverless-agent/prod"
ECS = "arn:aws:ecs:*:123456789012"
VIA_SSM = {"kms:ViaService": "ssm.eu-west-1.amazonaws.com"}
POLL_ARN = {"GetAtt": ["PollFunction", "Arn"]}


def listed(value):
    return value if isinstance(value, list) else [value]


def roles(stack):
    return {name: item["Properties"] for name, item in stack["Resources"].items() if item["Type"] == "AWS::IAM::Role"}


def statements(stack, role):
    found = {}
    for policy in roles(stack)[role].get("Policies", []):
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Sid"] not in found, f"{role} has two statements {statement['Sid']}"
            found[statement["Sid"]] = statement
    return found


def allowed(stack, role):
    """What a role may do, if all of its conditions hold."""
    granting = [statement for statement in statements(stack, role).values() if statement["Effect"] == "Allow"]
    return {action for statement in granting for action in listed(statement["Action"])}


@pytest.fixture(params=["defaults", "everything", "cluster", "cluster-everything", "forward"])
def any_stack(request, stack, full_stack):
    match request.param:
        case "defaults":
            return stack
        case "everything":
            return full_stack
        case "cluster":
            return expansion.cluster_stack()
        case "forward":
            return expansion.forward_stack(PermissionsBoundaryArn="arn:aws:iam::123456789012:policy/boundary")
        case _:
            return expansion.cluster_stack(
                SecretsKeyArn="arn:aws:kms:eu-west-1:123456789012:key/k",
                TaskPolicyArns="arn:aws:iam::123456789012:policy/flow-data",
                PermissionsBoundaryArn="arn:aws:iam::123456789012:policy/boundary",
            )


def test_no_statement_is_wider_than_aws_makes_it(any_stack):
    for role in roles(any_stack):
        for sid, statement in statements(any_stack, role).items():
            actions = listed(statement["Action"])
            if statement["Effect"] == "Deny":
                assert sid == "NoInterfacesForCode", f"{role}/{sid}"
                continue
            assert not [action for action in actions if "*" in action], f"{role}/{sid}"
            if "*" in listed(statement["Resource"]):
                excused = EVERYWHERE | (VPC if sid == "AttachToVpc" else set())
                assert set(actions) <= excused, f"{role}/{sid} may do {set(actions) - excused} to everything"


def test_every_action_exists(any_stack):
    path = Path(cfnlint.data.AdditionalSpecs.__file__).parent / "Policies.json"
    services = json.loads(path.read_text())
    for role in roles(any_stack):
        for action in allowed(any_stack, role):
            service, name = action.split(":")
            assert name.lower() in services[service]["Actions"], f"{role}: AWS knows no action {action}"


def test_no_role_brings_managed_policies(stack, full_stack):
    for each in (stack, full_stack):
        for name, role in roles(each).items():
            assert "ManagedPolicyArns" not in role, name


def test_each_function_has_its_own_role(stack):
    functions = {n: r["Properties"]["Role"] for n, r in stack["Resources"].items() if r["Type"] == "AWS::Lambda::Function"}
    assert functions == {
        "PollFunction": {"GetAtt": ["PollRole", "Arn"]},
        "HealthFunction": {"GetAtt": ["HealthRole", "Arn"]},
        "TaskEventsFunction": {"GetAtt": ["TaskEventsRole", "Arn"]},
    }


def test_the_permissions_boundary_holds_for_all_roles_or_none(stack, full_stack):
    for name, role in roles(stack).items():
        assert "PermissionsBoundary" not in role, name
    for name, role in roles(full_stack).items():
        assert role["PermissionsBoundary"] == "arn:aws:iam::123456789012:policy/boundary", name


def test_who_may_assume_the_roles(stack):
    def services(each):
        return {
            name: role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] for name, role in roles(each).items()
        }

    assert services(stack) == {
        "ScheduleRole": {"Service": "scheduler.amazonaws.com"},
        "PollRole": {"Service": "lambda.amazonaws.com"},
        "HealthRole": {"Service": "lambda.amazonaws.com"},
        "TaskEventsRole": {"Service": "lambda.amazonaws.com"},
    }
    assert services(expansion.cluster_stack()) == {
        "OwnExecutionRole": {"Service": "ecs-tasks.amazonaws.com"},
        "ExecutionRole": {"Service": "ecs-tasks.amazonaws.com"},
        "TaskRole": {"Service": "ecs-tasks.amazonaws.com"},
    }
    assert services(expansion.forward_stack()) == {"ForwardRole": {"Service": "events.amazonaws.com"}}


def test_poll_may_do_exactly_this(stack):
    assert allowed(stack, "PollRole") == {
        "logs:CreateLogStream", "logs:PutLogEvents",
        "ssm:GetParameter", "ssm:GetParameterHistory", "ssm:GetParametersByPath", "ssm:PutParameter",
        "ecs:RunTask", "ecs:StopTask", "ecs:DescribeTasks", "ecs:ListTasks",
        "ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions", "ecs:TagResource",
        "ec2:DescribeVpcs", "ec2:DescribeSubnets", "iam:PassRole",
    }  # fmt: skip


def test_parameters_add_exactly_this_to_poll(stack, full_stack):
    added = allowed(full_stack, "PollRole") - allowed(stack, "PollRole")
    assert added == {"kms:Decrypt", "s3:GetObject", "sts:AssumeRole"} | TRACES | VPC - {"ec2:DescribeSubnets"}
    poll = statements(full_stack, "PollRole")
    assert poll["ReadObjects"]["Resource"] == ["arn:aws:s3:::bucket/prefect/*"]
    assert poll["LaunchElsewhere"]["Resource"] == ["arn:aws:iam::210987654321:role/prefect-launcher"]
    assert poll["ReadExtraParameters"]["Resource"] == ["arn:aws:ssm:eu-west-1:123456789012:parameter/company/ca-bundle"]
    assert poll["DecryptSecrets"]["Resource"] == "arn:aws:kms:eu-west-1:123456789012:key/k"
    assert poll["DecryptSecrets"]["Condition"] == {"StringEquals": VIA_SSM}


def test_poll_reads_its_parameters_and_writes_only_state(stack):
    poll = statements(stack, "PollRole")
    assert poll["WriteState"]["Action"] == "ssm:PutParameter"
    assert poll["WriteState"]["Resource"] == f"{PARAMETER}/state/*"
    below = ["config", "config/*", "files/*", "secrets", "secrets/*", "state", "state/*"]
    assert poll["ReadParameters"]["Resource"] == [f"{PARAMETER}/{path}" for path in below]


def test_poll_launches_only_in_the_clusters_it_is_given(stack, full_stack):
    own = "arn:aws:ecs:eu-west-1:123456789012:cluster/*"
    named = ["arn:aws:ecs:eu-west-1:123456789012:cluster/prefect", "arn:aws:ecs:eu-west-1:123456789012:cluster/spot-*"]
    for each, clusters in ((stack, own), (full_stack, named)):
        poll = statements(each, "PollRole")
        for sid in ("RunTasks", "SeeAndStopTasks", "FindTasks"):
            assert poll[sid]["Condition"] == {"ArnLike": {"ecs:cluster": clusters}}, sid
        assert poll["RunTasks"]["Resource"] == f"{ECS}:task-definition/*"
        assert poll["SeeAndStopTasks"]["Resource"] == f"{ECS}:task/*"
        # ListTasks of a cluster is authorised against "*"; only lists of one container instance have its ARN.
        assert poll["FindTasks"]["Resource"] == "*"


def test_poll_tags_only_what_it_creates(stack):
    tag = statements(stack, "PollRole")["TagWhatIsCreated"]
    assert tag["Resource"] == [f"{ECS}:task/*", f"{ECS}:task-definition/*"]
    assert tag["Condition"] == {"StringEquals": {"ecs:CreateAction": ["RegisterTaskDefinition", "RunTask"]}}


def test_poll_passes_only_named_roles_and_only_to_tasks(stack, full_stack):
    own = "arn:aws:iam::123456789012:role/prefect-serverless-agent/*"
    for each, passable in ((stack, own), (full_stack, ["arn:aws:iam::123456789012:role/prefect-*"])):
        passing = statements(each, "PollRole")["PassRoles"]
        assert passing["Resource"] == passable
        assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}


def test_the_roles_of_the_cluster_stack_may_be_passed(stack):
    passable = statements(stack, "PollRole")["PassRoles"]["Resource"]
    for name, role in roles(expansion.cluster_stack()).items():
        arn = f"arn:aws:iam::123456789012:role{role['Path']}{name}"
        assert re.fullmatch(passable.replace("*", ".*"), arn), name


def test_health_reads_no_api_keys_and_starts_only_polls(stack, full_stack):
    assert allowed(stack, "HealthRole") == {
        "logs:CreateLogStream", "logs:PutLogEvents",
        "ssm:GetParameter", "ssm:GetParametersByPath",
        "lambda:InvokeFunction",
    }  # fmt: skip
    health = statements(full_stack, "HealthRole")
    below = ["config", "config/*", "state", "state/*", "secrets/poke-token"]
    assert health["ReadParameters"]["Resource"] == [f"{PARAMETER}/{path}" for path in below]
    assert health["StartPoll"]["Resource"] == POLL_ARN
    token_only = {**VIA_SSM, "kms:EncryptionContext:PARAMETER_ARN": f"{PARAMETER}/secrets/poke-token"}
    assert health["DecryptPokeToken"]["Condition"] == {"StringEquals": token_only}
    assert health["ReadPageToken"]["Resource"] == f"{PARAMETER}/secrets/page-token"
    page_only = {**VIA_SSM, "kms:EncryptionContext:PARAMETER_ARN": f"{PARAMETER}/secrets/page-token"}
    assert health["DecryptPageToken"]["Condition"] == {"StringEquals": page_only}


def test_poke_reads_its_token_and_starts_polls(full_stack):
    assert allowed(full_stack, "PokeRole") == {
        "logs:CreateLogStream", "logs:PutLogEvents", "ssm:GetParameter", "kms:Decrypt", "lambda:InvokeFunction", *TRACES,
    }  # fmt: skip
    poke = statements(full_stack, "PokeRole")
    assert poke["WriteLogs"]["Resource"] == {"GetAtt": ["PokeLogGroup", "Arn"]}
    assert poke["ReadPokeToken"]["Resource"] == f"{PARAMETER}/secrets/poke-token"
    assert poke["DecryptPokeToken"] == statements(full_stack, "HealthRole")["DecryptPokeToken"]
    assert poke["StartPoll"]["Resource"] == POLL_ARN


def test_logs_go_to_the_functions_own_group(stack):
    for role, group in (
        ("PollRole", "PollLogGroup"),
        ("HealthRole", "HealthLogGroup"),
        ("TaskEventsRole", "TaskEventsLogGroup"),
    ):
        assert statements(stack, role)["WriteLogs"]["Resource"] == {"GetAtt": [group, "Arn"]}


def test_the_schedule_may_only_invoke_poll(stack):
    assert allowed(stack, "ScheduleRole") == {"lambda:InvokeFunction"}
    assert statements(stack, "ScheduleRole")["InvokePoll"]["Resource"] == POLL_ARN


SECRETS = "arn:aws:ssm:*:123456789012:parameter/prefect-serverless-agent/prod/secrets"
EXECUTION_ROLES = ["OwnExecutionRole", "ExecutionRole"]


@pytest.mark.parametrize("name", EXECUTION_ROLES)
def test_the_execution_roles_read_the_secrets_below_the_root(name):
    role = statements(expansion.cluster_stack(SecretsKeyArn="arn:aws:kms:eu-west-1:123456789012:key/k"), name)
    assert role["ReadApiKeys"]["Action"] == "ssm:GetParameters"
    assert role["ReadApiKeys"]["Resource"] == f"{SECRETS}/*"
    assert role["DecryptApiKeys"]["Resource"] == "arn:aws:kms:eu-west-1:123456789012:key/k"
    assert role["DecryptApiKeys"]["Condition"] == {"StringLike": {"kms:ViaService": "ssm.*.amazonaws.com"}}


def test_the_deployments_own_execution_role_is_known_by_its_path_and_is_the_output():
    stack = expansion.cluster_stack()
    assert roles(stack)["OwnExecutionRole"]["Path"] == "/prefect-serverless-agent/prefect-serverless-agent/prod/"
    assert stack["Outputs"]["ExecutionRoleArn"]["Value"] == {"GetAtt": ["OwnExecutionRole", "Arn"]}
    other = expansion.cluster_stack(ParameterRoot="/a/b")
    assert roles(other)["OwnExecutionRole"]["Path"] == "/prefect-serverless-agent/a/b/"
    assert statements(other, "OwnExecutionRole")["ReadApiKeys"]["Resource"].endswith(":parameter/a/b/secrets/*")
    # Pools name a role by its ARN: one that another path replaces is left.
    assert stack["Resources"]["OwnExecutionRole"]["UpdateReplacePolicy"] == "Retain"


def test_a_role_for_one_agent_reads_that_agents_secrets_only():
    stack = expansion.cluster_stack(AgentName="etl")
    own = roles(stack)["OwnExecutionRole"]
    assert own["Path"] == "/prefect-serverless-agent/prefect-serverless-agent/prod/agent/etl/"
    assert statements(stack, "OwnExecutionRole")["ReadApiKeys"]["Resource"] == f"{SECRETS}/etl/*"


def test_the_execution_role_of_before_stays_as_it_was():
    stack = expansion.cluster_stack(AgentName="etl")
    assert roles(stack)["ExecutionRole"]["Path"] == "/prefect-serverless-agent/"
    everything = expansion.cluster_stack()
    assert statements(everything, "ExecutionRole") == statements(everything, "OwnExecutionRole")


@pytest.mark.parametrize("name", EXECUTION_ROLES)
def test_the_execution_roles_serve_a_pool_that_configures_its_logs(name):
    # What such a pool's definitions say: awslogs-create-group, awslogs-group `prefect`.
    logs = statements(expansion.cluster_stack(), name)["WriteWorkPoolLogs"]
    assert set(logs["Action"]) == {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}
    group = "arn:aws:logs:eu-west-1:123456789012:log-group:prefect"
    assert logs["Resource"] == [group, f"{group}:*"]


def test_a_root_is_short_enough_for_the_paths_that_are_named_after_it(stack):
    longest = "/" + "a" * 399
    role = roles(expansion.cluster_stack(ParameterRoot=longest, AgentName="a" * 64))["OwnExecutionRole"]
    assert len(role["Path"]) <= 512  # IAM's limit
    for deploy in (expansion.expand, expansion.cluster_stack):
        deploy(ParameterRoot=longest)
        with pytest.raises(AssertionError, match="too long"):
            deploy(ParameterRoot=longest + "a")


def test_flows_may_do_nothing_unless_told():
    assert "Policies" not in roles(expansion.cluster_stack())["TaskRole"]
    assert "ManagedPolicyArns" not in roles(expansion.cluster_stack())["TaskRole"]


def test_check_only_reads_and_is_there_on_request_only(stack, full_stack):
    assert not [name for name in stack["Resources"] if name.startswith("Checker")]
    writes_logs, in_vpc = {"logs:CreateLogStream", "logs:PutLogEvents"} | TRACES, VPC
    reads = ("Describe", "Get", "List", "BatchGet", "Simulate")
    for action in allowed(full_stack, "CheckerRole") - writes_logs - in_vpc - {"kms:Decrypt"}:
        assert action.split(":")[1].startswith(reads), action
    found = statements(full_stack, "CheckerRole")
    assert found["DecryptSecrets"]["Resource"] == "arn:aws:kms:eu-west-1:123456789012:key/k"
    assert all(one.startswith(PARAMETER) for one in listed(found["ReadParameters"]["Resource"]))
    assert found["SeePokeUrl"]["Resource"] == {"GetAtt": ["PokeFunction", "Arn"]}
    seen = found["SeeScheduleRulesAndQueues"]
    assert "sqs:GetQueueAttributes" in seen["Action"]
    queues = [one["GetAtt"][0] for one in seen["Resource"] if "GetAtt" in one]
    assert queues == ["TaskEventsQueue", "TaskEventsDeadLetters", "TaskEventsFailures"]


@pytest.mark.parametrize("function", ["poll", "check", "task-events"])
def test_code_may_not_touch_the_interfaces_that_lambda_attaches_it_with(full_stack, function):
    role = {"poll": "PollRole", "check": "CheckerRole", "task-events": "TaskEventsRole"}[function]
    (name,) = [n for n, r in full_stack["Resources"].items() if r["Properties"].get("FunctionName") == f"psa-{function}"]
    assert full_stack["Resources"][name]["Properties"]["Role"] == {"GetAtt": [role, "Arn"]}
    own = iam.statements_of(full_stack, role)
    arn = f"arn:aws:lambda:eu-west-1:123456789012:function:psa-{function}"
    for action in VPC:
        # Poll looks its network up, check looks at what it is told.
        is_asked = action == "ec2:DescribeSubnets" and function != "task-events"
        as_lambda, as_code = iam.Permission(action, "*"), iam.Permission(action, "*", {"lambda:SourceFunctionArn": arn})
        assert (iam.allows(own, as_lambda), iam.allows(own, as_code)) == (True, is_asked), action


def test_poll_and_check_decrypt_objects_with_the_keys_that_are_named_and_only_for_s3(stack, full_stack):
    keys = ["arn:aws:kms:eu-west-1:123456789012:key/o", "arn:aws:kms:us-east-1:123456789012:key/p"]
    for role in ("PollRole", "CheckerRole"):
        own = iam.statements_of(full_stack, role)
        for service, expected in [("s3.us-east-1.amazonaws.com", True), ("ssm.us-east-1.amazonaws.com", False), (None, False)]:
            context = {"kms:ViaService": service} if service else {}
            assert iam.allows(own, iam.Permission("kms:Decrypt", keys[1], context)) is expected, (role, service)
    assert statements(full_stack, "PollRole")["DecryptObjects"]["Resource"] == keys
    assert "DecryptObjects" not in statements(stack, "PollRole")


def test_only_the_history_of_what_is_remembered_is_read(stack):
    poll = iam.statements_of(stack, "PollRole")
    for path, expected in [("state/etl/polls", True), ("secrets/etl/api-key", False), ("config/etl", False)]:
        assert iam.allows(poll, iam.Permission("ssm:GetParameterHistory", f"{PARAMETER}/{path}")) is expected, path
    for role in roles(stack):
        assert "ssm:GetParameters" not in allowed(stack, role), f"{role}: no function asks for that"


def test_traces_are_sent_where_they_are_asked_for_and_nowhere_else(stack, full_stack):
    functions = {name: item["Properties"] for name, item in full_stack["Resources"].items() if item["Type"] == "AWS::Lambda::Function"}
    assert {name: item["TracingConfig"] for name, item in functions.items()} == dict.fromkeys(functions, {"Mode": "Active"})
    for properties in functions.values():
        (role, _) = properties["Role"]["GetAtt"]
        sends = statements(full_stack, role)["SendTraces"]
        assert (set(sends["Action"]), sends["Resource"]) == (TRACES, "*"), role
    assert "SendTraces" not in statements(full_stack, "ScheduleRole"), "Scheduler takes no part in traces"
    # What is off says what a function without a word does, and may no more.
    assert not [role for role in roles(stack) if "SendTraces" in statements(stack, role)]
    off = [item["Properties"]["TracingConfig"] for item in stack["Resources"].values() if item["Type"] == "AWS::Lambda::Function"]
    assert off == [{"Mode": "PassThrough"}] * 3
    assert expansion.expand(Tracing="DISABLED") == stack
