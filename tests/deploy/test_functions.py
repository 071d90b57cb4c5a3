"""The functions, what starts them, and what they leave behind."""

import expansion
import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

FUNCTIONS = {"PollFunction": "poll", "HealthFunction": "health", "TaskEventsFunction": "task-events"}


def of_type(stack, kind):
    return {name: item for name, item in stack["Resources"].items() if item["Type"] == kind}


def properties(stack, name):
    return stack["Resources"][name]["Properties"]


def test_the_functions_are_told_apart_by_their_handler_only(stack):
    functions = of_type(stack, "AWS::Lambda::Function")
    assert {name: item["Properties"]["Handler"] for name, item in functions.items()} == FUNCTIONS
    same = [
        (item["Metadata"], *(str(item["Properties"][key]) for key in ("Code", "Runtime", "Architectures")))
        for item in functions.values()
    ]
    assert all(other == same[0] for other in same), "functions that differ here are built twice"
    assert same[0][0] == {
        "BuildMethod": "rust-cargolambda",
        "BuildProperties": {"Binary": "lambda", "CargoLambdaFlags": ["--locked"]},
    }
    assert properties(stack, "PollFunction")["Runtime"] == "provided.al2023"


def test_architecture_is_a_parameter(stack, full_stack):
    for name in FUNCTIONS:
        assert properties(stack, name)["Architectures"] == ["arm64"]
        assert properties(full_stack, name)["Architectures"] == ["x86_64"]


def test_environment_is_complete(stack):
    poll = properties(stack, "PollFunction")["Environment"]["Variables"]
    health = properties(stack, "HealthFunction")["Environment"]["Variables"]
    task_events = properties(stack, "TaskEventsFunction")["Environment"]["Variables"]
    assert poll == {
        "PARAMETER_ROOT": "/prefect-serverless-agent/prod",
        "RUST_LOG": "warn,prefect_serverless_agent=INFO,lambda=INFO",
        "AGENT_METRICS": "DISABLED",
    }
    assert health == {**poll, "POLL_FUNCTION_NAME": {"Ref": "PollFunction"}}
    assert task_events == poll


def test_the_environment_is_what_the_parameters_say(full_stack):
    everywhere = {
        "PARAMETER_ROOT": "/prefect-serverless-agent/prod",
        "RUST_LOG": "warn,prefect_serverless_agent=INFO,lambda=INFO",
        "PREFECT_API_URL": "https://prefect.example.com/api",
        "PREFECT__SERVER__ENDPOINT": "https://prefect.example.com:4200",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AGENT_METRICS": "ENABLED",
    }
    to_prefect = {"HTTPS_PROXY": "http://proxy.example.com:3128", "NO_PROXY": ".amazonaws.com", "AWS_CA_BUNDLE": "/opt/ca.pem"}
    for name in ("PollFunction", "TaskEventsFunction", "CheckerFunction"):
        assert properties(full_stack, name)["Environment"]["Variables"] == {**everywhere, **to_prefect}, name
        assert properties(full_stack, name)["Layers"] == ["arn:aws:lambda:eu-west-1:123456789012:layer:company-ca:1"]
    health = properties(full_stack, "HealthFunction")
    assert health["Environment"]["Variables"] == {**everywhere, "POLL_FUNCTION_NAME": {"Ref": "PollFunction"}}
    assert "Layers" not in health, "it is outside of the VPC, and asks AWS only"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HttpsProxy", "http://me:secret@proxy.example.com:3128"),
        ("HttpsProxy", "proxy.example.com:3128"),
        ("AwsCaBundle", "/var/task/ca.pem"),
        ("PrefectApiUrl", "prefect.example.com/api"),
        ("KmsKeyArn", "alias/logs"),
        ("ScheduleTimezone", ""),
        ("ScheduleTimezone", "Europe/ Berlin"),
    ],
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(AssertionError, match=f"{name} refuses"):
        expansion.expand(**{name: value})


def test_everything_that_can_have_a_tag_says_whose_it_is(full_stack):
    stacks = [full_stack, expansion.cluster_stack(), expansion.forward_stack()]
    resources = [(name, item) for each in stacks for name, item in each["Resources"].items()]
    schema = {item["Type"]: PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-west-1", item["Type"]).schema for _, item in resources}
    taggable = {kind for kind, one in schema.items() if one.get("tagging", {}).get("taggable", one.get("taggable"))}
    assert {"AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping", "AWS::SQS::Queue", "AWS::IAM::Role"} <= taggable
    assert not {"AWS::Scheduler::Schedule", "AWS::SQS::QueuePolicy"} & taggable
    tag = {"Key": "Application", "Value": "prefect-serverless-agent"}
    for name, item in resources:
        assert (tag in item["Properties"].get("Tags", [])) is (item["Type"] in taggable), name


def test_a_poll_has_time_to_hold_its_launches(stack):
    # Prefect 1's default look-ahead, the margin in which nothing is claimed, and a start that takes its time.
    look_ahead, margin = 60 + 60, 10
    assert properties(stack, "PollFunction")["Timeout"] == 200 >= look_ahead + margin + 60


def test_the_schedule_polls_each_minute_and_never_twice(stack, full_stack):
    (schedule,) = of_type(stack, "AWS::Scheduler::Schedule").values()
    schedule = schedule["Properties"]
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["GroupName"] == {"Ref": "ScheduleGroup"}
    assert schedule["State"] == "ENABLED"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert schedule["Target"] == {
        "Arn": {"GetAtt": ["PollFunction", "Arn"]},
        "RoleArn": {"GetAtt": ["ScheduleRole", "Arn"]},
        "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
    }
    (slower,) = of_type(full_stack, "AWS::Scheduler::Schedule").values()
    assert slower["Properties"]["ScheduleExpression"] == "rate(5 minutes)"
    assert slower["Properties"]["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert "ScheduleExpressionTimezone" not in schedule, "which is UTC"


@pytest.mark.parametrize("expression", ["rate(30 seconds)", "rate(1 minutes)", "rate(5 minute)", "rate(0 minutes)", "every minute"])
def test_impossible_schedules_are_refused(expression):
    with pytest.raises(AssertionError, match="PollSchedule refuses"):
        expansion.expand(PollSchedule=expression)


@pytest.mark.parametrize("root", ["prod", "/prod/", "/", "/a//b", "/pr od"])
def test_impossible_parameter_roots_are_refused(root):
    with pytest.raises(AssertionError, match="ParameterRoot refuses"):
        expansion.expand(ParameterRoot=root)


def invoke_configs(stack):
    configs = [item["Properties"] for item in of_type(stack, "AWS::Lambda::EventInvokeConfig").values()]
    return {config["FunctionName"]["Ref"]: config for config in configs}


def test_polls_and_looks_at_health_are_never_repeated(stack):
    configs = invoke_configs(stack)
    assert set(configs) == set(FUNCTIONS)
    for name in ("PollFunction", "HealthFunction"):
        assert (configs[name]["MaximumRetryAttempts"], configs[name]["MaximumEventAgeInSeconds"]) == (0, 60)


def test_the_health_url_wants_iam_unless_told_otherwise(stack, full_stack):
    (url,) = of_type(stack, "AWS::Lambda::Url").values()
    assert url["Properties"] == {"TargetFunctionArn": {"Ref": "HealthFunction"}, "AuthType": "AWS_IAM"}
    assert {item["Properties"]["Principal"] for item in of_type(stack, "AWS::Lambda::Permission").values()} == {"events.amazonaws.com"}

    assert properties(full_stack, "HealthFunctionUrl")["AuthType"] == "NONE"
    permissions = [item["Properties"] for item in of_type(full_stack, "AWS::Lambda::Permission").values()]
    permissions = [each for each in permissions if each["Principal"] == "*" and each["FunctionName"] != {"Ref": "PokeFunction"}]
    health = {"FunctionName": {"Ref": "HealthFunction"}, "Principal": "*"}
    assert permissions == [
        {**health, "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
        {**health, "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
    ]


def test_the_poke_url_is_public_and_there_on_request_only(stack, full_stack):
    assert not [name for name in (*stack["Resources"], *stack["Outputs"]) if name.startswith("Poke")]
    assert properties(full_stack, "PokeFunctionUrl") == {"TargetFunctionArn": {"Ref": "PokeFunction"}, "AuthType": "NONE"}
    permissions = [item["Properties"] for item in of_type(full_stack, "AWS::Lambda::Permission").values()]
    poke = {"FunctionName": {"Ref": "PokeFunction"}, "Principal": "*"}
    assert [each for each in permissions if each["FunctionName"] == {"Ref": "PokeFunction"}] == [
        {**poke, "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
        {**poke, "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
    ]
    assert full_stack["Outputs"]["PokeUrl"]["Value"] == {"GetAtt": ["PokeFunctionUrl", "FunctionUrl"]}
    # With the health URL shut, or none at all, as without: pokes are another matter.
    alone = expansion.expand(PokeUrl="ENABLED", HealthUrl="DISABLED")
    assert list(of_type(alone, "AWS::Lambda::Url")) == ["PokeFunctionUrl"]


def test_the_poke_function_wakes_the_poll_function_and_answers_while_prefect_waits(full_stack):
    poke = properties(full_stack, "PokeFunction")
    health = properties(full_stack, "HealthFunction")
    assert poke["Environment"] == health["Environment"]
    assert (poke["Handler"], poke["MemorySize"], poke["Timeout"]) == ("poke", 128, 5)
    assert poke["LoggingConfig"]["LogGroup"] == {"Ref": "PokeLogGroup"}
    assert poke["ReservedConcurrentExecutions"] == "2"
    assert "VpcConfig" not in poke, "it would lose its way to Lambda's API"
    assert full_stack["Resources"]["PokeFunction"]["Metadata"] == full_stack["Resources"]["HealthFunction"]["Metadata"]
    some = expansion.expand(PokeUrl="ENABLED")
    assert "ReservedConcurrentExecutions" not in properties(some, "PokeFunction")


def test_logs_are_json_and_expire(stack):
    groups = of_type(stack, "AWS::Logs::LogGroup")
    for name, group in groups.items():
        assert group["Properties"]["RetentionInDays"] == "30", name
    for name in FUNCTIONS:
        logging = properties(stack, name)["LoggingConfig"]
        assert logging["LogFormat"] == "JSON"
        assert logging["ApplicationLogLevel"] == "INFO"
        assert logging["LogGroup"]["Ref"] in groups
    assert properties(stack, "PollFunction")["LoggingConfig"]["LogGroup"] == {"Ref": "PollLogGroup"}
    assert properties(stack, "HealthFunction")["LoggingConfig"]["LogGroup"] == {"Ref": "HealthLogGroup"}
    assert properties(stack, "TaskEventsFunction")["LoggingConfig"]["LogGroup"] == {"Ref": "TaskEventsLogGroup"}


def test_no_concurrency_is_reserved_unless_asked_for(stack, full_stack):
    for name in FUNCTIONS:
        assert "ReservedConcurrentExecutions" not in properties(stack, name)
    assert properties(full_stack, "PollFunction")["ReservedConcurrentExecutions"] == "5"
    assert "ReservedConcurrentExecutions" not in properties(full_stack, "HealthFunction")


def test_the_vpc_is_optional(stack, full_stack):
    assert "VpcConfig" not in properties(stack, "PollFunction")
    assert properties(full_stack, "PollFunction")["VpcConfig"] == {
        "SubnetIds": ["subnet-1", "subnet-2"],
        "SecurityGroupIds": ["sg-1"],
    }
    assert "VpcConfig" not in properties(full_stack, "HealthFunction"), "it would lose its way to Lambda's API"


def test_the_url_keeps_the_name_that_sam_gave_it_and_is_optional(stack, full_stack):
    for some, auth in [(stack, "AWS_IAM"), (full_stack, "NONE")]:
        assert properties(some, "HealthFunctionUrl") == {"TargetFunctionArn": {"Ref": "HealthFunction"}, "AuthType": auth}
    without = expansion.expand(HealthUrl="DISABLED", HealthAuthType="NONE")
    assert of_type(without, "AWS::Lambda::Url") == {} and "HealthUrl" not in without["Outputs"]
    assert not [name for name in without["Resources"] if name.startswith("HealthUrl")], "nor does anyone get permissions"
    assert "HealthFunction" in without["Resources"], "it can be invoked"


def test_gov_cloud_knows_no_json_log_format(stack):
    functions = ["PollFunction", "HealthFunction", "TaskEventsFunction"]
    gov_cloud = expansion.expand(partition="aws-us-gov")
    for name in functions:
        assert properties(stack, name)["LoggingConfig"]["LogFormat"] == "JSON"
        logging = properties(gov_cloud, name)["LoggingConfig"]
        assert logging == {"LogFormat": "Text", "LogGroup": logging["LogGroup"]}


def test_outputs_tell_what_a_person_needs_next(stack):
    values = {name: output["Value"] for name, output in stack["Outputs"].items()}
    assert values == {
        "ParameterRoot": "/prefect-serverless-agent/prod",
        "PollFunctionName": {"Ref": "PollFunction"},
        "PollLogGroupName": {"Ref": "PollLogGroup"},
        "PollRoleArn": {"GetAtt": ["PollRole", "Arn"]},
        "HealthFunctionName": {"Ref": "HealthFunction"},
        "HealthUrl": {"GetAtt": ["HealthFunctionUrl", "FunctionUrl"]},
        "TaskEventsFunctionName": {"Ref": "TaskEventsFunction"},
        "TaskEventsRoleArn": {"GetAtt": ["TaskEventsRole", "Arn"]},
        "TaskEventsQueueUrl": {"Ref": "TaskEventsQueue"},
        "TaskEventsDeadLettersUrl": {"Ref": "TaskEventsDeadLetters"},
        "TaskEventsFailuresUrl": {"Ref": "TaskEventsFailures"},
        "EventBusArn": "arn:aws:events:eu-west-1:123456789012:event-bus/default",
    }


# The longest name that AWS takes, by the property that has it.
LONGEST = {
    ("AWS::CloudWatch::Dashboard", "DashboardName"): 255,
    ("AWS::Events::EventBusPolicy", "StatementId"): 64,
    ("AWS::Events::Rule", "Name"): 64,
    ("AWS::Lambda::Function", "FunctionName"): 64,
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
    ("AWS::SQS::Queue", "QueueName"): 80,
    ("AWS::Logs::QueryDefinition", "Name"): 255,
    ("AWS::Scheduler::Schedule", "Name"): 64,
    ("AWS::Scheduler::ScheduleGroup", "Name"): 64,
}


def names(stack):
    """What is named after the stack: type and property, and the name."""
    for item in stack["Resources"].values():
        for key, value in item["Properties"].items():
            if isinstance(value, str) and expansion.PSEUDO["AWS::StackName"] in value and key.endswith(("Name", "Id")):
                yield (item["Type"], key), value


@pytest.mark.parametrize(("length", "fits"), [(52, True), (53, False)])
def test_a_stack_may_have_a_name_of_fifty_two_characters(monkeypatch, length, fits):
    monkeypatch.setitem(expansion.PSEUDO, "AWS::StackName", "s" * length)
    found = list(names(expansion.expand(CheckFunction="ENABLED", ForwardingAccountIds="210987654321", Dashboard="ENABLED")))
    assert {kind for kind, _ in found} == set(LONGEST)
    assert all(len(name) <= LONGEST[kind] for kind, name in found) is fits
    assert "The stack's name may have 52 characters" in expansion.expanded_source()["Description"]


def test_every_parameter_is_described_and_shown():
    template = expansion.expanded_source()
    readme = (expansion.ROOT / "README.md").read_text()
    assert [name for name in template["Parameters"] if f"`{name}`" not in readme] == [], "README's table lacks some"
    shown = [name for group in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(shown) == sorted(template["Parameters"])
    for name, parameter in template["Parameters"].items():
        free_text = parameter["Type"] == "CommaDelimitedList" or (
            parameter["Type"] == "String" and "AllowedValues" not in parameter
        )
        assert parameter["Description"], name
        assert not free_text or "Example" in parameter["Description"], f"{name} shows no example"
