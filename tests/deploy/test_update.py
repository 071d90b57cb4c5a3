"""What an update makes of a stack of the version before: what is made, what goes, what stays, and in which order."""

import copy
from dataclasses import dataclass

import expansion
import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from test_functions import LONGEST, of_type

PREVIOUS = expansion.ROOT / "tests/deploy/previous/template.yaml"
RULES_BEFORE = ["TaskEventsFunctionOwnTasks", "TaskEventsFunctionWorkersTasks"]
RULES = ["OwnTasksRule", "WorkersTasksRule"]
MADE = {
    *RULES, "TaskEventsRulesPermission", "TaskEventsFunctionQueue",
    "TaskEventsQueue", "TaskEventsQueuePolicy", "TaskEventsDeadLetters", "TaskEventsDeadLettersPolicy",
    "ScheduleGroup", "PollFunctionTick", "RunStoryQuery", "FailuresQuery", "SlowestLaunchesQuery",
}  # fmt: skip
SCHEDULE_BEFORE = "PollFunctionSchedule"
GONE = {*RULES_BEFORE, *(f"{rule}Permission" for rule in RULES_BEFORE), SCHEDULE_BEFORE}
CHANGED = {"TaskEventsRole", "TaskEventsFailuresPolicy", "PollRole", "HealthRole", "PollFunction"}
# What nobody notices: a tag, a description, one variable more, a word for what is so without it, and that a poll may take
# longer.
UNNOTICED = {"Tags", "Description"}
# What a person or another stack knows, or what holds something.
KEPT = {
    "TaskEventsFunction", "TaskEventsLogGroup", "TaskEventsFailures", "TaskEventsFunctionEventInvokeConfig",
    "PollFunction", "PollLogGroup", "HealthFunction", "HealthFunctionUrl", "HealthLogGroup",
}  # fmt: skip
HOLDS_DATA = ("AWS::SQS::Queue", "AWS::Logs::LogGroup")
# Each set of parameters, with what it alone makes and changes.
VARIANTS = {
    "defaults": ({}, set(), set()),
    "a public URL, in a VPC": ({"HealthAuthType": "NONE", "VpcSubnetIds": "subnet-1", "VpcSecurityGroupIds": "sg-1"}, set(), set()),
    "alarms, check, workers": (
        {
            "AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:oncall",
            "CheckFunction": "ENABLED",
            "WorkersTasksState": "ENABLED",
            "ForwardingAccountIds": "210987654321",
        },
        {
            "TaskEventsDeadLettersAlarm", "NewlyFailingAlarm", "RunsLateAlarm", "LaunchesFailingAlarm", "TaskEventsErrorsAlarm",
            "TaskEventsDelayAlarm", "DroppedInvocationsAlarm",
        },
        {"CheckerRole", "PollErrorsAlarm", "PollSilenceAlarm", "TaskEventsFailuresAlarm"},
    ),
}


@dataclass
class Update:
    """By logical ids. What is replaced is made anew, and the old one goes with all that it holds."""

    made: set
    gone: set
    replaced: set
    changed: set


def pointed_at(value, path):
    """The value below a schema's pointer (`/properties/Code/S3Key`), or nothing."""
    for key in path.removeprefix("/properties/").split("/"):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def is_replaced(before, after):
    """Whether CloudFormation makes a resource anew: by the very schema that AWS publishes of its type."""
    if before["Type"] != after["Type"]:
        return True
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-west-1", before["Type"]).schema
    fixed = [*schema.get("createOnlyProperties", []), *schema.get("conditionalCreateOnlyProperties", [])]
    return any(pointed_at(before["Properties"], path) != pointed_at(after["Properties"], path) for path in fixed)


def unnoticed(resource):
    """Without what an update changes in place, and nobody notices."""
    properties = {key: copy.deepcopy(value) for key, value in resource["Properties"].items() if key not in UNNOTICED}
    properties.get("Environment", {}).get("Variables", {}).pop("AGENT_METRICS", None)
    if properties.get("TracingConfig") == {"Mode": "PassThrough"}:
        del properties["TracingConfig"]
    return {**resource, "Properties": properties}


def update(before, after):
    before, after = ({name: unnoticed(item) for name, item in each["Resources"].items()} for each in (before, after))
    both = set(before) & set(after)
    replaced = {name for name in both if is_replaced(before[name], after[name])}
    changed = {name for name in both - replaced if before[name] != after[name]}
    return Update(set(after) - set(before), set(before) - set(after), replaced, changed)


@pytest.fixture(params=VARIANTS)
def variant(request):
    parameters, made, changed = VARIANTS[request.param]
    return expansion.expand_file(PREVIOUS, **parameters), expansion.expand(**parameters), made, changed


def test_an_update_makes_the_queue_takes_the_old_rules_away_and_replaces_nothing(variant):
    before, after, made, changed = variant
    assert update(before, after) == Update(MADE | made, GONE, set(), CHANGED | changed)


def test_what_others_know_or_what_holds_data_stays_as_it_is(variant):
    before, after, *_ = variant
    holding = {name for kind in HOLDS_DATA for name in of_type(before, kind)}
    assert KEPT <= set(before["Resources"])
    for name in KEPT | holding:
        old, new = (unnoticed(each["Resources"][name]) for each in (before, after))
        if name == "PollFunction":
            assert (old["Properties"].pop("Timeout"), new["Properties"].pop("Timeout")) == (120, 200)
            assert (old["Properties"].pop("MemorySize"), new["Properties"].pop("MemorySize")) == ("256", "128")
        assert new == old, name


def test_what_is_known_of_a_stack_is_known_after_the_update(variant):
    before, after, *_ = variant
    for name, output in before["Outputs"].items():
        assert after["Outputs"][name]["Value"] == output["Value"], name
    old, new = (expansion.expanded_source(path)["Parameters"] for path in (PREVIOUS, expansion.ROOT / "template.yaml"))
    for name, parameter in old.items():
        for key in ("Type", "Default", "AllowedPattern", "AllowedValues", "MinValue", "MaxValue"):
            # A stack keeps the value that it has: another default is for those who deploy anew, or leave it to the template.
            if (name, key) != ("PollMemory", "Default"):
                assert new[name].get(key) == parameter.get(key), f"{name}: what it was deployed with is refused now"
    assert all("Default" in parameter for parameter in new.values())


def test_the_new_rules_hear_of_the_same_tasks_before_the_old_ones_go(variant):
    """What is made is made first; what goes, goes at the very end. So no two may share a name."""
    before, after, *_ = variant
    for old, new in zip(RULES_BEFORE, RULES):
        old, new = before["Resources"][old]["Properties"], after["Resources"][new]["Properties"]
        for key in ("EventPattern", "State", "EventBusName"):
            assert new.get(key) == old.get(key)
        assert new["Targets"][0]["RetryPolicy"] == old["Targets"][0]["RetryPolicy"]
        assert "Name" not in old, "CloudFormation gave it one, of the stack's name, its logical id and chance"

    def named(stack, ids):
        items = [stack["Resources"][name] for name in ids]
        names = {(item["Type"], item["Properties"].get(key)) for item in items for kind, key in LONGEST if kind == item["Type"]}
        return {(kind, name) for kind, name in names if name}

    made = set(after["Resources"]) - set(before["Resources"])
    assert not named(after, made) & named(before, before["Resources"])


@pytest.mark.parametrize("state", ["ENABLED", "DISABLED"])
def test_the_schedule_moves_into_its_group_without_a_gap_and_polls_as_before(state):
    """A schedule cannot be moved: Scheduler looks for it in the new group and does not find it. So there is another one, by
    another name and logical id, before the old one goes. What both start in between, two polls, is what overlaps anyway."""
    parameters = {"PollSchedule": "rate(5 minutes)", "ScheduleState": state}
    before, after = expansion.expand_file(PREVIOUS, **parameters), expansion.expand(**parameters)
    old, new = before["Resources"][SCHEDULE_BEFORE], after["Resources"]["PollFunctionTick"]
    assert "GroupName" not in old["Properties"] and SCHEDULE_BEFORE not in after["Resources"]
    assert old["Properties"]["Name"] != new["Properties"]["Name"], "CloudFormation knows a schedule by its name alone"
    moved = {"Name", "GroupName"}
    same = [{key: value for key, value in item["Properties"].items() if key not in moved} for item in (old, new)]
    assert same[0] == same[1] and same[0]["State"] == state
    assert new["Properties"]["GroupName"] == {"Ref": "ScheduleGroup"}, "a reference: the group is made first"
    assert len(of_type(after, "AWS::Scheduler::Schedule")) == 1


def test_the_policy_of_the_failures_is_changed_and_not_made_anew(variant):
    """The end of an update deletes what is gone: a policy of another logical id would take the queue's new one with it."""
    for stack in variant[:2]:
        policies = of_type(stack, "AWS::SQS::QueuePolicy").items()
        holders = [name for name, item in policies if {"Ref": "TaskEventsFailures"} in item["Properties"]["Queues"]]
        assert holders == ["TaskEventsFailuresPolicy"]


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("TaskEventsFunction", "FunctionName", "psa-task-events-2"),
        ("TaskEventsFailures", "QueueName", "psa-failures"),
        ("TaskEventsLogGroup", "LogGroupName", "/aws/lambda/other"),
        ("HealthFunctionUrl", "TargetFunctionArn", {"Ref": "PollFunction"}),
        ("TaskEventsRole", "Path", "/psa/"),
    ],
)
def test_what_would_be_replaced_is_noticed(name, path, value):
    before, after = expansion.expand(), expansion.expand()
    assert update(before, after) == Update(set(), set(), set(), set())
    after["Resources"][name]["Properties"][path] = value
    assert update(before, after) == Update(set(), set(), {name}, set())


def test_what_would_change_in_place_is_noticed():
    before, after = expansion.expand(), expansion.expand()
    after["Resources"]["TaskEventsFailures"]["Properties"]["MessageRetentionPeriod"] = 60
    assert update(before, after).changed == {"TaskEventsFailures"}
