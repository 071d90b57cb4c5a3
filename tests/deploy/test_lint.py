"""The templates are valid, before and after SAM's transform."""

import json
import subprocess

import expansion
import pytest


# One with everything, and one of each kind that lacks something.
REGIONS = ["eu-west-1", "us-gov-west-1", "mx-central-1", "cn-north-1"]


def run(*command):
    done = subprocess.run(command, cwd=expansion.ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_sam_validates_the_template():
    assert "is a valid SAM Template" in run("sam", "validate", "--lint")


def test_cfn_lint_accepts_the_templates():
    templates = [path for path in expansion.ROOT.glob("infra/*.yaml") if not path.name.endswith(".example.yaml")]
    assert len(templates) == 3
    run("cfn-lint", "template.yaml", *sorted(map(str, templates)))


def is_valid_in(region, template):
    """Some regions have no function URLs: these resources are there only where they are asked for. Nothing else may be missing."""
    command = ["cfn-lint", "--format", "json", "--regions", region, "--", template]
    done = subprocess.run(command, cwd=expansion.ROOT, capture_output=True, text=True, timeout=120)
    found = [(one["Rule"]["Id"], "/".join(map(str, one["Location"]["Path"] or []))) for one in json.loads(done.stdout or "[]")]
    missing = [("E3006", f"Resources/{name}/Type") for name in ("HealthFunctionUrl", "PokeFunctionUrl")]
    assert sorted(found) in ([], missing), f"{done.stdout}\n{done.stderr}"
    assert found == [] or region != "eu-west-1"


@pytest.mark.parametrize("region", REGIONS)
def test_the_template_is_valid_in_every_kind_of_region(region):
    is_valid_in(region, "template.yaml")


def test_cfn_lint_accepts_the_expansion(tmp_path):
    # W: SAM itself writes `DestinationConfig: {}` and keeps build metadata; only errors count here.
    expanded = tmp_path / "expanded.json"
    expanded.write_text(json.dumps(expansion.expanded_source()))
    run("cfn-lint", "--ignore-checks", "W", "--", str(expanded))
