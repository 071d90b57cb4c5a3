"""The evaluator itself, against cases decided by hand from IAM's documentation."""

import iam
import pytest

ALLOW = {"Effect": "Allow", "Action": ["ecs:RunTask", "ssm:Get*"], "Resource": "arn:aws:ecs:*:123456789012:task-definition/*"}
DENY = {"Effect": "Deny", "Action": "ecs:*", "Resource": "arn:aws:ecs:eu-west-1:123456789012:task-definition/secret:*"}
IN_CLUSTER = {**ALLOW, "Condition": {"ArnLike": {"ecs:cluster": ["arn:aws:ecs:eu-west-1:123456789012:cluster/etl-*"]}}}
PASSED = {
    "Effect": "Allow",
    "Action": "iam:PassRole",
    "Resource": ["arn:aws:iam::123456789012:role/ecsTaskExecutionRole", "arn:aws:iam::123456789012:role/flows/*"],
    "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
}
DEFINITION = "arn:aws:ecs:eu-west-1:123456789012:task-definition/flow:1"
SECRET = "arn:aws:ecs:eu-west-1:123456789012:task-definition/secret:1"
TO_TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
CLUSTER = {"ecs:cluster": "arn:aws:ecs:eu-west-1:123456789012:cluster/etl-1"}


@pytest.mark.parametrize(
    ("statements", "action", "resource", "context", "expected"),
    [
        ([], "ecs:RunTask", DEFINITION, {}, False),
        ([ALLOW], "ecs:RunTask", DEFINITION, {}, True),
        ([ALLOW], "ECS:runtask", DEFINITION, {}, True),
        ([ALLOW], "ssm:GetParameter", DEFINITION, {}, True),
        ([ALLOW], "ecs:StopTask", DEFINITION, {}, False),
        ([ALLOW], "ecs:RunTask", DEFINITION.replace("123456789012", "210987654321"), {}, False),
        ([ALLOW, DENY], "ecs:RunTask", DEFINITION, {}, True),
        ([ALLOW, DENY], "ecs:RunTask", SECRET, {}, False),
        ([DENY, ALLOW], "ecs:RunTask", SECRET, {}, False),
        ([IN_CLUSTER], "ecs:RunTask", DEFINITION, CLUSTER, True),
        ([IN_CLUSTER], "ecs:RunTask", DEFINITION, {}, False),
        ([IN_CLUSTER], "ecs:RunTask", DEFINITION, {"ecs:cluster": CLUSTER["ecs:cluster"].replace("etl-", "web-")}, False),
        ([PASSED], "iam:PassRole", "arn:aws:iam::123456789012:role/ecsTaskExecutionRole", TO_TASKS, True),
        ([PASSED], "iam:PassRole", "arn:aws:iam::123456789012:role/flows/a/b", TO_TASKS, True),
        ([PASSED], "iam:PassRole", "arn:aws:iam::123456789012:role/Admin", TO_TASKS, False),
        ([PASSED], "iam:PassRole", "arn:aws:iam::123456789012:role/flows/a", {"iam:PassedToService": "ec2.amazonaws.com"}, False),
        ([PASSED], "iam:PassRole", "arn:aws:iam::123456789012:role/flows/a", {}, False),
        ([{**ALLOW, "Resource": "*"}], "ecs:RunTask", "anything[1]", {}, True),
        ([{**ALLOW, "Resource": "any[t]hing"}], "ecs:RunTask", "anything", {}, False),
    ],
)
def test_what_iam_decides(statements, action, resource, context, expected):
    assert iam.allows(statements, iam.Permission(action, resource, context)) is expected
