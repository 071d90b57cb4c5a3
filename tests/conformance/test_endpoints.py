"""The endpoints of AWS's services are those that botocore resolves. The Rust test
`endpoints_are_those_that_botocore_resolves` has the same cases."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))

import endpoints  # noqa: E402


def test_the_cases_are_those_of_botocore():
    assert endpoints.CASES.read_text() == endpoints.text(), "run scripts/endpoints.py"
