#!/usr/bin/env python3
"""Writes src/aws/signed/endpoint_cases.json: the endpoints that botocore resolves for the services that we call, in a region of
every partition, with and without FIPS and dual stack. Run it with a Python that has botocore:
`.tools/moto/bin/python scripts/endpoints.py`.
"""

import itertools
import json
from pathlib import Path

import botocore.session
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError

CASES = Path(__file__).resolve().parent.parent / "src/aws/signed/endpoint_cases.json"
SERVICES = (
    "ecs", "ssm", "ec2", "s3", "lambda", "sts", "logs", "cloudformation", "scheduler", "events", "sqs", "ecr", "service-quotas",
    "cloudwatch",
)  # fmt: skip
REGIONS = (
    "eu-west-1", "us-east-1", "us-gov-west-1", "us-gov-east-1", "cn-north-1", "us-iso-east-1", "us-isob-east-1",
    "us-isof-south-1", "eu-isoe-west-1", "eusc-de-east-1",
)  # fmt: skip


def cases():
    loader = botocore.session.get_session().get_component("data_loader")
    partitions = loader.load_data("partitions")
    for service in SERVICES:
        provider = EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), partitions)
        # The one that is of no region is asked for by nobody who names a region.
        regional = {"UseGlobalEndpoint": False} if service == "sts" else {}
        for region, fips, dual_stack in itertools.product(REGIONS, (False, True), (False, True)):
            try:
                url = provider.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack, **regional).url
            except EndpointProviderError:
                url = None
            yield {"service": service, "region": region, "fips": fips, "dual_stack": dual_stack, "url": url}


def text():
    return "[\n" + ",\n".join(json.dumps(case) for case in cases()) + "\n]\n"


if __name__ == "__main__":
    CASES.write_text(text())
