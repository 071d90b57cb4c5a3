"""What alarms, the dashboard and the saved queries look at is what the functions say: the real binary polls, launches, fails and
is told of a task's end, and its metrics and log lines are held against the template's names, dimensions and fields."""

import json
import re

import expansion
import functions
import orders
import processes
import pytest

ROOT = expansion.ROOT
OURS = "PrefectServerlessAgent"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:on-call"
# AWS's own metrics and the dimension that each is told in, as their documentation has them.
AWS_METRICS = {
    "AWS/Lambda": ("FunctionName", {"Invocations", "Errors", "Throttles", "Duration"}),
    "AWS/SQS": (
        "QueueName",
        {"ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible", "ApproximateAgeOfOldestMessage"},
    ),
    "AWS/Scheduler": ("ScheduleGroup", {"InvocationDroppedCount"}),
}
# The language of Logs Insights; what is left are fields.
WORDS = set("fields filter sort limit stats SOURCE as by in and or like desc asc count latest coalesce".split())


@pytest.fixture(scope="module")
def stack():
    return expansion.expand(Dashboard="ENABLED", AlarmTopicArn=TOPIC, AgentMetrics="ENABLED")["Resources"]


@pytest.fixture(scope="module")
def said(stack):
    """The lines of the functions, as they went through what they can come to."""
    with processes.running_world() as world:
        return Night(world, stack).lines()


class Night:
    """A deployment with two agents: of one all goes well and ill, the other's Prefect is away."""

    def __init__(self, world, stack):
        self.world, self.stack, self.output = world, stack, ""

    def function(self, name, answers):
        properties = self.stack[name]["Properties"]
        variables = {**properties["Environment"]["Variables"], "_HANDLER": properties["Handler"]}
        with functions.Function(self.world, processes.LAMBDA, variables) as function:
            function.answer()
            for event in answers:
                function.invoke(event)
            self.output += function.output()

    def lines(self):
        api = orders.Prefect3(self.world.prefect3)
        pool = api.pool()
        root = self.stack["PollFunction"]["Properties"]["Environment"]["Variables"]["PARAMETER_ROOT"]
        for agent, where in [("flows", api.url), ("away", "http://127.0.0.1:9/api")]:
            config = {"prefect": 3, "api": where, "work_pool": pool}
            self.world.ask("ssm", {"name": f"{root}/config/{agent}", "value": json.dumps(config)})
        # Nothing is due.
        self.function("PollFunction", [])
        # One run is launched, one can never be, and one finds no room.
        launched = api.run(api.deployment(pool))
        api.run(api.deployment(pool, job_variables={"task_definition_arn": "no-such-definition"}))
        self.function("PollFunction", [])
        self.world.ask("ecs/refuse", {"reason": "Capacity is unavailable at this time"})
        api.run(api.deployment(pool))
        self.function("PollFunction", [])
        # The task runs, and is stopped.
        (task,) = [one["taskArn"] for one in self.world.ask("ecs")["tasks"]]
        self.world.ask("ecs/status", {"task": task, "status": "RUNNING"})
        api.take(launched, ("RUNNING", None))
        ended = {"code": "EssentialContainerExited", "reason": "Essential container in task exited", "exit_code": 1}
        self.world.ask("ecs/stop", {"task": task, **ended})
        (event,) = [one["event"] for one in self.world.ask("ecs")["tasks"]]
        self.function("TaskEventsFunction", [event])
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]


def emitted(said):
    """(name, its dimensions with their values) of everything that CloudWatch makes a metric of."""
    found = set()
    for line in said:
        for told in line.get("_aws", {}).get("CloudWatchMetrics", []):
            assert told["Namespace"] == OURS, told
            for metric in told["Metrics"]:
                assert metric["Name"] in line, f"{metric} without a value: {line}"
                for dimensions in told["Dimensions"]:
                    found.add((metric["Name"], tuple(sorted((name, line[name]) for name in dimensions))))
    return found


def alarms(stack):
    """What each alarm watches: (namespace, name, dimensions)."""
    found = {}
    for name, resource in stack.items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            alarm = resource["Properties"]
            dimensions = tuple(sorted((one["Name"], str(one["Value"])) for one in alarm["Dimensions"]))
            found[name] = (alarm["Namespace"], alarm["MetricName"], dimensions)
    return found


def widgets(stack):
    return json.loads(stack["OperationsDashboard"]["Properties"]["DashboardBody"])["widgets"]


def shown(stack):
    """What the dashboard's graphs show, by their titles."""
    for widget in widgets(stack):
        for namespace, name, *rest in widget["properties"].get("metrics", []):
            pairs = [part for part in rest if isinstance(part, str)]
            yield widget["properties"]["title"], (namespace, name, tuple(sorted(zip(pairs[::2], pairs[1::2]))))


def test_every_metric_of_an_alarm_or_a_graph_is_told_under_that_name_and_dimension(stack, said):
    told = emitted(said)
    watched = [*alarms(stack).items(), *shown(stack)]
    assert len(watched) > 25, watched
    for where, (namespace, name, dimensions) in watched:
        if namespace == OURS:
            assert (name, dimensions) in told, f"{where}: nobody tells {name} {dimensions}, but:\n" + "\n".join(map(str, sorted(told)))
        else:
            dimension, names = AWS_METRICS[namespace]
            assert name in names and [one for one, _ in dimensions] == [dimension], f"{where}: {namespace} {name} {dimensions}"


def test_each_agent_has_the_metrics_once_more_where_they_are_asked_for(said):
    told = emitted(said)
    of_deployment = {name for name, dimensions in told if len(dimensions) == 1}
    of_agents = {name for name, dimensions in told if ("Agent", "flows") in dimensions}
    source = (ROOT / "src/telemetry/metrics.rs").read_text()
    names = set(re.findall(r'Self::\w+ => "(\w+)",\n', source[: source.index("pub fn unit")]))
    assert len(names) == 10 and of_deployment == names, of_deployment ^ names
    assert of_agents == names, of_agents ^ names


def queries(stack):
    """Saved queries, and those of the dashboard's tables."""
    for resource in stack.values():
        if resource["Type"] == "AWS::Logs::QueryDefinition":
            yield resource["Properties"]["Name"], resource["Properties"]["QueryString"]
    for widget in widgets(stack):
        if "query" in widget["properties"]:
            yield widget["properties"]["title"], widget["properties"]["query"]


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
    found = dict(queries(stack))
    assert len(found) == 5, found
    for name, query in found.items():
        for field, value in wanted_values(query):
            seen = {line[field] for line in said if isinstance(line.get(field), str)}
            assert value in seen, f"{name}: no line has {field} {value!r}, but {sorted(seen)}"
        messages = {value for field, value in wanted_values(query) if field == "message"}
        lines = [line for line in said if not messages or line.get("message") in messages]
        for field in fields_of(query):
            # Those with an @ are CloudWatch's own.
            assert field.startswith("@") or any(field in line for line in lines), f"{name}: no line has {field}: {lines}"


def test_the_runbook_lists_each_alarm_with_its_metric_and_its_section(stack):
    book = (ROOT / "RUNBOOK.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(#(\w+)\) \| `([\w/]+)` `(\w+)` \|", book, re.M)
    expected = [(name, name.lower(), namespace, metric) for name, (namespace, metric, _) in alarms(stack).items()]
    assert rows == expected
    for name, *_ in rows:
        assert f"\n## {name}\n" in book
