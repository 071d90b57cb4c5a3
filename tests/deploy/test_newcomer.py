"""What somebody new does, from the installed command to the first launch: `init`, `bundle`, the stack, a poll. Nothing is
compiled on this way. The stack is the bundle's own template, expanded offline; its functions are started from the bundle's zip
with exactly the environment that the template gives them; and every request of theirs to AWS is held against their role's policies.

PSA_WHEEL=FILE takes a real wheel, installed into a fresh virtual environment; else the development build stands where a wheel
would put it.
"""

import json
import zipfile

import deployed
import expansion
import functions
import iam
import pytest
from conftest import ARCHITECTURE

EXECUTION_ROLE = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole"


class Stack:
    """A deployed bundle."""

    def __init__(self, bundle, parameters, world, folder):
        self.resources = expansion.expand_file(bundle / "template.yaml", **parameters)
        world.ask("cloudformation/deploy", deployed.deployed(bundle / "template.yaml", parameters))
        self.world, self.folder = world, folder
        with zipfile.ZipFile(bundle / "lambda.zip") as archive:
            archive.extractall(folder)
        (folder / "bootstrap").chmod(0o755)

    def invoke(self, name):
        """One cold invocation of a function of the template; its answer."""
        properties = self.resources["Resources"][name]["Properties"]
        before = len(self.journal())
        variables = {
            **properties["Environment"]["Variables"],
            "_HANDLER": properties["Handler"],
            "AWS_REGION": "eu-west-1",
            "AWS_LAMBDA_FUNCTION_NAME": properties["FunctionName"],
        }
        with functions.Function(self.world, self.folder / "bootstrap", variables) as function:
            kind, body = function.answer()
            assert kind == "response", f"{kind}: {body.decode()}\n{function.output()}"
        self.asked(properties["Role"]["GetAtt"][0], self.journal()[before:])
        return json.loads(body)

    def journal(self):
        aws = {"cloudformation", "ec2", "ecr", "ecs", "events", "iam", "lambda", "logs", "monitoring", "quotas", "s3", "scheduler",
               "sqs", "ssm", "sts"}  # fmt: skip
        return [request for request in self.world.ask("journal")["requests"] if request["service"] in aws]

    def asked(self, role, requests):
        """Every request must be allowed by the role of the function that made it."""
        statements = iam.statements_of(self.resources, role)
        definitions = self.world.ask("ecs")["definitions"]
        wanted = [one for request in requests for one in iam.permissions(request, definitions)]
        refused = [str(one) for one in wanted if not iam.allows(statements, one)]
        assert wanted and not refused, f"{role} may not:\n" + "\n".join(refused)


@pytest.fixture
def deploy(run, world, tmp_path):
    """What `init` found becomes a stack, out of a bundle."""

    def deploy(*arguments):
        found = json.loads(run("init", "--yes", "--json", "--write", *arguments))
        run("check", "--pre", "--root", found["root"])
        run("bundle", "psa", "--architecture", ARCHITECTURE)
        return found, Stack(tmp_path / "psa", found["stack"]["parameters"], world, tmp_path)

    return deploy


TRUST = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
# What AWS's own policy AmazonECSTaskExecutionRolePolicy allows.
EXECUTION = {"Effect": "Allow", "Resource": "*", "Action": [
    "ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage",
    "logs:CreateLogStream", "logs:PutLogEvents"]}  # fmt: skip


@pytest.fixture(autouse=True)
def account(world, api):
    """A stock account: its cluster, and the execution role that ECS's console makes."""
    world.ask("iam/role", {"name": "ecsTaskExecutionRole", "trust": TRUST, "policies": [{"Statement": [EXECUTION]}]})


def pool_with(api, **defaults):
    """A pool with Prefect's own template for ECS, whose variables have these defaults besides its own."""
    template = json.loads((expansion.ROOT / "tests/golden/v3/_templates.json").read_text())["default"]
    for name, value in defaults.items():
        template["variables"]["properties"][name]["default"] = value
    return api.pool(base_job_template=template)


def test_a_stock_pool_launches_with_its_own_roles_unchanged(api, world, deploy):
    pool = pool_with(api, execution_role_arn=EXECUTION_ROLE)
    run_id = api.run(api.deployment(pool))
    found, stack = deploy("--api", api.url, "--pool", pool, "--agent", "flows")
    assert found["stack"]["parameters"]["PassableRoleArns"] == EXECUTION_ROLE

    report = stack.invoke("PollFunction")["agents"]["flows"]
    assert [launched["flow_run_id"] for launched in report["launched"]] == [run_id], report
    (task,) = world.ask("ecs")["tasks"]
    definitions = {one["taskDefinitionArn"]: one for one in world.ask("ecs")["definitions"]}
    assert definitions[task["taskDefinitionArn"]]["executionRoleArn"] == EXECUTION_ROLE
    assert stack.invoke("PollFunction")["agents"]["flows"]["ready"] == 0


def test_what_the_check_function_asks_of_aws_is_allowed(api, deploy, world, tmp_path):
    pool = pool_with(api, execution_role_arn=EXECUTION_ROLE)
    api.deployment(pool)
    found, _ = deploy("--api", api.url, "--pool", pool, "--agent", "flows")
    (tmp_path / "inside").mkdir()
    inside = Stack(tmp_path / "psa", {**found["stack"]["parameters"], "CheckFunction": "ENABLED"}, world, tmp_path / "inside")
    looked = inside.invoke("CheckerFunction")
    assert [finding["code"] for finding in looked["findings"]] == [], looked
    asked = {request["service"] for request in inside.journal()}
    assert {"scheduler", "events", "sqs", "iam", "lambda"} <= asked, asked


def test_without_what_init_found_the_launch_would_be_refused(api, deploy, run, world, tmp_path):
    """The test above can fail: with the stack's defaults alone, the stock execution role may not be passed."""
    pool = pool_with(api, execution_role_arn=EXECUTION_ROLE)
    api.run(api.deployment(pool))
    found, _ = deploy("--api", api.url, "--pool", pool, "--agent", "flows")
    parameters = {name: value for name, value in found["stack"]["parameters"].items() if name != "PassableRoleArns"}
    (tmp_path / "other").mkdir()
    with pytest.raises(AssertionError, match=f"iam:PassRole on {EXECUTION_ROLE}"):
        Stack(tmp_path / "psa", parameters, world, tmp_path / "other").invoke("PollFunction")
