"""What alarms, the dashboard and the saved queries look at is what the functions say: the real binary polls, launches, fails and
is told of a task's end, and its metrics and log lines are held against the template's names, dimensions and fields."""

import json
import re
from pathlib import Path

import expansion
import functions
import orders
import processes
import pytest

ROOT = expansion.ROOT
OURS = "PrefectServerlessAgent"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:on-call"
# Not the default: who writes that down in place of the parameter is found out.
PARAMETER_ROOT = "/team/flows"
BOOK = (ROOT / "RUNBOOK.md").read_text()
# AWS's own metrics and the dimension that each is told in, as their documentation has them; of what, and how the template
# says its name (a queue's `Ref` is its URL).
AWS_METRICS = {
    "AWS/Lambda": (
        {"Invocations", "Errors", "Throttles", "Duration"},
        ("FunctionName", "AWS::Lambda::Function", ""),
    ),
    "AWS/SQS": (
        {"ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible", "ApproximateAgeOfOldestMessage"},
        ("QueueName", "AWS::SQS::Queue", ".QueueName"),
    ),
    "AWS/Scheduler": ({"InvocationDroppedCount"}, ("ScheduleGroup", "AWS::Scheduler::ScheduleGroup", "")),
}
# The language of Logs Insights; what is left are fields.
WORDS = set("fields filter sort limit stats SOURCE as by in and or like desc asc count latest coalesce".split())


@pytest.fixture(scope="module")
def stack():
    asked = {"Dashboard": "ENABLED", "AlarmTopicArn": TOPIC, "AgentMetrics": "ENABLED", "ParameterRoot": PARAMETER_ROOT}
    return expansion.expand(**asked)["Resources"]


@pytest.fixture(scope="module")
def said(stack):
    """The lines of the functions by the log group that gets them, as they went through what they can come to."""
    with processes.running_world() as world:
        return Night(world, stack).lines()


class Night:
    """A deployment with two agents: of one all goes well and ill, the other's Prefect is away."""

    def __init__(self, world, stack):
        self.world, self.stack, self.said = world, stack, {}

    def function(self, name, event):
        """What it says of one event, with the environment that the template gives it."""
        properties = self.stack[name]["Properties"]
        variables = {**properties["Environment"]["Variables"], "_HANDLER": properties["Handler"]}
        with functions.Function(self.world, processes.LAMBDA, variables, idle=True) as function:
            function.invoke(event)
            lines = [json.loads(line) for line in function.output().splitlines() if line.startswith("{")]
        self.said.setdefault(reference(properties["LoggingConfig"]["LogGroup"]), []).extend(lines)

    def lines(self):
        api = orders.Prefect3(self.world.prefect3)
        pool = api.pool()
        root = self.stack["PollFunction"]["Properties"]["Environment"]["Variables"]["PARAMETER_ROOT"]
        for agent, where in [("flows", api.url), ("away", "http://127.0.0.1:9/api")]:
            config = {"prefect": 3, "api": where, "work_pool": pool}
            self.world.ask("ssm", {"name": f"{root}/config/{agent}", "value": json.dumps(config)})
        # Nothing is due.
        self.function("PollFunction", {})
        # One run is launched, one can never be; later one finds no room, and one is told to come again.
        launched = api.run(api.deployment(pool))
        api.run(api.deployment(pool, job_variables={"task_definition_arn": "no-such-definition"}))
        self.function("PollFunction", {})
        self.world.ask("ecs/refuse", {"reason": "Capacity is unavailable at this time"})
        api.run(api.deployment(pool))
        self.function("PollFunction", {})
        throttled = {"kind": "aws_error", "status": 400, "code": "ThrottlingException", "message": "Rate exceeded"}
        self.world.ask("fault", {"service": "ecs", "operation": "RunTask", "count": 100, **throttled})
        api.run(api.deployment(pool))
        self.function("PollFunction", {})
        self.world.ask("faults/clear", {})
        # The task runs, and is stopped.
        (task,) = [one["taskArn"] for one in self.world.ask("ecs")["tasks"]]
        self.world.ask("ecs/status", {"task": task, "status": "RUNNING"})
        api.take(launched, ("RUNNING", None))
        ended = {"code": "EssentialContainerExited", "reason": "Essential container in task exited", "exit_code": 1}
        self.world.ask("ecs/stop", {"task": task, **ended})
        (event,) = [one["event"] for one in self.world.ask("ecs")["tasks"]]
        self.function("TaskEventsFunction", event)
        return self.said


def reference(value):
    """What names a resource, written as `Fn::Sub` does."""
    if isinstance(value, str):
        return value
    return "${%s}" % (value["Ref"] if "Ref" in value else ".".join(value["GetAtt"]))


def emitted(said):
    """The values of everything that CloudWatch makes a metric of, by name and its dimensions with theirs."""
    found = {}
    for line in (line for lines in said.values() for line in lines):
        for told in line.get("_aws", {}).get("CloudWatchMetrics", []):
            assert told["Namespace"] == OURS, told
            for metric in told["Metrics"]:
                assert metric["Name"] in line, f"{metric} without a value: {line}"
                values = line[metric["Name"]]
                for dimensions in told["Dimensions"]:
                    key = (metric["Name"], tuple(sorted((name, line[name]) for name in dimensions)))
                    found.setdefault(key, []).extend(values if isinstance(values, list) else [values])
    return found


def alarms(stack):
    """What each alarm watches, those that reckon with several metrics each of them: (namespace, name, dimensions)."""
    for name, resource in stack.items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            alarm = resource["Properties"]
            stats = [one["MetricStat"]["Metric"] for one in alarm.get("Metrics", []) if "MetricStat" in one]
            watched = stats if "Metrics" in alarm else [alarm]
            assert watched, f"{name} reckons with no metric that is named: {alarm['Metrics']}"
            for metric in watched:
                dimensions = tuple(sorted((one["Name"], reference(one["Value"])) for one in metric["Dimensions"]))
                yield name, (metric["Namespace"], metric["MetricName"], dimensions)


def widgets(stack):
    return json.loads(stack["OperationsDashboard"]["Properties"]["DashboardBody"])["widgets"]


def shown(stack):
    """What the dashboard's graphs show, by their titles. What a graph reckons from other lines names no metric."""
    for widget in widgets(stack):
        rows = widget["properties"].get("metrics", [])
        for namespace, name, *rest in (row for row in rows if isinstance(row[0], str)):
            pairs = [part for part in rest if isinstance(part, str)]
            yield widget["properties"]["title"], (namespace, name, tuple(sorted(zip(pairs[::2], pairs[1::2]))))


def wrong(stack, told, namespace, name, dimensions):
    """Why nobody tells such a metric, if so."""
    if namespace == OURS:
        said = "\n".join(f"  {one} {dict(those)}" for one, those in sorted(told))
        return None if (name, dimensions) in told else f"the functions tell no such, but these:\n{said}"
    if namespace not in AWS_METRICS:
        return f"AWS has no such namespace that is known here, only {[OURS, *AWS_METRICS]}"
    names, (dimension, kind, attribute) = AWS_METRICS[namespace]
    subjects = {"${%s%s}" % (each, attribute) for each, resource in stack.items() if resource["Type"] == kind}
    if name in names and len(dimensions) == 1 and dimensions[0][0] == dimension and dimensions[0][1] in subjects:
        return None
    return f"AWS tells {sorted(names)} by {dimension}, which here is one of {sorted(subjects)}"


def test_every_metric_of_an_alarm_or_a_graph_is_told_under_that_name_and_dimension(stack, said):
    told = emitted(said)
    watched = [*alarms(stack), *shown(stack)]
    assert len(watched) > 25, watched
    found = [(where, metric, wrong(stack, told, *metric)) for where, metric in watched]
    ill = [f"{where} looks at {space} {name} {dict(those)}: {why}" for where, (space, name, those), why in found if why]
    assert not ill, "\n".join(ill)


def test_each_metric_of_the_deployment_has_counted_what_happened(said):
    """One that is always 0 would pass for told, and no alarm on it would ever go off."""
    told = {name: values for (name, dimensions), values in emitted(said).items() if dimensions == (("Deployment", PARAMETER_ROOT),)}
    assert not {name: values for name, values in told.items() if max(values) <= 0}, told
    # Nothing happened in the first poll but that the other agent's Prefect is away, of which only the first tells as new.
    assert (told["Launched"][0], told["Failed"][0], told["Throttled"][0], told["Late"][0]) == (0, 0, 0, 0), told
    assert told["NewlyFailingAgents"] == [1, 0, 0, 0] and told["FailingAgents"] == told["PollFailures"] == [1] * 4, told
    assert (sum(told["Launched"]), sum(told["Failed"])) == (1, 1), told


def test_each_agent_has_the_metrics_once_more_where_they_are_asked_for(said):
    told = emitted(said)
    of_deployment = {name for name, dimensions in told if len(dimensions) == 1}
    of_agents = {name for name, dimensions in told if ("Agent", "flows") in dimensions}
    source = (ROOT / "src/telemetry/metrics.rs").read_text()
    names = set(re.findall(r'Self::\w+ => "(\w+)",\n', source[: source.index("pub fn unit")]))
    assert len(names) == 10 and of_deployment == names, f"of the deployment: told {sorted(of_deployment)}, declared {sorted(names)}"
    assert of_agents == names, f"of the agent: told {sorted(of_agents)}, declared {sorted(names)}"


def queries(stack):
    """Saved queries, and those of the dashboard's tables: name, what is asked, and the log groups that are."""
    for resource in stack.values():
        if resource["Type"] == "AWS::Logs::QueryDefinition":
            saved = resource["Properties"]
            yield saved["Name"], saved["QueryString"], [reference(group) for group in saved["LogGroupNames"]]
    for widget in widgets(stack):
        if "query" in widget["properties"]:
            query = widget["properties"]["query"]
            yield widget["properties"]["title"], query, re.findall(r"SOURCE '([^']*)'", query)


def fields_of(query):
    """The fields that a query names, without those that it makes itself."""
    bare = re.sub(r"#.*|\"[^\"]*\"|'[^']*'", " ", query)
    made = set(re.findall(r"\bas (\w+)", bare))
    return {word for word in re.findall(r"[@\w]+", bare) if not word.isdigit()} - WORDS - made


def wanted_values(query):
    """What fields are compared with: (field, value)."""
    for field, value in re.findall(r'(\w+) = "([^"]*)"', query):
        yield field, value
    for field, values in re.findall(r"(\w+) in \[([^\]]*)\]", query):
        yield from ((field, value) for value in re.findall(r'"([^"]*)"', values))


def test_every_field_and_value_of_a_query_is_in_a_line_of_the_log(stack, said):
    """Of the log that it asks: what another function says does not count."""
    found = list(queries(stack))
    assert len(found) == 5, found
    for name, query, groups in found:
        assert groups and set(groups) <= set(said), f"{name} asks {groups}, but the functions that ran write to {sorted(said)}"
        lines = [line for group in groups for line in said[group]]
        wanted = list(wanted_values(query))
        for field, value in wanted:
            seen = {line[field] for line in lines if isinstance(line.get(field), str)}
            assert value in seen, f"{name}: no line of {groups} has {field} {value!r}, but {sorted(seen)}"
        messages = {value for field, value in wanted if field == "message"}
        meant = [line for line in lines if not messages or line.get("message") in messages]
        fields = {field for line in meant for field in line}
        # Those with an @ are CloudWatch's own.
        missing = {field for field in fields_of(query) if not field.startswith("@")} - fields
        assert not missing, f"{name}: no line of {groups} has {sorted(missing)}, but {sorted(fields)}"
        idle = [group for group in groups if messages and not any(line.get("message") in messages for line in said[group])]
        assert not idle, f"{name}: {idle} has none of the lines that it asks for: {sorted(messages)}"


def test_the_runbook_lists_each_alarm_with_its_metric_and_what_holds_it(stack):
    by = {True: "with the real function", False: "by the names that AWS documents"}
    rows = [
        f"| [{name}](#{name.lower()}) | `{namespace}` `{metric}` | `{Path(__file__).name}`, {by[namespace == OURS]} |"
        for name, (namespace, metric, _) in alarms(stack)
    ]
    table = "\n".join(["| alarm | metric | held to what is really told by |", "|---|---|---|", *rows])
    assert f"\n\n{table}\n\n" in BOOK, f"RUNBOOK.md has no such table:\n{table}"
    for name, _ in alarms(stack):
        assert f"\n## {name}\n" in BOOK, f"RUNBOOK.md has no section {name}"
