"""The example configurations fit the stacks that the project deploys."""

import re

import expansion
import pytest
from samcli.yamlhelper import yaml_parse

EXAMPLES = ["infra/agent.example.yaml", "infra/agent.prefect3.example.yaml"]


def example(path="infra/agent.example.yaml"):
    return yaml_parse((expansion.ROOT / path).read_text())


@pytest.mark.parametrize("path", EXAMPLES)
def test_it_fits_in_a_standard_parameter(path):
    text = (expansion.ROOT / path).read_text()
    assert len(text.encode()) <= 4096


def test_it_names_what_the_cluster_stack_creates():
    resources = expansion.cluster_stack()["Resources"]
    agent = example()
    (flow,) = agent["task_definition"]["containerDefinitions"]
    assert agent["cluster"] == resources["Cluster"]["Properties"]["ClusterName"]
    assert flow["name"] == "flow"
    assert flow["logConfiguration"]["options"]["awslogs-group"] == resources["LogGroup"]["Properties"]["LogGroupName"]
    for key, role in (("execution_role_arn", "OwnExecutionRole"), ("task_role_arn", "TaskRole")):
        assert f":role{resources[role]['Properties']['Path']}" in agent[key]


@pytest.mark.parametrize("path", EXAMPLES)
def test_its_period_is_the_schedules(path):
    minutes = int(re.match(r"rate\((\d+) minute", expansion.expanded_source()["Parameters"]["PollSchedule"]["Default"])[1])
    assert example(path)["poll_interval_seconds"] == minutes * 60


def test_a_first_cluster_needs_one_command_that_is_said_where_it_is_deployed():
    command = "aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com"
    for path in ("README.md", "infra/cluster.yaml"):
        assert command in (expansion.ROOT / path).read_text(), path
