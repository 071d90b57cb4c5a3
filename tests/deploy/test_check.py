"""What `check` and the other commands look for in a stack is in the template, under the ids that they know; the
stories' stack is made of nothing else."""

import json
import os
import re

import deployed
import expansion
import pytest

SOURCES = ["check/events.rs", "check/stack.rs", "check/permissions.rs", "check/quotas.rs", "cli/costs.rs", "cli/check.rs", "cli/redrive.rs"]
# Constants that name a resource, and the first of those that know former names.
NAMED = r'const (?:OWN_TASKS|WORKERS_TASKS|QUEUE|DEAD_LETTERS|FAILURES|MAPPING|TASK_EVENTS|POKE_FUNCTION|SCHEDULE_GROUP|LOG_GROUP|FUNCTION): &str = "(\w+)"'
FIRST_OF = r'const SCHEDULES: \[&str; 2\] = \["(\w+)"'
SPELLED = r'"(\w+(?:Role|Function))"'


@pytest.fixture(scope="module")
def resources(full_stack):
    return full_stack["Resources"]


def test_what_the_commands_look_for_is_in_the_template(resources):
    text = "".join((expansion.ROOT / "src" / source).read_text().split("mod tests {")[0] for source in SOURCES)
    names = {name for pattern in (NAMED, FIRST_OF, SPELLED) for name in re.findall(pattern, text)}
    assert len(names) >= 13, names
    assert not names - set(resources), f"the template has no {names - set(resources)}"


def test_the_stack_of_the_stories_is_the_templates():
    """`check`'s stories look at the roles, rules, queues and ids that the template makes: PSA_WRITE_FIXTURES=1 writes them."""
    made = json.dumps(deployed.deployed(expansion.ROOT / "template.yaml", {"ParameterRoot": "/psa/test"}, "us-east-1"), indent=1) + "\n"
    fixture = expansion.ROOT / "tests/it/command/check/stack.json"
    if os.environ.get("PSA_WRITE_FIXTURES"):
        fixture.write_text(made)
    assert fixture.read_text() == made, "the template has changed: PSA_WRITE_FIXTURES=1 writes the stories' stack"


def test_the_schedule_is_in_the_group_that_check_asks_for(resources):
    schedule = resources["PollFunctionTick"]["Properties"]
    assert schedule["GroupName"] == {"Ref": "ScheduleGroup"}
    assert resources["ScheduleGroup"]["Type"] == "AWS::Scheduler::ScheduleGroup"
