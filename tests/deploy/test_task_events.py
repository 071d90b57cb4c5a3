"""What happens to tasks reaches the `task-events` function, is tried again, and is never lost silently."""

import json
import re

import deployed
import expansion
import iam
import pytest
from test_functions import invoke_configs, of_type, properties
from test_permissions import ECS, PARAMETER, TRACES, VIA_SSM, VPC, allowed, statements

QUEUE = {"GetAtt": ["TaskEventsQueue", "Arn"]}
DEAD_LETTERS = {"GetAtt": ["TaskEventsDeadLetters", "Arn"]}
FAILURES = {"GetAtt": ["TaskEventsFailures", "Arn"]}
RULES = ["OwnTasksRule", "WorkersTasksRule"]
# Also those that SAM named in stacks from before there was a queue: psa-TaskEventsFunctionOwnTasks-….
ANY_RULE = "arn:aws:events:eu-west-1:123456789012:rule/psa-*"
FORMER_RULE = "arn:aws:events:eu-west-1:123456789012:rule/psa-TaskEventsFunctionOwnTasks-1ABCDEFGHIJKL"
DAY, HOUR = 86400, 3600
README = (expansion.ROOT / "README.md").read_text()
OWN = [{"prefix": "prefect/"}]
UNSIGNED = [{"exists": False}]
HERE = "arn:aws:events:eu-west-1:123456789012:event-bus/default"


def pattern(started_by):
    return {"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"], "detail": {"startedBy": started_by}}


def test_the_rules_send_to_the_queue_what_happens_to_tasks_by_who_started_them(stack):
    rules = of_type(stack, "AWS::Events::Rule")
    assert sorted(rules) == RULES
    for name, physical, started_by in zip(RULES, ("psa-own-tasks", "psa-workers"), (OWN, UNSIGNED)):
        rule = rules[name]["Properties"]
        assert (rule["Name"], rule["EventPattern"]) == (physical, pattern(started_by))
        (target,) = rule["Targets"]
        assert target["Arn"] == QUEUE
        assert "RoleArn" not in target and "InputTransformer" not in target, "the event comes as ECS wrote it"


def test_the_tasks_of_workers_are_watched_only_on_request(stack, full_stack):
    assert "State" not in properties(stack, RULES[0])
    assert properties(stack, RULES[1])["State"] == "DISABLED"
    assert properties(full_stack, RULES[1])["State"] == "ENABLED"


def test_the_function_is_handed_batches_and_says_which_messages_stay(stack):
    (mapping,) = of_type(stack, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["Properties"] == {
        "EventSourceArn": QUEUE,
        "FunctionName": {"Ref": "TaskEventsFunction"},
        "BatchSize": 10,
        "ScalingConfig": {"MaximumConcurrency": 2},
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "Tags": [{"Key": "Application", "Value": "prefect-serverless-agent"}],
    }
    visibility = properties(stack, "TaskEventsQueue")["VisibilityTimeout"]
    assert visibility == 6 * properties(stack, "TaskEventsFunction")["Timeout"] == 360


def test_what_cannot_be_told_is_tried_for_more_than_twelve_hours_and_never_outlives_the_queue(stack):
    queue = properties(stack, "TaskEventsQueue")
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": DEAD_LETTERS, "maxReceiveCount": 60}
    # The last receive is followed by no wait: the next one would be one too many.
    waits = [60 * min(2**receives, 15) for receives in range(queue["RedrivePolicy"]["maxReceiveCount"] - 1)]
    assert waits[:6] == [60, 120, 240, 480, 900, 900]
    assert 12 * HOUR <= sum(waits) < queue["MessageRetentionPeriod"] - DAY


def test_queues_are_encrypted_and_keep_what_nobody_took(stack):
    queues = {name: item["Properties"] for name, item in of_type(stack, "AWS::SQS::Queue").items()}
    assert {name: (queue["QueueName"], queue["MessageRetentionPeriod"]) for name, queue in queues.items()} == {
        "TaskEventsQueue": ("psa-task-events", 4 * DAY),
        "TaskEventsDeadLetters": ("psa-task-events-dead-letters", 14 * DAY),
        "TaskEventsFailures": ("psa-task-events-failures", 14 * DAY),
    }
    for name, queue in queues.items():
        assert queue["SqsManagedSseEnabled"] is True, name
        assert "KmsMasterKeyId" not in queue, f"{name}: EventBridge would need its key"


def test_with_a_key_of_ones_own_queues_and_logs_have_it_and_the_function_may_use_it(full_stack):
    key = "arn:aws:kms:eu-west-1:123456789012:key/q"
    for name, item in of_type(full_stack, "AWS::SQS::Queue").items():
        assert item["Properties"]["KmsMasterKeyId"] == key, name
        assert "SqsManagedSseEnabled" not in item["Properties"], f"{name}: SQS takes one of the two"
    groups = of_type(full_stack, "AWS::Logs::LogGroup")
    assert len(groups) == 5 and all(group["Properties"]["KmsKeyId"] == key for group in groups.values())
    use = statements(full_stack, "TaskEventsRole")["UseKeyOfQueues"]
    # It takes messages, sends them again, and Lambda sends its failures as it.
    assert (set(use["Action"]), use["Resource"]) == ({"kms:Decrypt", "kms:GenerateDataKey"}, key)
    assert use["Condition"] == {"StringEquals": {"kms:ViaService": "sqs.eu-west-1.amazonaws.com"}}


def test_the_key_policy_of_the_readme_lets_logs_and_rules_use_the_key_and_nobody_else(full_stack):
    text = next(block for block in re.findall(r"^```json\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) if "events.amazonaws" in block)
    for name, value in {"REGION": "eu-west-1", "ACCOUNT": "123456789012", "STACK": "psa"}.items():
        text = text.replace(name, value)
    policy = {one["Principal"]["Service"]: [one] for one in json.loads(text)}
    assert set(policy) == {"logs.eu-west-1.amazonaws.com", "events.amazonaws.com"}
    logs, rules = policy["logs.eu-west-1.amazonaws.com"], policy["events.amazonaws.com"]
    groups = [item["Properties"]["LogGroupName"] for item in of_type(full_stack, "AWS::Logs::LogGroup").values()]
    for group, expected in [*((group, True) for group in groups), ("/aws/lambda/other-poll", False)]:
        context = {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:eu-west-1:123456789012:log-group:{group}"}
        for action in ("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:GenerateDataKey", "kms:DescribeKey"):
            assert iam.allows(logs, iam.Permission(action, "*", context)) is expected, (group, action)
    names = [item["Properties"]["Name"] for item in of_type(full_stack, "AWS::Events::Rule").values()]
    for name, expected in [*((name, True) for name in names), ("other-own-tasks", False)]:
        context = {"aws:SourceArn": f"arn:aws:events:eu-west-1:123456789012:rule/{name}"}
        for action in ("kms:Decrypt", "kms:GenerateDataKey"):
            assert iam.allows(rules, iam.Permission(action, "*", context)) is expected, (name, action)
    assert not iam.allows(rules, iam.Permission("kms:Decrypt", "*")), "and nobody without saying for whom"


def test_without_a_key_of_ones_own_nobody_may_use_one(stack):
    for name in of_type(stack, "AWS::Logs::LogGroup"):
        assert "KmsKeyId" not in properties(stack, name)
    for role in of_type(stack, "AWS::IAM::Role"):
        assert not [action for action in allowed(stack, role) if action.startswith("kms:")], role


def test_what_the_rules_cannot_deliver_for_six_hours_is_kept(stack):
    for rule in RULES:
        (target,) = properties(stack, rule)["Targets"]
        assert target["RetryPolicy"] == {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 6 * HOUR}
        assert target["DeadLetterConfig"] == {"Arn": DEAD_LETTERS}


def test_only_the_rules_may_fill_the_queues_from_outside(stack):
    # SQS takes policies of one queue only, and the last policy of a queue is its only one.
    policies = of_type(stack, "AWS::SQS::QueuePolicy")
    queues = [policy["Properties"]["Queues"] for policy in policies.values()]
    assert sorted(queue["Ref"] for each in queues for queue in each) == sorted(of_type(stack, "AWS::SQS::Queue"))
    for name, policy in policies.items():
        (queue,) = policy["Properties"]["Queues"]
        (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
        assert statement == {
            "Sid": statement["Sid"],
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": {"GetAtt": [queue["Ref"], "Arn"]},
            "Condition": {"ArnLike": {"aws:SourceArn": ANY_RULE}},
        }, name


def test_the_rules_begin_when_their_queues_let_them_in(stack):
    for rule in RULES:
        (target,) = properties(stack, rule)["Targets"]
        needed = [target["Arn"], target["DeadLetterConfig"]["Arn"]]
        policies = of_type(stack, "AWS::SQS::QueuePolicy").items()
        of = {policy["Properties"]["Queues"][0]["Ref"]: name for name, policy in policies}
        assert stack["Resources"][rule]["DependsOn"] == [of[arn["GetAtt"][0]] for arn in needed]


@pytest.mark.parametrize(
    ("arn", "is_let_in"),
    [
        ("arn:aws:events:eu-west-1:123456789012:rule/psa-own-tasks", True),
        ("arn:aws:events:eu-west-1:123456789012:rule/psa-workers", True),
        (FORMER_RULE, True),
        ("arn:aws:events:eu-west-1:123456789012:rule/other-own-tasks", False),
        ("arn:aws:events:eu-west-1:210987654321:rule/psa-own-tasks", False),
        ("arn:aws:events:us-east-1:123456789012:rule/psa-own-tasks", False),
        ("arn:aws:events:eu-west-1:123456789012:rule/bus/psa-own-tasks", False),
    ],
)
def test_which_rules_are_let_in(stack, arn, is_let_in):
    policies = [policy["Properties"]["PolicyDocument"] for policy in of_type(stack, "AWS::SQS::QueuePolicy").values()]
    statements = [statement for policy in policies for statement in deployed.Deployed(stack).resolved(policy["Statement"])]
    for queue in of_type(stack, "AWS::SQS::Queue"):
        question = iam.Permission("sqs:SendMessage", deployed.Deployed(stack).attribute(queue, "Arn"), {"aws:SourceArn": arn})
        assert iam.allows(statements, question) is is_let_in, queue


def test_the_rules_from_before_may_start_the_function_and_what_they_started_is_kept_for_one_release(stack):
    (permission,) = of_type(stack, "AWS::Lambda::Permission").values()
    assert permission["Properties"] == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": "TaskEventsFunction"},
        "Principal": "events.amazonaws.com",
        "SourceArn": ANY_RULE,
    }
    assert iam.is_like(ANY_RULE, FORMER_RULE)
    config = invoke_configs(stack)["TaskEventsFunction"]
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (2, 6 * HOUR)
    assert config["DestinationConfig"] == {"OnFailure": {"Destination": FAILURES}}


def test_it_has_time_for_a_second_look(stack):
    assert properties(stack, "TaskEventsFunction")["Timeout"] == 60


def test_it_reaches_prefect_where_poll_does(stack, full_stack):
    assert "VpcConfig" not in properties(stack, "TaskEventsFunction")
    assert properties(full_stack, "TaskEventsFunction")["VpcConfig"] == properties(full_stack, "PollFunction")["VpcConfig"]


def test_it_may_do_exactly_this(stack, full_stack):
    own = {
        "logs:CreateLogStream", "logs:PutLogEvents", "logs:GetLogEvents",
        "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility", "sqs:SendMessage",
        "ssm:GetParameter", "ssm:GetParametersByPath", "ssm:PutParameter",
        "ecs:DescribeTasks", "ecs:ListTasks", "ecs:DescribeTaskDefinition",
    }  # fmt: skip
    assert allowed(stack, "TaskEventsRole") == own
    on_request = {"kms:Decrypt", "kms:GenerateDataKey", "sts:AssumeRole", "ecs:DeregisterTaskDefinition"} | TRACES | VPC
    assert allowed(full_stack, "TaskEventsRole") - own == on_request
    assert allowed(expansion.expand(DeregisterTaskDefinitions="ENABLED"), "TaskEventsRole") - own == {"ecs:DeregisterTaskDefinition"}


def test_it_reads_configurations_and_secrets_and_writes_which_tasks_died(full_stack):
    role = statements(full_stack, "TaskEventsRole")
    below = ["config", "config/*", "files/*", "secrets", "secrets/*"]
    assert role["ReadParameters"]["Resource"] == [f"{PARAMETER}/{path}" for path in below]
    assert role["WriteDeaths"]["Resource"] == f"{PARAMETER}/state/*/deaths"
    assert role["ReadExtraParameters"]["Resource"] == ["arn:aws:ssm:eu-west-1:123456789012:parameter/company/ca-bundle"]
    assert role["DecryptSecrets"]["Condition"] == {"StringEquals": VIA_SSM}
    assert role["LookElsewhere"]["Resource"] == ["arn:aws:iam::210987654321:role/prefect-launcher"]


def test_it_takes_from_its_own_queue_and_only_sends_to_that_of_the_failures(stack):
    role = statements(stack, "TaskEventsRole")
    assert (role["KeepFailures"]["Action"], role["KeepFailures"]["Resource"]) == ("sqs:SendMessage", FAILURES)
    assert role["TakeEvents"]["Resource"] == QUEUE
    assert set(role["TakeEvents"]["Action"]) == {
        "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility", "sqs:SendMessage",
    }  # fmt: skip


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
        assert rule["Targets"] == [{
            "Id": "agent",
            "Arn": bus,
            "RoleArn": {"GetAtt": ["ForwardRole", "Arn"]},
            "RetryPolicy": {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 6 * HOUR},
            "DeadLetterConfig": {"Arn": {"GetAtt": ["DeadLetters", "Arn"]}},
        }]
    assert properties(expansion.forward_stack(WorkersTasksState="ENABLED"), "WorkersTasks")["State"] == "ENABLED"


def test_what_the_bus_does_not_take_is_kept_where_the_tasks_run():
    there = expansion.forward_stack()
    tags = [{"Key": "Application", "Value": "prefect-serverless-agent"}]
    assert properties(there, "DeadLetters") == {"MessageRetentionPeriod": 14 * DAY, "SqsManagedSseEnabled": True, "Tags": tags}
    assert there["Outputs"]["DeadLettersUrl"]["Value"] == {"Ref": "DeadLetters"}
    (policy,) = of_type(there, "AWS::SQS::QueuePolicy").values()
    assert policy["Properties"]["Queues"] == [{"Ref": "DeadLetters"}]
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement == {
        "Sid": "KeepWhatTheRulesCannotDeliver",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": {"GetAtt": ["DeadLetters", "Arn"]},
        "Condition": {"ArnEquals": {"aws:SourceArn": [{"GetAtt": [rule, "Arn"]} for rule in ("OwnTasks", "WorkersTasks")]}},
    }


def test_forwarding_may_only_send_events_to_that_bus():
    there = expansion.forward_stack()
    assert allowed(there, "ForwardRole") == {"events:PutEvents"}
    bus = "arn:aws:events:eu-west-1:210987654321:event-bus/default"
    assert statements(there, "ForwardRole")["SendEvents"]["Resource"] == bus


def test_a_bus_never_forwards_to_itself(stack):
    assert stack["Outputs"]["EventBusArn"]["Value"] == HERE
    itself = expansion.forward_stack(EventBusArn=HERE)
    assert (sorted(itself["Resources"]), sorted(itself["Outputs"])) == (["ForwardRole"], ["ForwardRoleArn"])
    other_region = expansion.forward_stack(EventBusArn=HERE.replace("eu-west-1", "us-east-1"))
    assert len(of_type(other_region, "AWS::Events::Rule")) == 2


@pytest.mark.parametrize("bus", ["default", "arn:aws:sqs:eu-west-1:123456789012:queue", "arn:aws:events:eu-west-1:123456789012:rule/x"])
def test_what_is_no_bus_is_refused(bus):
    with pytest.raises(AssertionError, match="EventBusArn refuses"):
        expansion.forward_stack(EventBusArn=bus)
