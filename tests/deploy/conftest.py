"""Everything runs offline and with credentials that open nothing."""

import os
import sys
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
        AssumableRoleArns="arn:aws:iam::210987654321:role/prefect-launcher",
        TaskLogArns="arn:aws:logs:eu-west-1:123456789012:log-group:/company/flows:*",
        WorkersTasksState="ENABLED",
        ForwardingAccountIds="210987654321,321098765432",
        ReservedConcurrency="5",
        HealthAuthType="NONE",
        AlarmTopicArn="arn:aws:sns:eu-west-1:123456789012:oncall",
        PermissionsBoundaryArn="arn:aws:iam::123456789012:policy/boundary",
        VpcSubnetIds="subnet-1,subnet-2",
        VpcSecurityGroupIds="sg-1",
        PollSchedule="rate(5 minutes)",
        Architecture="x86_64",
    )
