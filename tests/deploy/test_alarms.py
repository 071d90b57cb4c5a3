"""Who is told what, and when: the alarms, their topic, the page of each in RUNBOOK.md."""

import re

import expansion
import iam
import pytest
from test_functions import of_type, properties

TOPIC = "arn:aws:sns:eu-west-1:123456789012:oncall"
ROOT = "/prefect-serverless-agent/prod"
RUNBOOK = (expansion.ROOT / "RUNBOOK.md").read_text()
WAITING = "ApproximateNumberOfMessagesVisible"
# Each alarm with what it watches; the silence is last.
WATCHED = {
    "PollErrorsAlarm": [("AWS/Lambda", "Errors", "PollFunction")],
    "NewlyFailingAlarm": [("PrefectServerlessAgent", "NewlyFailingAgents", ROOT)],
    "RunsLateAlarm": [("PrefectServerlessAgent", "Late", ROOT)],
    "LaunchesFailingAlarm": [("PrefectServerlessAgent", "Failed", ROOT)],
    "TaskEventsDeadLettersAlarm": [("AWS/SQS", WAITING, "TaskEventsDeadLetters")],
    "TaskEventsFailuresAlarm": [("AWS/SQS", WAITING, "TaskEventsFailures")],
    "TaskEventsErrorsAlarm": [("AWS/Lambda", "Errors", "TaskEventsFunction")],
    "TaskEventsDelayAlarm": [("AWS/SQS", "ApproximateAgeOfOldestMessage", "TaskEventsQueue")],
    "DroppedInvocationsAlarm": [("AWS/Scheduler", "InvocationDroppedCount", "ScheduleGroup")],
    "PollSilenceAlarm": [("AWS/Lambda", "Invocations", "PollFunction")],
}


def alarms(stack):
    return {name: item["Properties"] for name, item in of_type(stack, "AWS::CloudWatch::Alarm").items()}


def metrics_of(alarm):
    """What an alarm watches: namespace, name, dimensions. Those that reckon with several are billed for each."""
    assert "Metrics" not in alarm, alarm
    return [(alarm["Namespace"], alarm["MetricName"], {each["Name"]: each["Value"] for each in alarm["Dimensions"]})]


def subject(dimensions):
    (value,) = dimensions.values()
    return value if isinstance(value, str) else value.get("Ref") or value["GetAtt"][0]


def test_there_are_none_unless_somebody_is_to_be_told(stack):
    kinds = {item["Type"] for item in stack["Resources"].values()}
    assert not kinds & {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm", "AWS::CloudWatch::Dashboard", "AWS::SNS::Topic"}


@pytest.mark.parametrize("parameters", [{"AlarmTopicArn": TOPIC}, {"AlarmEmail": "oncall@example.com"}])
def test_with_a_topic_or_an_address_there_are_at_most_ten(parameters):
    found = alarms(expansion.expand(**parameters))
    assert {name: [(*metric[:2], subject(metric[2])) for metric in metrics_of(alarm)] for name, alarm in found.items()} == WATCHED
    assert len(found) <= 10
    for name, alarm in found.items():
        assert alarm["ActionsEnabled"] is True, name
        periods = alarm["EvaluationPeriods"]
        assert alarm.get("DatapointsToAlarm", periods) <= periods


def test_each_tells_topic_and_address_whatever_was_given():
    own, topic = {"Ref": "AlarmTopic"}, TOPIC
    for parameters, told in [
        ({"AlarmTopicArn": TOPIC}, [topic]),
        ({"AlarmEmail": "a@example.com"}, [own]),
        ({"AlarmTopicArn": TOPIC, "AlarmEmail": "a@example.com"}, [topic, own]),
    ]:
        for name, alarm in alarms(expansion.expand(**parameters)).items():
            assert alarm["AlarmActions"] == told, name
            # A pulse that ends is no good news.
            assert alarm.get("OKActions", []) == ([] if name == "NewlyFailingAlarm" else told), name


def test_cloudwatch_may_publish_to_the_own_topic_and_nobody_else():
    there = expansion.expand(AlarmEmail="oncall@example.com")
    assert properties(there, "AlarmSubscription") == {
        "TopicArn": {"Ref": "AlarmTopic"}, "Protocol": "email", "Endpoint": "oncall@example.com",
    }  # fmt: skip
    assert "KmsMasterKeyId" not in properties(there, "AlarmTopic"), "CloudWatch cannot use aws/sns, and needs a policy for others"
    (statement,) = properties(there, "AlarmTopicPolicy")["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert (statement["Action"], statement["Resource"]) == ("sns:Publish", {"Ref": "AlarmTopic"})
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    (pattern,) = statement["Condition"]["ArnLike"].values()
    assert iam.is_like(pattern, "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:psa-RunsLateAlarm-0ABC")
    assert not iam.is_like(pattern, "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:other-RunsLateAlarm-0ABC")
    only_arn = expansion.expand(AlarmTopicArn=TOPIC)
    assert not [name for name, item in only_arn["Resources"].items() if item["Type"].startswith("AWS::SNS::")]


def test_none_that_is_about_polls_goes_off_while_they_are_paused():
    """What only a poll counts has no values then, which is no breach; silence itself is not watched."""
    paused = alarms(expansion.expand(AlarmTopicArn=TOPIC, ScheduleState="DISABLED"))
    assert set(WATCHED) - set(paused) == {"PollSilenceAlarm"}
    assert {alarm["TreatMissingData"] for alarm in paused.values()} == {"notBreaching"}
    assert all(alarm["ComparisonOperator"].startswith("GreaterThan") for alarm in paused.values())


def test_silence_is_counted_in_minutes_and_zero_means_none():
    silence = alarms(expansion.expand(AlarmTopicArn=TOPIC, SilenceAfterMinutes="427"))["PollSilenceAlarm"]
    assert (silence["Period"], silence["EvaluationPeriods"], silence["TreatMissingData"]) == (60, "427", "breaching")
    assert "DatapointsToAlarm" not in silence, "all of them"
    declared = expansion.expanded_source()["Parameters"]["SilenceAfterMinutes"]
    assert declared["MaxValue"] * silence["Period"] == 86400, "CloudWatch looks back no further"
    assert "PollSilenceAlarm" not in alarms(expansion.expand(AlarmTopicArn=TOPIC, SilenceAfterMinutes="0"))


def test_a_late_run_is_late_after_the_parameter():
    late = alarms(expansion.expand(AlarmTopicArn=TOPIC, LateAfterSeconds="120"))["RunsLateAlarm"]
    assert (late["Threshold"], late["ComparisonOperator"], late["Statistic"]) == ("120", "GreaterThanThreshold", "Maximum")


@pytest.mark.parametrize("parameters", [{}, {"SilenceAfterMinutes": "0"}])
def test_one_over_all_is_there_only_where_it_is_asked_for_and_is_then_the_one_that_tells(parameters):
    assert of_type(expansion.expand(AlarmTopicArn=TOPIC), "AWS::CloudWatch::CompositeAlarm") == {}
    assert of_type(expansion.expand(CompositeAlarm="ENABLED"), "AWS::CloudWatch::CompositeAlarm") == {}
    there = expansion.expand(AlarmTopicArn=TOPIC, CompositeAlarm="ENABLED", **parameters)
    (one,) = of_type(there, "AWS::CloudWatch::CompositeAlarm").values()
    assert re.findall(r'ALARM\("\$\{(\w+)\}"\)', one["Properties"]["AlarmRule"]) == list(alarms(there))
    assert one["Properties"]["AlarmActions"] == one["Properties"]["OKActions"] == [TOPIC]
    assert {alarm["ActionsEnabled"] for alarm in alarms(there).values()} == {False}


def test_every_alarm_has_its_section_in_the_runbook_and_says_so(full_stack):
    """The section says what it means, what to look at, what to do, and how to see that it is over."""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    declared = {name: item["Properties"] for name, item in full_stack["Resources"].items() if "AlarmDescription" in item["Properties"]}
    assert {*WATCHED, "AnyAlarm"} == set(declared) == {name for name in sections if name.endswith("Alarm")}
    for name, alarm in declared.items():
        assert alarm["AlarmDescription"].endswith(f"RUNBOOK.md says what to do, under {name}"), name
        steps = re.findall(r"^\*\*([^*]+)\*\* (\S.*)", sections[name], re.MULTILINE)
        assert [step for step, _ in steps] == ["It means", "Look at", "Do", "It is over when"], name
