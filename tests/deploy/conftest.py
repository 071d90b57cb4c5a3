"""Everything runs offline and with credentials that open nothing."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

os.environ.update(
    SAM_CLI_TELEMETRY="0",
    AWS_DEFAULT_REGION="eu-west-1",
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_EC2_METADATA_DISABLED="true",
)
# `sam`, `cfn-lint` and `cargo-lambda` live beside the interpreter that runs these tests.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
sys.path.insert(0, str(Path(__file__).parent))

import expansion  # noqa: E402

sys.path.insert(0, str(expansion.ROOT / "tests/conformance"))
sys.path.insert(0, str(expansion.ROOT / "scripts"))

import orders  # noqa: E402
import package  # noqa: E402
import processes  # noqa: E402

ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]
SECONDS = 60


@pytest.fixture(scope="session")
def root():
    return expansion.ROOT


@pytest.fixture(scope="session")
def stack():
    """A deployment with nothing but the defaults."""
    return expansion.expand()


@pytest.fixture(scope="session")
def full_stack():
    """A deployment that uses every parameter."""
    return expansion.expand(
        ClusterArns="arn:aws:ecs:eu-west-1:123456789012:cluster/prefect,arn:aws:ecs:eu-west-1:123456789012:cluster/spot-*",
        PassableRoleArns="arn:aws:iam::123456789012:role/prefect-*",
        SecretsKeyArn="arn:aws:kms:eu-west-1:123456789012:key/k",
        ExtraParameterArns="arn:aws:ssm:eu-west-1:123456789012:parameter/company/ca-bundle",
        S3ObjectArns="arn:aws:s3:::bucket/prefect/*",
        S3KeyArns="arn:aws:kms:eu-west-1:123456789012:key/o,arn:aws:kms:us-east-1:123456789012:key/p",
        DeregisterTaskDefinitions="ENABLED",
        KmsKeyArn="arn:aws:kms:eu-west-1:123456789012:key/q",
        ScheduleTimezone="Europe/Berlin",
        PrefectApiUrl="https://prefect.example.com/api",
        PrefectServerEndpoint="https://prefect.example.com:4200",
        HttpsProxy="http://proxy.example.com:3128",
        NoProxy=".amazonaws.com",
        AwsCaBundle="/opt/ca.pem",
        LayerArns="arn:aws:lambda:eu-west-1:123456789012:layer:company-ca:1",
        FipsEndpoints="ENABLED",
        DualStackEndpoints="ENABLED",
        AssumableRoleArns="arn:aws:iam::210987654321:role/prefect-launcher",
        TaskLogArns="arn:aws:logs:eu-west-1:123456789012:log-group:/company/flows:*",
        WorkersTasksState="ENABLED",
        ForwardingAccountIds="210987654321,321098765432",
        ReservedConcurrency="5",
        HealthAuthType="NONE",
        CheckFunction="ENABLED",
        PokeUrl="ENABLED",
        PokeReservedConcurrency="2",
        AlarmTopicArn="arn:aws:sns:eu-west-1:123456789012:oncall",
        AlarmEmail="oncall@example.com",
        CompositeAlarm="ENABLED",
        Dashboard="ENABLED",
        AgentMetrics="ENABLED",
        Tracing="ENABLED",
        PermissionsBoundaryArn="arn:aws:iam::123456789012:policy/boundary",
        VpcSubnetIds="subnet-1,subnet-2",
        VpcSecurityGroupIds="sg-1",
        PollSchedule="rate(5 minutes)",
        Architecture="x86_64",
    )


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """The installed command."""
    prefix = tmp_path_factory.mktemp("installed")
    wheel = os.environ.get("PSA_WHEEL")
    if wheel:
        venv.create(prefix, with_pip=True)
        subprocess.run([prefix / "bin/pip", "install", "--quiet", "--no-index", wheel], check=True, timeout=SECONDS)
    else:
        bootstrap = Path(os.environ.get("CARGO_TARGET_DIR", expansion.ROOT / "target")) / "lambda/lambda/bootstrap"
        package.layout(ARCHITECTURE, bootstrap)
        shutil.copytree(package.SHARE, prefix / "share/prefect-serverless-agent")
        (prefix / "bin").mkdir()
        shutil.copy2(processes.WORLD.with_name("prefect-serverless-agent"), prefix / "bin")
    return prefix / "bin/prefect-serverless-agent"


@pytest.fixture(scope="session")
def world():
    with processes.running_world() as world:
        yield world


@pytest.fixture
def api(world):
    world.ask("reset", {})
    return orders.Prefect3(world.prefect3)


@pytest.fixture
def run(command, world, tmp_path):
    """The command in an empty folder, with nothing in its environment but AWS and a key."""

    def run(*arguments, **variables):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL": world.aws,
            "AWS_REGION": "eu-west-1",
            "PREFECT_API_KEY": "pnu_fakekey",
            **processes.AWS_ENVIRONMENT,
            **variables,
        }
        done = subprocess.run(
            [command, *map(str, arguments)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
