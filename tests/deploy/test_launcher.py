"""The role of another account (infra/launcher-role.yaml): trusts the agent's two roles and its external id, and may do what the
requests of launches ask, where it is meant to, and nothing else."""

import json

import expansion
import iam
import pytest
from test_init import FIXTURES, TO_TASKS, Pool

POLL, TASK_EVENTS = (f"arn:aws:iam::999999999999:role/{name}" for name in ("PollRole", "TaskEventsRole"))
ELSEWHERE = ("ecs:", "ec2:", "iam:")


@pytest.fixture(params=FIXTURES, ids=lambda path: path.stem)
def pool(request):
    return Pool(json.loads(request.param.read_text()))


def launcher(pool, **parameters):
    taken = {name: pool.parameters[name] for name in ("ClusterArns", "PassableRoleArns", "TaskLogArns") if name in pool.parameters}
    trusted = {"PollRoleArn": POLL, "TaskEventsRoleArn": TASK_EVENTS, "ExternalId": "6f1d2c3b"}
    return expansion.launcher_stack(pool.region, **trusted, **{**taken, **parameters})


def may(stack, action, resource, **context):
    return iam.allows(iam.statements_of(stack, "LauncherRole"), iam.Permission(action, resource, context.get("context", {})))


def test_it_trusts_the_agents_roles_and_its_external_id(pool):
    (statement,) = launcher(pool)["Resources"]["LauncherRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"AWS": [POLL, TASK_EVENTS]},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "6f1d2c3b"}},
    }


def test_every_request_of_every_launch_is_allowed_and_no_parameter_or_object_of_that_account(pool):
    stack = launcher(pool)
    wanted = [one for one in pool.permissions() if one.action.startswith(ELSEWHERE)]
    refused = [str(one) for one in wanted if not iam.allows(iam.statements_of(stack, "LauncherRole"), one)]
    assert wanted and not refused
    for one in pool.permissions():
        assert one.action.startswith(ELSEWHERE) or not iam.allows(iam.statements_of(stack, "LauncherRole"), one), str(one)


def test_only_where_it_is_meant_to(pool):
    stack = launcher(pool)
    cluster = {"ecs:cluster": pool.arn("ecs", "cluster/other")}
    assert not may(stack, "ecs:RunTask", pool.arn("ecs", "task-definition/x:1"), context=cluster)
    assert not may(stack, "ecs:StopTask", pool.arn("ecs", "task/other/1"), context=cluster)
    assert not may(stack, "iam:PassRole", f"arn:aws:iam::{iam.ACCOUNT}:role/Admin", context=TO_TASKS)
    for role in pool.asked("iam:PassRole"):
        assert not may(stack, "iam:PassRole", role, context={"iam:PassedToService": "lambda.amazonaws.com"})
    for group in pool.log_groups():
        assert may(stack, "logs:GetLogEvents", pool.arn("logs", f"log-group:{group}:log-stream:x"))
    assert not may(stack, "logs:GetLogEvents", pool.arn("logs", "log-group:/aws/lambda/x:log-stream:x"))


def test_what_becomes_of_tasks_is_seen(pool):
    stack = launcher(pool)
    for cluster in pool.clusters():
        context = {"ecs:cluster": cluster}
        assert may(stack, "ecs:DescribeTasks", pool.arn("ecs", f"task/{cluster.split('/')[-1]}/0123"), context=context)
        assert may(stack, "ecs:ListTasks", "*", context=context)
    assert may(stack, "ecs:DeregisterTaskDefinition", "*") and may(stack, "ecs:DescribeTaskDefinition", "*")
