"""The example configuration fits the stacks that the project deploys."""

import re

import expansion
from samcli.yamlhelper import yaml_parse


def example():
    return yaml_parse((expansion.ROOT / "infra/agent.example.yaml").read_text())


def test_it_fits_in_a_standard_parameter():
    text = (expansion.ROOT / "infra/agent.example.yaml").read_text()
    assert len(text.encode()) <= 4096


def test_it_names_what_the_cluster_stack_creates():
    resources = expansion.cluster_stack()["Resources"]
    agent = example()
    (flow,) = agent["task_definition"]["containerDefinitions"]
    assert agent["cluster"] == resources["Cluster"]["Properties"]["ClusterName"]
    assert flow["name"] == "flow"
    assert flow["logConfiguration"]["options"]["awslogs-group"] == resources["LogGroup"]["Properties"]["LogGroupName"]
    for key, role in (("execution_role_arn", "ExecutionRole"), ("task_role_arn", "TaskRole")):
        assert f":role{resources[role]['Properties']['Path']}" in agent[key]


def test_its_period_is_the_schedules():
    minutes = int(re.match(r"rate\((\d+) minute", expansion.expanded_source()["Parameters"]["PollSchedule"]["Default"])[1])
    assert example()["poll_interval_seconds"] == minutes * 60
