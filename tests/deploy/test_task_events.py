"""What happens to tasks reaches the `task-events` function, is tried again, and is never lost silently."""

import expansion
import pytest
from test_functions import invoke_configs, of_type, properties
from test_permissions import ECS, PARAMETER, VIA_SSM, VPC, allowed, statements

FUNCTION = {"GetAtt": ["TaskEventsFunction", "Arn"]}
FAILURES = {"GetAtt": ["TaskEventsFailures", "Arn"]}
RULES = ["TaskEventsFunctionOwnTasks", "TaskEventsFunctionWorkersTasks"]
OWN = [{"prefix": "prefect/"}]
UNSIGNED = [{"exists": False}]
HERE = "arn:aws:events:eu-west-1:123456789012:event-bus/default"


def pattern(started_by):
    return {"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"], "detail": {"startedBy": started_by}}


def test_the_function_hears_of_tasks_by_who_started_them(stack):
    rules = of_type(stack, "AWS::Events::Rule")
    assert sorted(rules) == RULES
    for name, started_by in zip(RULES, (OWN, UNSIGNED)):
        assert rules[name]["Properties"]["EventPattern"] == pattern(started_by)
        (target,) = rules[name]["Properties"]["Targets"]
        assert target["Arn"] == FUNCTION


def test_the_tasks_of_workers_are_watched_only_on_request(stack, full_stack):
    assert "State" not in properties(stack, RULES[0])
    assert properties(stack, RULES[1])["State"] == "DISABLED"
    assert properties(full_stack, RULES[1])["State"] == "ENABLED"


def test_only_the_rules_may_start_the_function(stack):
    permissions = [item["Properties"] for item in of_type(stack, "AWS::Lambda::Permission").values()]
    assert len(permissions) == 2
    for permission, rule in zip(permissions, RULES):
        assert permission == {
            "Action": "lambda:InvokeFunction",
            "FunctionName": {"Ref": "TaskEventsFunction"},
            "Principal": "events.amazonaws.com",
            "SourceArn": {"GetAtt": [rule, "Arn"]},
        }


def test_an_event_is_tried_again_for_six_hours_and_then_kept(stack):
    config = invoke_configs(stack)["TaskEventsFunction"]
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (2, 6 * 3600)
    assert config["DestinationConfig"] == {"OnFailure": {"Destination": FAILURES}}
    for rule in RULES:
        (target,) = properties(stack, rule)["Targets"]
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 6 * 3600
        assert target["DeadLetterConfig"] == {"Arn": FAILURES}


def test_what_is_kept_is_encrypted_and_stays_for_two_weeks(stack):
    (queue,) = of_type(stack, "AWS::SQS::Queue").values()
    assert queue["Properties"]["MessageRetentionPeriod"] == 14 * 86400
    assert queue["Properties"]["SqsManagedSseEnabled"] is True


def test_only_the_rules_may_fill_the_failure_queue_from_outside(stack):
    (policy,) = of_type(stack, "AWS::SQS::QueuePolicy").values()
    assert policy["Properties"]["Queues"] == [{"Ref": "TaskEventsFailures"}]
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("sqs:SendMessage", FAILURES)
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": [{"GetAtt": [rule, "Arn"]} for rule in RULES]}}


def test_it_has_time_for_a_second_look(stack):
    assert properties(stack, "TaskEventsFunction")["Timeout"] == 60


def test_it_reaches_prefect_where_poll_does(stack, full_stack):
    assert "VpcConfig" not in properties(stack, "TaskEventsFunction")
    assert properties(full_stack, "TaskEventsFunction")["VpcConfig"] == properties(full_stack, "PollFunction")["VpcConfig"]


def test_it_may_do_exactly_this(stack, full_stack):
    own = {
        "logs:CreateLogStream", "logs:PutLogEvents", "logs:GetLogEvents", "sqs:SendMessage",
        "ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath",
        "ecs:DescribeTasks", "ecs:ListTasks", "ecs:DescribeTaskDefinition", "ecs:DeregisterTaskDefinition",
    }  # fmt: skip
    assert allowed(stack, "TaskEventsRole") == own
    assert allowed(full_stack, "TaskEventsRole") - own == {"kms:Decrypt", "sts:AssumeRole"} | VPC


def test_it_reads_configurations_and_secrets_and_no_state(full_stack):
    role = statements(full_stack, "TaskEventsRole")
    below = ["config", "config/*", "files/*", "secrets", "secrets/*"]
    assert role["ReadParameters"]["Resource"] == [f"{PARAMETER}/{path}" for path in below]
    assert role["ReadExtraParameters"]["Resource"] == ["arn:aws:ssm:eu-west-1:123456789012:parameter/company/ca-bundle"]
    assert role["DecryptSecrets"]["Condition"] == {"StringEquals": VIA_SSM}
    assert role["LookElsewhere"]["Resource"] == ["arn:aws:iam::210987654321:role/prefect-launcher"]
    assert role["KeepFailures"]["Resource"] == FAILURES


def test_it_looks_where_poll_launches(stack, full_stack):
    for each in (stack, full_stack):
        seen = statements(each, "TaskEventsRole")["SeeTasks"]
        assert seen["Resource"] == f"{ECS}:task/*"
        assert seen["Condition"] == statements(each, "PollRole")["RunTasks"]["Condition"]
        assert statements(each, "TaskEventsRole")["FindTasks"] == statements(each, "PollRole")["FindTasks"]


def test_it_reads_the_logs_of_flow_runs_only(stack, full_stack):
    logs = "arn:aws:logs:*:123456789012:log-group"
    default = [f"{logs}:prefect*:log-stream:*", f"{logs}:/prefect/*:log-stream:*"]
    assert statements(stack, "TaskEventsRole")["ReadTaskLogs"]["Resource"] == default
    named = ["arn:aws:logs:eu-west-1:123456789012:log-group:/company/flows:*"]
    assert statements(full_stack, "TaskEventsRole")["ReadTaskLogs"]["Resource"] == named
    group = expansion.cluster_stack()["Resources"]["LogGroup"]["Properties"]["LogGroupName"]
    assert group.startswith("/prefect/"), "the log group of infra/cluster.yaml is among the default ones"


def test_other_accounts_may_send_events_of_tasks_and_nothing_else(stack, full_stack):
    assert of_type(stack, "AWS::Events::EventBusPolicy") == {}
    (policy,) = of_type(full_stack, "AWS::Events::EventBusPolicy").values()
    statement = policy["Properties"]["Statement"]
    assert statement["Principal"] == {"AWS": ["210987654321", "321098765432"]}
    assert (statement["Action"], statement["Resource"]) == ("events:PutEvents", HERE)
    assert statement["Condition"] == {
        "ForAllValues:StringEquals": {"events:source": "aws.ecs"},
        "StringEquals": {"events:detail-type": "ECS Task State Change"},
    }


def test_where_tasks_run_elsewhere_their_events_are_forwarded():
    there = expansion.forward_stack()
    bus = "arn:aws:events:eu-west-1:210987654321:event-bus/default"
    local = {"account": ["123456789012"], "region": ["eu-west-1"]}
    for name, started_by, state in (("OwnTasks", OWN, None), ("WorkersTasks", UNSIGNED, "DISABLED")):
        rule = properties(there, name)
        assert rule["EventPattern"] == {**local, **pattern(started_by)}
        assert rule.get("State") == state
        assert rule["Targets"] == [{"Id": "agent", "Arn": bus, "RoleArn": {"GetAtt": ["ForwardRole", "Arn"]}}]
    assert properties(expansion.forward_stack(WorkersTasksState="ENABLED"), "WorkersTasks")["State"] == "ENABLED"


def test_forwarding_may_only_send_events_to_that_bus():
    there = expansion.forward_stack()
    assert allowed(there, "ForwardRole") == {"events:PutEvents"}
    bus = "arn:aws:events:eu-west-1:210987654321:event-bus/default"
    assert statements(there, "ForwardRole")["SendEvents"]["Resource"] == bus


def test_a_bus_never_forwards_to_itself(stack):
    assert stack["Outputs"]["EventBusArn"]["Value"] == HERE
    assert of_type(expansion.forward_stack(EventBusArn=HERE), "AWS::Events::Rule") == {}
    other_region = expansion.forward_stack(EventBusArn=HERE.replace("eu-west-1", "us-east-1"))
    assert len(of_type(other_region, "AWS::Events::Rule")) == 2


@pytest.mark.parametrize("bus", ["default", "arn:aws:sqs:eu-west-1:123456789012:queue", "arn:aws:events:eu-west-1:123456789012:rule/x"])
def test_what_is_no_bus_is_refused(bus):
    with pytest.raises(AssertionError, match="EventBusArn refuses"):
        expansion.forward_stack(EventBusArn=bus)
