"""What the agent knows of the requests that start a task is what the newest botocore among the pins knows."""

import json
import sys
from pathlib import Path

import pytest
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import ecs_shapes  # noqa: E402

CASES = json.loads((ROOT / "src/ecs_model/cases.json").read_text())


def test_the_shapes_are_those_of_the_newest_botocore():
    version, environment = ecs_shapes.newest_pin()
    derived = ecs_shapes.derive(version, ecs_shapes.service_model(version, environment))
    assert ecs_shapes.SHAPES.read_text() == derived, "run scripts/ecs_shapes.py"


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_botocore_says_what_we_say(case):
    """The Rust test `botocore_says_the_same` has the same cases."""
    operation = ServiceModel(ecs_shapes.service_model(*ecs_shapes.newest_pin())).operation_model(case["operation"])
    report = ParamValidator().validate(case["input"], operation.input_shape).generate_report()
    assert report.splitlines() == case["sentences"]
