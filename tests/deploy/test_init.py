"""With the parameters that `init` printed for a pool, every request of every run is allowed, and nothing wider is.

`tests/it/command/init/permissions.rs` wrote `init/*.json` down: what the real `init` printed, and what the real `poll` function,
set up by it, then asked of AWS. The policies are those of the transformed template."""

import json
import shlex
from pathlib import Path

import pytest
from samcli.cli.types import CfnParameterOverridesType

import expansion
import iam

FIXTURES = sorted((Path(__file__).parent / "init").glob("*.json"))
TO_TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}


@pytest.fixture(params=FIXTURES, ids=lambda path: path.stem)
def pool(request):
    return Pool(json.loads(request.param.read_text()))


class Pool:
    """What was written down of a pool, and the stack that is deployed with it."""

    def __init__(self, written):
        self.written = written
        self.region, self.parameters = written["region"], written["parameters"]
        assert written["account"] == iam.ACCOUNT
        self.stack = expansion.expand(region=self.region, **self.parameters)

    def arn(self, service, resource):
        return f"arn:aws:{service}:{self.region}:{iam.ACCOUNT}:{resource}"

    def may(self, role, action, resource, **context):
        return iam.allows(iam.statements_of(self.stack, role), iam.Permission(action, resource, context.get("context", {})))

    def requests(self, operation=None):
        return [each for each in self.written["requests"] if operation in (None, each["operation"])]

    def permissions(self):
        """What AWS wants to see for all requests of `poll`."""
        registered = [{**each["body"], "taskDefinitionArn": self.arn("ecs", f"task-definition/{each['body']['family']}:1")}
                      for each in self.requests("RegisterTaskDefinition")]  # fmt: skip
        for each in self.requests():
            signed = [("authorization", f"AWS4-HMAC-SHA256 Credential=AKIA/20260101/{self.region}/")]
            entry = {**each, "body": json.dumps(each["body"]), "headers": signed, "line": "POST /"}
            yield from iam.permissions(entry, registered)

    def asked(self, action):
        return {each.resource for each in self.permissions() if each.action == action}

    def clusters(self):
        return {each.context["ecs:cluster"] for each in self.permissions() if each.action == "ecs:RunTask"}

    def log_groups(self):
        containers = (one for each in self.requests("RegisterTaskDefinition") for one in each["body"]["containerDefinitions"])
        return {one["logConfiguration"]["options"]["awslogs-group"] for one in containers}


def test_there_is_something_to_test():
    assert [path.stem for path in FIXTURES] == ["hand_made", "stock", "widening"]


def test_every_request_of_every_run_is_allowed(pool):
    assert pool.requests("RunTask")
    statements = iam.statements_of(pool.stack, "PollRole")
    refused = [str(each) for each in pool.permissions() if not iam.allows(statements, each)]
    assert not refused


def test_tasks_are_found_stopped_and_looked_at_where_they_run(pool):
    for cluster in pool.clusters():
        context = {"ecs:cluster": cluster}
        task = pool.arn("ecs", f"task/{cluster.split('/')[-1]}/0123")
        for role, actions in {"PollRole": ["DescribeTasks", "StopTask"], "TaskEventsRole": ["DescribeTasks"]}.items():
            assert pool.may(role, "ecs:ListTasks", "*", context=context)
            for action in actions:
                assert pool.may(role, f"ecs:{action}", task, context=context), (role, action)


def test_the_last_lines_of_every_container_can_be_read(pool):
    assert pool.log_groups()
    for group in pool.log_groups():
        stream = pool.arn("logs", f"log-group:{group}:log-stream:prefect-logs/prefect/0123")
        assert pool.may("TaskEventsRole", "logs:GetLogEvents", stream), group


def test_nothing_wider_than_what_was_asked_is_allowed(pool):
    needed = {
        "PassableRoleArns": pool.asked("iam:PassRole"),
        "ClusterArns": pool.clusters(),
        "TaskLogArns": {pool.arn("logs", f"log-group:{group}:log-stream:*") for group in pool.log_groups()},
    }
    # Every entry was asked for by a request, and nothing else is a parameter.
    assert {name: set(value.split(",")) for name, value in pool.parameters.items() if name in needed} == needed
    schedule = {"PollSchedule", "SilenceAfterMinutes"} if pool.written["every"] != 1 else set()
    assert set(pool.parameters) == {"ParameterRoot", *needed} | schedule
    # In no policy stands what matches more than one thing.
    exact = {"PassableRoleArns", "ClusterArns"}
    assert not [value for name, value in pool.parameters.items() if name in exact and set(value) & set("*?")]

    for role in needed["PassableRoleArns"]:
        for other in (f"{role}2", role.rsplit("/", 1)[0] + "/Admin", role.replace(iam.ACCOUNT, "999999999999")):
            assert not pool.may("PollRole", "iam:PassRole", other, context=TO_TASKS), other
        elsewhere = {"iam:PassedToService": "lambda.amazonaws.com"}
        assert not pool.may("PollRole", "iam:PassRole", role, context=elsewhere)
    definition = pool.arn("ecs", "task-definition/x:1")
    for cluster in (pool.arn("ecs", "cluster/other"), *(f"{cluster}2" for cluster in pool.clusters())):
        assert not pool.may("PollRole", "ecs:RunTask", definition, context={"ecs:cluster": cluster}), cluster
    for group in ("other", *(f"{group}2" for group in pool.log_groups())):
        stream = pool.arn("logs", f"log-group:{group}:log-stream:x")
        assert not pool.may("TaskEventsRole", "logs:GetLogEvents", stream), group


def test_the_defaults_would_not_do(pool):
    """What the parameters are for: without them ECS refuses the pool's own roles."""
    bare = Pool({**pool.written, "parameters": {"ParameterRoot": pool.parameters["ParameterRoot"]}})
    roles = pool.asked("iam:PassRole")
    assert roles and not any(bare.may("PollRole", "iam:PassRole", role, context=TO_TASKS) for role in roles)


def test_a_shell_and_sam_read_the_commands_back_as_the_parameters(pool):
    words = shlex.split(pool.written["sam"])
    overrides = words[words.index("--parameter-overrides") + 1 :]
    assert CfnParameterOverridesType().convert(tuple(overrides), None, None) == pool.parameters
    words = shlex.split(pool.written["cloudformation"])
    overrides = words[words.index("--parameter-overrides") + 1 :]
    assert dict(word.split("=", 1) for word in overrides) == pool.parameters


def test_a_shell_and_sam_read_values_back_that_have_blanks_quotes_and_backslashes():
    written = json.loads((Path(__file__).parent / "sam_words.json").read_text())
    assert sum("\\" in value for value in written["values"].values()) == 2
    words = shlex.split(written["sam"])
    overrides = words[words.index("--parameter-overrides") + 1 :]
    assert CfnParameterOverridesType().convert(tuple(overrides), None, None) == written["values"]
