"""The templates are valid, before and after SAM's transform."""

import json
import subprocess

import expansion


def run(*command):
    done = subprocess.run(command, cwd=expansion.ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_sam_validates_the_template():
    assert "is a valid SAM Template" in run("sam", "validate", "--lint")


def test_cfn_lint_accepts_the_templates():
    templates = [path for path in expansion.ROOT.glob("infra/*.yaml") if not path.name.endswith(".example.yaml")]
    assert len(templates) == 2
    run("cfn-lint", "template.yaml", *sorted(map(str, templates)))


def test_cfn_lint_accepts_the_expansion(tmp_path):
    # W: SAM itself writes `DestinationConfig: {}` and keeps build metadata; only errors count here.
    expanded = tmp_path / "expanded.json"
    expanded.write_text(json.dumps(expansion.expanded_source()))
    run("cfn-lint", "--ignore-checks", "W", "--", str(expanded))
